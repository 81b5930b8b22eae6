// A boot loader entry as a list of lines that is edited in place (docs/spec/boot.md, section 8.1): what is not touched keeps every
// byte, comments and unknown keys included.

import { segmentSpans, wordSpans } from "../kargs/command-line.ts";
import { isComposefsWord } from "../kargs/composefs-argument.ts";
import { trimWhiteSpaceStart } from "../../bytes/white-space.ts";

/** The lines of an entry: split at LF, a final newline gives no line of its own, CR stays. */
export function splitEntryLines(text: string): string[] {
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines;
}

/** The text of the lines; each ends in a newline. */
export function joinEntryLines(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join("");
}

/**
 * The value of a line for a key: what follows the key and white space, which must be there. A line that begins with white space has no
 * value, nor has one with the bare key.
 */
export function entryLineValue(line: string, key: string): string | undefined {
  if (!line.startsWith(key) || !/^[ \t\n\f\r]/.test(line.slice(key.length, key.length + 1))) return undefined;
  return trimWhiteSpaceStart(line.slice(key.length));
}

/** The values of a key, in the order of the lines. */
export function entryValues(lines: readonly string[], key: string): string[] {
  return lines.map((line) => entryLineValue(line, key)).filter((value) => value !== undefined);
}

/**
 * Adds an argument to the first `options` line, or adds such a line. An argument `name=value` takes the place of the first segment
 * that begins with `name=`; one without `=` is added unless it is there. So of several arguments of one name, as in
 * `console=a console=b`, the last one added stays.
 */
export function addEntryArgument(lines: readonly string[], argument: string): string[] {
  const at = lines.findIndex((line) => entryLineValue(line, "options") !== undefined);
  if (at < 0) return [...lines, `options ${argument}`];
  const line = lines[at] ?? "";
  const start = line.length - (entryLineValue(line, "options") ?? "").length;
  const name = argument.slice(0, argument.indexOf("=") + 1);
  const segment = segmentSpans(line.slice(start)).find((span) => {
    const text = line.slice(start + span.start, start + span.end);
    return name === "" ? text === argument : text.startsWith(name);
  });
  return lines.with(
    at,
    segment === undefined
      ? `${line} ${argument}`
      : line.slice(0, start + segment.start) + argument + line.slice(start + segment.end),
  );
}

/**
 * Makes an argument the only one of the entry that names an image: it takes the place of the first one, in whatever spelling and
 * `options` line, and the others go with nothing else of their lines. Without any it is added.
 *
 * @param argument as `renderComposefsArgument` writes it
 */
export function setEntryComposefsArgument(lines: readonly string[], argument: string): string[] {
  let placed = false;
  const edited = lines.map((line) => {
    const value = entryLineValue(line, "options");
    if (value === undefined) return line;
    let rest = line.slice(0, line.length - value.length);
    let copied = 0;
    for (const { start, end } of wordSpans(value)) {
      if (!isComposefsWord(value.slice(start, end))) continue;
      rest += value.slice(copied, start) + (placed ? "" : argument);
      placed = true;
      copied = end;
    }
    return rest + value.slice(copied);
  });
  return placed ? edited : addEntryArgument(lines, argument);
}
