// Digests in hex, 16 digits at a time.

/** Writes the bytes of `digits` hex digits (a multiple of 16) of either case; false if one is not a hex digit. */
export function readHex(at: usize, digits: u32, to: usize, lowerCase: bool): bool {
  for (let i: u32 = 0; i < digits; i += 16) {
    const text = v128.load(at + i);
    const decimal = i8x16.sub(text, i8x16.splat(0x30));
    const isDecimal = i8x16.lt_u(decimal, i8x16.splat(10));
    const folded = lowerCase ? text : v128.or(text, i8x16.splat(0x20));
    const letter = i8x16.sub(folded, i8x16.splat(0x61));
    const isLetter = i8x16.lt_u(letter, i8x16.splat(6));
    if (!i8x16.all_true(v128.or(isDecimal, isLetter))) return false;
    const nibbles = v128.bitselect(decimal, i8x16.add(letter, i8x16.splat(10)), isDecimal);
    // Each 16-bit lane holds the high digit in its low byte: join both to one byte, then take every other byte.
    const joined = v128.or(i16x8.shl(nibbles, 4), i16x8.shr_u(nibbles, 8));
    const packed = i8x16.swizzle(joined, i8x16(0, 2, 4, 6, 8, 10, 12, 14, 0, 0, 0, 0, 0, 0, 0, 0));
    v128.store64_lane(to + (i >> 1), packed, 0);
  }
  return true;
}

/** Writes the lower-case hex digits of `length` bytes (a multiple of 8). */
export function writeHex(from: usize, length: u32, to: usize): void {
  const digits = i8x16(0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66);
  for (let i: u32 = 0; i < length; i += 8) {
    const bytes = v128.load64_zero(from + i);
    const high = i8x16.shr_u(bytes, 4);
    const low = v128.and(bytes, i8x16.splat(15));
    const nibbles = i8x16.shuffle(high, low, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    v128.store(to + (i << 1), i8x16.swizzle(digits, nibbles));
  }
}
