// Escapes of dump text (docs/spec/dumpfile.md, 1.2).

import { FailureCode, refuse } from "../erofs/failure";

/** Length of the last unescaped field. */
export let unescapedLength: u32 = 0;

/** The value of a hex digit of either case, or a number above 15. */
@inline
export function hexValue(byte: u32): u32 {
  const digit = byte - 0x30;
  if (digit <= 9) return digit;
  const letter = (byte | 0x20) - 0x61;
  return letter <= 5 ? letter + 10 : 16;
}

/** Writes the bytes that the text stands for to `to` (never more than the text's length); `unescapedLength` is set. */
export function unescape(at: usize, end: usize, to: usize, field: string): bool {
  const start = to;
  while (at < end) {
    let byte = <u32>load<u8>(at++);
    if (byte == 0x5c) {
      if (at == end) return refuse(FailureCode.SYNTAX, field, "a backslash ends the field");
      const kind = <u32>load<u8>(at++);
      if (kind == 0x78) {
        if (at + 2 > end) return refuse(FailureCode.SYNTAX, field, "\\x needs two hex digits");
        const high = hexValue(load<u8>(at));
        const low = hexValue(load<u8>(at + 1));
        if ((high | low) > 15) return refuse(FailureCode.SYNTAX, field, "\\x needs two hex digits");
        byte = (high << 4) | low;
        at += 2;
      } else if (kind == 0x6e) byte = 0x0a;
      else if (kind == 0x72) byte = 0x0d;
      else if (kind == 0x74) byte = 0x09;
      else if (kind != 0x5c) {
        return refuse(FailureCode.SYNTAX, field, "unknown escape; only \\\\ \\n \\r \\t and \\xHH exist");
      }
    }
    store<u8>(to++, <u8>byte);
  }
  unescapedLength = <u32>(to - start);
  return true;
}
