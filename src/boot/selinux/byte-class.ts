// Classes of bytes in regular expressions (docs/spec/boot.md, section 3.4): ASCII only, whatever the locale.

import type { ByteSet } from "./expression.ts";

/** A set of ranges, given as pairs of characters: `"azAZ__"`. */
function ranges(pairs: string): ByteSet {
  const set = new Uint8Array(256);
  for (let i = 0; i < pairs.length; i += 2) set.fill(1, pairs.charCodeAt(i), pairs.charCodeAt(i + 1) + 1);
  return set;
}

const WORD = "azAZ09__";
const SPACE = "\t\r  ";

/** The bytes that `\w` means, which decide where words begin and end. */
export const WORD_BYTES: ByteSet = ranges(WORD);

/** Every byte. */
export const ANY_BYTE: ByteSet = new Uint8Array(256).fill(1);

/** `[^\n]` */
export const NOT_NEWLINE: ByteSet = complement(ranges("\n\n"));

/** `\d \w \s` and their opposites. */
export const CLASS_ESCAPES: ReadonlyMap<string, ByteSet> = new Map([
  ["d", ranges("09")],
  ["w", WORD_BYTES],
  ["s", ranges(SPACE)],
  ["D", complement(ranges("09"))],
  ["W", complement(WORD_BYTES)],
  ["S", complement(ranges(SPACE))],
]);

/** `[:NAME:]` */
export const POSIX_CLASSES: ReadonlyMap<string, ByteSet> = new Map(
  Object.entries({
    alnum: "azAZ09",
    alpha: "azAZ",
    ascii: "\0\x7f",
    blank: "\t\t  ",
    cntrl: "\0\x1f\x7f\x7f",
    digit: "09",
    graph: "!~",
    lower: "az",
    print: " ~",
    punct: "!/:@[`{~",
    space: SPACE,
    upper: "AZ",
    word: WORD,
    xdigit: "09afAF",
  }).map(([name, pairs]) => [name, ranges(pairs)]),
);

/** All bytes that are not in a set. */
export function complement(set: ByteSet): ByteSet {
  return set.map((member) => 1 - member);
}

/** Adds the other case of every ASCII letter. */
export function foldCase(set: ByteSet): ByteSet {
  const folded = set.slice();
  for (let upper = 0x41; upper <= 0x5a; upper++) {
    const either = (set[upper] ?? 0) | (set[upper + 32] ?? 0);
    folded[upper] = either;
    folded[upper + 32] = either;
  }
  return folded;
}

/** The other case of an ASCII letter; undefined for everything else. */
export function otherCase(byte: number): number | undefined {
  if (byte >= 0x41 && byte <= 0x5a) return byte + 32;
  return byte >= 0x61 && byte <= 0x7a ? byte - 32 : undefined;
}
