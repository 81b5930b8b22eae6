// Cutting dump text into lines and fields (docs/spec/dumpfile.md, 1). One pass with vectors finds the line end, the
// first eleven spaces, and whether the line holds a backslash or a byte that no line may hold.

import { FailureCode, atLine, refuse } from "../erofs/failure";
import { MAX_PIECE } from "../erofs/input";
import { Writer } from "../erofs/writer";
import { readEntry } from "./entry";

const SPACES: u32 = 11;

/** The line that is being scanned. Positions count from the start of the line. */
@unmanaged
export class LineState {
  /** How far it is scanned. */
  scanned: u32;
  /** Spaces found, at most 11. */
  spaces: u32;
  hasEscape: bool;
  /** A raw NUL or CR was seen. */
  hasForbidden: bool;
  // Positions of the spaces lie behind the object's own fields.
  private p0: u32;
  private p1: u32;
  private p2: u32;
  private p3: u32;
  private p4: u32;
  private p5: u32;
  private p6: u32;
  private p7: u32;
  private p8: u32;
  private p9: u32;
  private p10: u32;

  @inline
  position(index: u32): u32 {
    return load<u32>(changetype<usize>(this) + (<usize>index << 2), offsetof<LineState>("p0"));
  }

  @inline
  add(position: u32): void {
    store<u32>(changetype<usize>(this) + (<usize>this.spaces << 2), position, offsetof<LineState>("p0"));
    this.spaces++;
  }

  @inline
  reset(): void {
    this.scanned = 0;
    this.spaces = 0;
    this.hasEscape = false;
    this.hasForbidden = false;
  }
}

/** Consumes all complete lines of the input window; with `last` also a line without line end. */
export function readLines(writer: Writer, last: bool): bool {
  const input = writer.input;
  const state = writer.lineState;
  while (true) {
    const complete = scanLine(input.data, input.length, state);
    if (!complete && !last) {
      if (input.length <= MAX_PIECE) return true;
      refuse(FailureCode.LIMIT, "", "the line is longer than 64 MiB");
      return atLine(writer.line + 1);
    }
    const length = state.scanned;
    if (!complete && length == 0) return true;
    writer.line++;
    if (length != 0 && !readEntry(writer, input.data, length, state)) return atLine(writer.line);
    input.start += complete ? length + 1 : length;
    state.reset();
  }
}

/** Goes on scanning; true when the line end is found, at `scanned`. */
function scanLine(line: usize, available: u32, state: LineState): bool {
  const lineFeed = i8x16.splat(0x0a);
  const space = i8x16.splat(0x20);
  const backslash = i8x16.splat(0x5c);
  const carriageReturn = i8x16.splat(0x0d);
  const nul = i8x16.splat(0);
  let at = state.scanned;
  for (; at < available; at += 16) {
    const bytes = v128.load(line + at);
    const ends = i8x16.eq(bytes, lineFeed);
    const spaces = i8x16.eq(bytes, space);
    const escapes = i8x16.eq(bytes, backslash);
    const forbidden = v128.or(i8x16.eq(bytes, carriageReturn), i8x16.eq(bytes, nul));
    // Most of a line is digests and long names.
    if (!v128.any_true(v128.or(v128.or(ends, spaces), v128.or(escapes, forbidden)))) continue;
    const remaining = available - at;
    let inside: u32 = remaining >= 16 ? 0xffff : (1 << remaining) - 1;
    const endBits = <u32>i8x16.bitmask(ends) & inside;
    // Only what is before the line end belongs to the line.
    if (endBits != 0) inside = (endBits & -endBits) - 1;
    let spaceBits = <u32>i8x16.bitmask(spaces) & inside;
    while (spaceBits != 0 && state.spaces < SPACES) {
      state.add(at + <u32>ctz(spaceBits));
      spaceBits &= spaceBits - 1;
    }
    if ((<u32>i8x16.bitmask(escapes) & inside) != 0) state.hasEscape = true;
    if ((<u32>i8x16.bitmask(forbidden) & inside) != 0) state.hasForbidden = true;
    if (endBits != 0) {
      state.scanned = at + <u32>ctz(endBits);
      return true;
    }
  }
  state.scanned = available;
  return false;
}
