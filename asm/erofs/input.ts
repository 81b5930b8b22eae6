// The input window: bytes that the host has put in and that are not consumed yet, at most one incomplete line or record
// plus what follows. It grows for a line or record that is larger than it.

import { Arena } from "./arena";

/** Capacity of a fresh window. */
const WINDOW: u32 = 1 << 20;
/** The largest line or record that is taken. */
export const MAX_PIECE: u32 = 1 << 26;
/** Readers may look at so many bytes behind the end. */
const SLACK: usize = 16;

@unmanaged
export class Input {
  private buffer: usize;
  private capacity: u32;
  /** Offset of the first byte that is not consumed. */
  start: u32;
  /** Offset behind the last byte. */
  end: u32;

  /** Address of the first byte that is not consumed. */
  @inline
  get data(): usize {
    return this.buffer + this.start;
  }

  /** Number of bytes that are not consumed. */
  @inline
  get length(): u32 {
    return this.end - this.start;
  }

  /** Where the host may put bytes. */
  get freeAddress(): usize {
    return this.buffer + this.end;
  }

  /** How many. */
  get freeLength(): u32 {
    return this.capacity - this.end;
  }

  /** Makes at least `needed` bytes (and at least one) free. False at the memory limit. */
  makeRoom(arena: Arena, needed: u32): bool {
    needed = max<u32>(needed, 1);
    const kept = this.length;
    if (this.start != 0) {
      memory.copy(this.buffer, this.buffer + this.start, kept);
      this.start = 0;
      this.end = kept;
    }
    const free = this.capacity - kept;
    // Little room would make the host's reads small.
    if (free >= needed && free >= this.capacity >> 2 && free != 0) return true;
    if (needed > 1 << 30) return false;
    const capacity = max(WINDOW, max(this.capacity << 1, kept + needed));
    const grown = arena.alloc(<usize>capacity + SLACK);
    if (grown == 0) return free >= needed;
    memory.copy(grown, this.buffer, kept);
    this.buffer = grown;
    this.capacity = capacity;
    return true;
  }
}
