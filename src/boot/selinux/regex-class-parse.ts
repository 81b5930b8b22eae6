// Bracket expressions, `[...]` (docs/spec/boot.md, sections 3.4 and 19). Set operations and brackets inside brackets mean different
// things to composefs and to libselinux: they are refused.

import { CLASS_ESCAPES, complement, foldCase, POSIX_CLASSES } from "./byte-class.ts";
import type { ByteSet } from "./expression.ts";
import { Refusal, type RegexReader } from "./regex-reader.ts";

/** Sets that were parsed, by dialect and text: few are written in many rules. */
const known = new Map<string, ByteSet>();
/** Entries of that map; a policy of a distribution has some dozens. */
const MAX_KNOWN = 4096;

/** Parses what follows `[`, and the closing bracket. The same text gives the same object. */
export function parseClass(reader: RegexReader, fold: boolean): ByteSet {
  const start = reader.position;
  const set = parseMembers(reader, fold);
  const key = `${Number(reader.isFirst)}${Number(fold)}${reader.text.slice(start, reader.position)}`;
  const same = known.get(key);
  if (same !== undefined) return same;
  if (known.size >= MAX_KNOWN) known.clear();
  known.set(key, set);
  return set;
}

function parseMembers(reader: RegexReader, fold: boolean): ByteSet {
  const negated = reader.take("^");
  const members = new Uint8Array(256);
  for (let isFirst = true; isFirst || reader.peek() !== "]"; isFirst = false) {
    if (reader.atEnd) throw new Refusal('"[" without "]"');
    refuseSetOperations(reader);
    if (isFirst && reader.peek() === "]" && reader.peek(1) === "-" && reader.peek(2) !== "]")
      throw new Refusal('a range from "]" means different things to different engines', true);
    const isPosix = reader.peek() === "[";
    const low = isPosix ? posixClass(reader) : member(reader);
    const isRange = reader.peek() === "-" && reader.peek(1) !== "]" && !(isPosix && reader.isFirst);
    if (typeof low === "number" && isRange) {
      refuseSetOperations(reader);
      reader.next();
      const high = reader.peek() === "[" ? undefined : member(reader);
      if (typeof high !== "number" || high < low) throw new Refusal("a range of bytes without a proper end", true);
      members.fill(1, low, high + 1);
    } else if (typeof low === "number") members[low] = 1;
    else if (isRange) throw new Refusal("a range of bytes that begins with a class", true);
    else for (let byte = 0; byte < 256; byte++) members[byte] = (members[byte] ?? 0) | (low[byte] ?? 0);
  }
  reader.next();
  const folded = fold ? foldCase(members) : members;
  return negated ? complement(folded) : folded;
}

function refuseSetOperations(reader: RegexReader): void {
  for (const operation of ["&&", "--", "~~"]) {
    if (reader.text.startsWith(operation, reader.position))
      throw new Refusal(`"${operation}" in brackets means different things to different engines`, true);
  }
}

function posixClass(reader: RegexReader): ByteSet {
  const [, not, name = ""] =
    /^\[:(\^?)([a-z]+):\]/.exec(reader.text.slice(reader.position, reader.position + 12)) ?? [];
  const set = POSIX_CLASSES.get(name);
  if (set === undefined) throw new Refusal('"[" in brackets means different things to different engines', true);
  reader.position += name.length + (not ?? "").length + 4;
  return not === "^" ? complement(set) : set;
}

/** One byte, or what a class escape stands for. */
function member(reader: RegexReader): number | ByteSet {
  const character = reader.next();
  const code = character.charCodeAt(0);
  if (character !== "\\") {
    if (code > 0x7f) reader.onlySecond("a character that is not ASCII, in brackets,");
    return code;
  }
  const letter = reader.next();
  const set = CLASS_ESCAPES.get(letter);
  if (set !== undefined) return set;
  const simple = "abfnrt".indexOf(letter);
  if (letter !== "" && simple >= 0) {
    if (letter === "b") reader.onlySecond("\\b in brackets");
    return [7, 8, 12, 10, 13, 9][simple] ?? 0;
  }
  if (letter === "x") return reader.hexadecimal();
  if (letter === "v" && reader.isFirst) return 11;
  if (letter === "" || /^[A-Za-z0-9]$/.test(letter))
    throw new Refusal(`"\\${letter}" in brackets cannot be expressed`, true);
  if ((letter === "<" || letter === ">" || letter > "\x7f") && reader.isFirst)
    throw new Refusal(`"\\${letter}" in brackets is not of the first dialect`);
  return letter.charCodeAt(0);
}
