// Kernel command lines (docs/spec/boot.md, section 7): the plain splitter of composefs (7.1), the model of parameters with
// its edits (7.2), and the comparison that decides about a soft reboot (section 13).
//
// Only ASCII characters have a meaning here, so every function takes text and byte strings alike and gives back what it got.

/** White space of both models: space, tab, line feed, form feed, carriage return; neither vertical tab nor no-break space. */
const SPACE = /[ \t\n\f\r]/;

/** One word of a command line, as bootc and the kernel's own parser understand it (7.2). */
export interface Parameter {
  /** The word as it is spelled, with its quotes. */
  readonly raw: string;
  /** What stands before the first `=`; the whole word where there is none. */
  readonly key: string;
  /** What stands after it; undefined where there is no `=`, which is not the same as empty. */
  readonly value: string | undefined;
}

/** A line after an edit, and what the edit came to. */
export interface CommandLineEdit<Result> {
  /** The new line; the same text when nothing had to change. */
  readonly line: string;
  readonly result: Result;
}

/** A piece of a line: the word at `[start, end)`. */
interface Span {
  readonly start: number;
  readonly end: number;
}

/**
 * Cuts a line at every white-space character outside double quotes (7.1). Quotes stay in the segments, there are no escapes, and an
 * unclosed quote swallows the rest. Empty segments are kept: the empty line has one.
 *
 * @example
 * ```ts
 * splitCommandLine('a  b="c d"'); // ["a", "", 'b="c d"']
 * ```
 */
export function splitCommandLine(line: string): string[] {
  return segmentSpans(line).map(({ start, end }) => line.slice(start, end));
}

/** Where the segments of {@link splitCommandLine} lie. */
export function segmentSpans(line: string): Span[] {
  const spans: Span[] = [];
  let start = 0;
  for (const end of cuts(line)) {
    spans.push({ start, end });
    start = end + 1;
  }
  spans.push({ start, end: line.length });
  return spans;
}

/** Where the words of a line lie (7.2): its segments without the empty ones. */
export function wordSpans(line: string): Span[] {
  return segmentSpans(line).filter(({ start, end }) => start < end);
}

// The places of white space outside quotes. Quoting is a property of the whole line, so both models cut at the same places.
function* cuts(line: string): Generator<number> {
  let quoted = false;
  for (let at = 0; at < line.length; at++) {
    const char = line.charCodeAt(at);
    if (char === 0x22) quoted = !quoted;
    else if (!quoted && (char === 0x20 || (char >= 0x09 && char <= 0x0d && char !== 0x0b))) yield at;
  }
}

/** The parameters of a line, in order. */
export function parseParameters(line: string): Parameter[] {
  return wordSpans(line).map(({ start, end }) => wordParameter(line.slice(start, end)));
}

/** The first parameter of a text; undefined when it is blank. What follows the first word is not looked at. */
export function parseParameter(text: string): Parameter | undefined {
  const span = wordSpans(text)[0];
  return span && wordParameter(text.slice(span.start, span.end));
}

function wordParameter(raw: string): Parameter {
  // One quote at each end goes, each for itself: `"a` loses its own, too.
  let inner = raw.startsWith('"') ? raw.slice(1) : raw;
  if (inner.endsWith('"')) inner = inner.slice(0, -1);
  const equals = inner.indexOf("=");
  if (equals < 0) return { raw, key: inner, value: undefined };
  const value = inner.slice(equals + 1);
  return { raw, key: inner.slice(0, equals), value: value.startsWith('"') ? value.slice(1) : value };
}

// `-` and `_` are the same in keys.
function foldKey(key: string): string {
  return key.replaceAll("-", "_");
}

/** A text that is the same for equal parameters and for no others: a key of sets and maps. */
export function parameterIdentity({ key, value }: Parameter): string {
  // A key holds no `=`, so the first one is always the border.
  return value === undefined ? foldKey(key) : `${foldKey(key)}=${value}`;
}

/** Whether two parameters are the same: key (`-` and `_` alike) and value; the spelling does not matter. */
export function sameParameter(a: Parameter, b: Parameter): boolean {
  return parameterIdentity(a) === parameterIdentity(b);
}

/** The first parameter with that key; `-` and `_` are the same, case matters. */
export function findParameter(line: string, key: string): Parameter | undefined {
  const wanted = foldKey(key);
  return parseParameters(line).find((parameter) => foldKey(parameter.key) === wanted);
}

