// Numbers of dump lines (docs/spec/dumpfile.md, 1.3): digits only, leading zeros allowed.

/** What the last successful call read. */
export let number: u64 = 0;

/** So many digits fit 64 bits whatever they are. */
const SAFE_DIGITS: usize = 19;

/** Reads decimal digits from `at` to `end` into `number`. False if it is not that, or more than `limit`. */
export function readDecimal(at: usize, end: usize, limit: u64): bool {
  if (at == end) return false;
  // Leading zeros are allowed, in any number.
  while (end - at > SAFE_DIGITS && load<u8>(at) == 0x30) at++;
  if (end - at > SAFE_DIGITS + 1) return false;
  let value: u64 = 0;
  const safeEnd = min(end, at + SAFE_DIGITS);
  for (; at < safeEnd; at++) {
    const digit = <u32>load<u8>(at) - 0x30;
    if (digit > 9) return false;
    value = value * 10 + digit;
  }
  if (at < end) {
    const digit = <u32>load<u8>(at) - 0x30;
    if (digit > 9 || value > u64.MAX_VALUE / 10) return false;
    value = value * 10 + digit;
    if (value < digit) return false;
  }
  number = value;
  return value <= limit;
}

/** Reads octal digits into `number`. */
export function readOctal(at: usize, end: usize, limit: u64): bool {
  if (at == end) return false;
  let value: u64 = 0;
  for (; at < end; at++) {
    const digit = <u32>load<u8>(at) - 0x30;
    if (digit > 7) return false;
    value = (value << 3) | digit;
    if (value > limit) return false;
  }
  number = value;
  return true;
}
