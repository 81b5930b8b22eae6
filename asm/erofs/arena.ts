// Memory of one writer: a bump allocator over large segments, all given back at once
// (docs/spec/wasm-core.md, 2.2 and 5.3).
// Memory grows in few large steps, since each step counts as external memory in the host's garbage collector.

const PAGE: usize = 65536;
const HEADER: usize = 16;
const MIN_SEGMENT: usize = 1 << 18;
const MAX_SEGMENT: usize = 1 << 28;

/** The largest single request, a little over 3 GiB: no sum below reaches 2^32. */
export const MAX_REQUEST: usize = (3 << 30) + (1 << 20);

@unmanaged
class Segment {
  next: Segment;
  size: usize;
}

/** Segments that were given back, of any size. */
let spare: usize = 0;

function takeSpare(size: usize): usize {
  let before: usize = 0;
  for (let at = spare; at != 0; ) {
    const segment = changetype<Segment>(at);
    const next = changetype<usize>(segment.next);
    if (segment.size >= size) {
      if (before == 0) spare = next;
      else changetype<Segment>(before).next = segment.next;
      memory.fill(at + HEADER, 0, segment.size - HEADER);
      return at;
    }
    before = at;
    at = next;
  }
  return 0;
}

function growMemory(size: usize): usize {
  const pages = (size + PAGE - 1) / PAGE;
  const before = memory.grow(<i32>pages);
  if (before == -1) return 0;
  const at = <usize>before * PAGE;
  changetype<Segment>(at).size = pages * PAGE;
  return at;
}

/** Memory from `alloc` is zero and aligned to 8; there is no way to give back a part. */
@unmanaged
export class Arena {
  private cursor: usize;
  private end: usize;
  private segments: Segment;
  private total: usize;

  /** The address of `size` zero bytes, or 0 at the memory limit. */
  @inline
  alloc(size: usize): usize {
    const rounded = (size + 7) & ~7;
    const at = this.cursor;
    if (rounded <= this.end - at) {
      this.cursor = at + rounded;
      return at;
    }
    return this.allocFromSegment(rounded);
  }

  private allocFromSegment(size: usize): usize {
    if (size > MAX_REQUEST) return 0;
    // A large block gets a segment of its own; the current one goes on being filled.
    if (size >= MIN_SEGMENT) {
      const own = this.newSegment(size + HEADER, size + HEADER);
      return own == 0 ? 0 : own + HEADER;
    }
    const wished = min(max(this.total >> 1, MIN_SEGMENT), MAX_SEGMENT);
    const segment = this.newSegment(size + HEADER, max(wished, size + HEADER));
    if (segment == 0) return 0;
    this.cursor = segment + HEADER + size;
    this.end = segment + changetype<Segment>(segment).size;
    return segment + HEADER;
  }

  private newSegment(needed: usize, wished: usize): usize {
    let at = takeSpare(needed);
    if (at == 0) at = growMemory(wished);
    if (at == 0) at = growMemory(needed);
    if (at == 0) return 0;
    const segment = changetype<Segment>(at);
    segment.next = this.segments;
    this.segments = segment;
    this.total += segment.size;
    return at;
  }

  /** Makes room for `size` bytes of small objects in one step. Best effort: a later `alloc` says if memory is short. */
  reserve(size: usize): void {
    if (size <= this.end - this.cursor || size > MAX_REQUEST) return;
    const at = this.newSegment(size + HEADER, size + HEADER);
    if (at == 0) return;
    this.cursor = at + HEADER;
    this.end = at + changetype<Segment>(at).size;
  }

  /** Gives everything back. */
  release(): void {
    let at = changetype<usize>(this.segments);
    while (at != 0) {
      const next = changetype<usize>(changetype<Segment>(at).next);
      changetype<Segment>(at).next = changetype<Segment>(spare);
      spare = at;
      at = next;
    }
    memory.fill(changetype<usize>(this), 0, offsetof<Arena>());
  }
}