/** The parameters whose key begins with the prefix, character by character: here `-` and `_` differ. */
export function parametersStartingWith(line: string, prefix: string): Parameter[] {
  return parseParameters(line).filter(({ key }) => key.startsWith(prefix));
}

/**
 * Appends a parameter unless an equal one is there.
 *
 * @param word the parameter as it is to be spelled; of several words only the first counts, a blank one is `unparsable`
 */
export function addParameter(line: string, word: string): CommandLineEdit<"added" | "existed" | "unparsable"> {
  const parameter = parseParameter(word);
  if (!parameter) return { line, result: "unparsable" };
  if (parseParameters(line).some((one) => sameParameter(one, parameter))) return { line, result: "existed" };
  return { line: append(line, parameter.raw), result: "added" };
}

function append(line: string, raw: string): string {
  return line === "" || SPACE.test(line.charAt(line.length - 1)) ? line + raw : `${line} ${raw}`;
}

/** Appends each parameter of another line that is not there yet. */
export function extendCommandLine(line: string, more: string): string {
  const seen = new Set(parseParameters(line).map(parameterIdentity));
  let result = line;
  for (const parameter of parseParameters(more)) {
    const id = parameterIdentity(parameter);
    if (seen.has(id)) continue;
    seen.add(id);
    result = append(result, parameter.raw);
  }
  return result;
}

/**
 * Makes a parameter the only one of its key: the first of that key is replaced, the others go; without one it is appended.
 *
 * @param word the parameter as it is to be spelled; of several words only the first counts, a blank one is `unparsable`
 */
export function addOrModifyParameter(
  line: string,
  word: string,
): CommandLineEdit<"added" | "modified" | "existed" | "unparsable"> {
  const parameter = parseParameter(word);
  if (!parameter) return { line, result: "unparsable" };
  const key = foldKey(parameter.key);
  const old = parseParameters(line);
  const same = old.filter((one) => foldKey(one.key) === key);
  const first = same[0];
  if (!first) return { line: append(line, parameter.raw), result: "added" };
  if (same.length === 1 && sameParameter(first, parameter)) return { line, result: "existed" };
  const kept = old.filter((one) => one === first || foldKey(one.key) !== key);
  return { line: joined(kept.map((one) => (one === first ? parameter : one))), result: "modified" };
}

/** Removes every parameter of that key; the result is whether there was one. */
export function removeParameter(line: string, key: string): CommandLineEdit<boolean> {
  const wanted = foldKey(key);
  return removeParametersWhere(line, (parameter) => foldKey(parameter.key) === wanted);
}

/** Removes every parameter that is equal to the first of `word`; the result is whether there was one. */
export function removeExactParameter(line: string, word: string): CommandLineEdit<boolean> {
  const parameter = parseParameter(word);
  return removeParametersWhere(line, (one) => parameter !== undefined && sameParameter(one, parameter));
}

/** Removes every parameter for which `gone` is true; the result is whether there was one. */
export function removeParametersWhere(line: string, gone: (parameter: Parameter) => boolean): CommandLineEdit<boolean> {
  const old = parseParameters(line);
  const kept = old.filter((parameter) => !gone(parameter));
  return kept.length === old.length ? { line, result: false } : { line: joined(kept), result: true };
}

function joined(parameters: readonly Parameter[]): string {
  return parameters.map(({ raw }) => raw).join(" ");
}

/** Whether two lines have the same parameters, each as often as in the other; order and spelling do not matter. */
export function equalCommandLines(a: string, b: string): boolean {
  const left = parseParameters(a).map(parameterIdentity).sort();
  const right = parseParameters(b).map(parameterIdentity).sort();
  return left.length === right.length && left.every((one, index) => one === right[index]);
}

/**
 * Whether a soft reboot may go from one command line to the other (section 13): the same length in bytes, and each has the parameters
 * of the other but for `composefs` and `composefs.digest`. The length makes `composefs=?D` and `composefs=D` different.
 */
export function sameForSoftReboot(a: string, b: string): boolean {
  if (Buffer.byteLength(a) !== Buffer.byteLength(b)) return false;
  const others = (line: string) =>
    new Set(
      parseParameters(line)
        .filter(({ key }) => key !== "composefs" && key !== "composefs.digest")
        .map(parameterIdentity),
    );
  const left = others(a);
  const right = others(b);
  return left.size === right.size && [...left].every((one) => right.has(one));
}
