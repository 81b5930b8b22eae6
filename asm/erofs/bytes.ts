// Byte runs: comparison in the order of all names (unsigned, shorter first) and hashes for tables.

/** Negative, zero or positive as `a` is smaller, equal or larger. */
export function compareBytes(a: usize, aLength: u32, b: usize, bLength: u32): i32 {
  const shorter = min(aLength, bLength);
  let i: u32 = 0;
  while (i + 8 <= shorter) {
    const x = load<u64>(a + i);
    const y = load<u64>(b + i);
    if (x != y) return bswap(x) < bswap(y) ? -1 : 1;
    i += 8;
  }
  while (i < shorter) {
    const difference = <i32>load<u8>(a + i) - <i32>load<u8>(b + i);
    if (difference != 0) return difference;
    i++;
  }
  return aLength == bLength ? 0 : aLength < bLength ? -1 : 1;
}

/** Whether two runs of the same length are equal. */
export function equalBytes(a: usize, b: usize, length: u32): bool {
  let i: u32 = 0;
  while (i + 8 <= length) {
    if (load<u64>(a + i) != load<u64>(b + i)) return false;
    i += 8;
  }
  while (i < length) {
    if (load<u8>(a + i) != load<u8>(b + i)) return false;
    i++;
  }
  return true;
}

/** The number of leading bytes that are equal. */
export function commonPrefix(a: usize, aLength: u32, b: usize, bLength: u32): u32 {
  const shorter = min(aLength, bLength);
  let i: u32 = 0;
  while (i + 8 <= shorter) {
    const difference = load<u64>(a + i) ^ load<u64>(b + i);
    if (difference != 0) return i + (<u32>ctz(difference) >> 3);
    i += 8;
  }
  while (i < shorter && load<u8>(a + i) == load<u8>(b + i)) i++;
  return i;
}

/** Position of the first byte of that value, or the length. May look at up to 15 bytes behind the end. */
export function findByte(data: usize, length: u32, byte: u8): u32 {
  const wanted = i8x16.splat(byte);
  for (let i: u32 = 0; i < length; i += 16) {
    const found = i8x16.eq(v128.load(data + i), wanted);
    if (v128.any_true(found)) return min<u32>(i + <u32>ctz(i8x16.bitmask(found)), length);
  }
  return length;
}

const K1: u64 = 0x9e3779b97f4a7c15;
const K2: u64 = 0xc2b2ae3d27d4eb4f;

@inline
function mix(h: u64, word: u64): u64 {
  h = (h ^ word) * K1;
  return h ^ (h >> 29);
}

/** A hash of the bytes for tables in memory; never stored in an image. */
export function hashBytes(data: usize, length: u32, seed: u32): u32 {
  let h: u64 = (<u64>seed << 32) ^ length ^ K2;
  let i: u32 = 0;
  while (i + 8 <= length) {
    h = mix(h, load<u64>(data + i));
    i += 8;
  }
  let rest: u64 = 0;
  while (i < length) rest = (rest << 8) | load<u8>(data + i++);
  h = mix(h, rest) * K2;
  return <u32>(h >> 32);
}
