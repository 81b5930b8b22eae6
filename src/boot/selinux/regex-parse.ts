// Reads a regular expression of file_contexts as composefs does (docs/spec/boot.md, sections 3.4 and 19). There are two dialects: an
// expression is of the first one if that can read it, else of the second, Perl-like one; they differ in `.`, in `{` and in what `++`
// means. What is of neither, or of which it is not certain what the engines make of it, is refused: never guessed.

import type { ByteString } from "../../bytes/byte-string.ts";
import { ANY_BYTE, CLASS_ESCAPES, foldCase, NOT_NEWLINE, otherCase } from "./byte-class.ts";
import { type Assertion, EMPTY, type Expression } from "./expression.ts";
import { parseClass } from "./regex-class-parse.ts";
import { Refusal, RegexReader } from "./regex-reader.ts";

/** How deep groups may be nested: the limit of both engines. */
const DEPTH = 250;
/** The largest count of a repetition that both engines take. */
const MAX_COUNT = 65535;

/**
 * Parses an expression.
 *
 * @param text its bytes
 * @throws Refusal, whose message says what is wrong with it
 */
export function parseRegex(text: ByteString): Expression {
  try {
    return new Parser(text, "first").parse();
  } catch (error) {
    if (!(error instanceof Refusal) || error.final) throw error;
    return new Parser(text, "second").parse();
  }
}

interface Flags {
  readonly fold: boolean;
  readonly dotAll: boolean;
  readonly lines: boolean;
}

const SIMPLE_ESCAPES: ReadonlyMap<string, number> = new Map([
  ["a", 7],
  ["f", 12],
  ["n", 10],
  ["r", 13],
  ["t", 9],
]);

const LITERALS: readonly Expression[] = Array.from({ length: 256 }, (_, value) => ({ kind: "byte", value }));

/** ASCII letters, digits, and those marks that mean nothing. */
function isPlain(code: number): boolean {
  return (
    (code >= 0x61 && code <= 0x7a) ||
    (code >= 0x41 && code <= 0x5a) ||
    (code >= 0x2f && code <= 0x3a) ||
    code === 0x5f ||
    code === 0x2d
  );
}

/** The characters `* + ? {`. */
function isRepetition(code: number): boolean {
  return code === 0x2a || code === 0x2b || code === 0x3f || code === 0x7b;
}

class Parser extends RegexReader {
  #flags: Flags = { fold: false, dotAll: false, lines: false };
  #depth = 0;
  #groups = 0;
  readonly #names = new Map<string, number>();

  parse(): Expression {
    const expression = this.#alternatives();
    if (!this.atEnd) throw new Refusal('")" without "("');
    return expression;
  }

  #alternatives(): Expression {
    if (++this.#depth > DEPTH) throw new Refusal(`groups are nested deeper than ${DEPTH}`, true);
    const branches = [this.#sequence()];
    while (this.take("|")) branches.push(this.#sequence());
    this.#depth--;
    return branches.length === 1 ? (branches[0] ?? EMPTY) : { kind: "alternate", branches };
  }

  #sequence(): Expression {
    const parts: Expression[] = [];
    for (;;) {
      if (!this.#flags.fold) this.#literals(parts);
      if (this.atEnd || this.peek() === "|" || this.peek() === ")") break;
      const atom = this.#atom();
      if (atom !== undefined) parts.push(this.#quantified(atom));
    }
    return parts.length === 1 ? (parts[0] ?? EMPTY) : { kind: "concat", parts };
  }

  /** Takes the plain characters that no repetition follows: most of what policies have. */
  #literals(parts: Expression[]): void {
    let length = 0;
    while (isPlain(this.text.charCodeAt(this.position + length))) length++;
    if (isRepetition(this.text.charCodeAt(this.position + length))) length--;
    for (let i = 0; i < length; i++) parts.push(LITERALS[this.text.charCodeAt(this.position + i)] as Expression);
    if (length > 0) this.position += length;
  }

  /** Lines end at NUL in the first dialect, and no path has one. */
  get #hasLines(): boolean {
    return this.#flags.lines && !this.isFirst;
  }

  /** Undefined for flags, which are no part of the expression. */
  #atom(): Expression | undefined {
    const character = this.next();
    switch (character) {
      case "(":
        return this.#group();
      case "[":
        return { kind: "set", members: parseClass(this, this.#flags.fold) };
      case ".":
        return { kind: "set", members: this.isFirst || this.#flags.dotAll ? ANY_BYTE : NOT_NEWLINE };
      case "^":
        return assertion(this.#hasLines ? "line-start" : "start");
      case "$":
        return assertion(this.#hasLines ? "line-end" : "end");
      case "*":
      case "+":
      case "?":
        throw new Refusal(`nothing stands before "${character}"`);
      case "{":
        if (this.isFirst || this.counts(this.position - 1) !== undefined)
          throw new Refusal('nothing stands before "{"');
        return this.#literal(0x7b);
      case "\\":
        return this.#escape();
      default:
        return this.#character(character);
    }
  }

  /** A character as it stands; in the first dialect it is all bytes of its UTF-8 form. */
  #character(first: string): Expression {
    const code = first.charCodeAt(0);
    if (code < 0x80 || !this.isFirst) return this.#literal(code);
    const parts = [this.#literal(code)];
    while (/^[\x80-\xbf]/.test(this.peek())) parts.push(this.#literal(this.next().charCodeAt(0)));
    return { kind: "concat", parts };
  }

  #literal(value: number): Expression {
    const other = this.#flags.fold ? otherCase(value) : undefined;
    if (other === undefined) return LITERALS[value] as Expression;
    return { kind: "set", members: new Uint8Array(256).fill(1, value, value + 1).fill(1, other, other + 1) };
  }

  #quantified(atom: Expression): Expression {
    let body = atom;
    for (let count = 0; ; count++) {
      const bounds = this.#bounds();
      if (bounds === undefined) return body;
      if (!this.isFirst && count > 0) throw new Refusal("a repetition of a repetition", true);
      if (!this.isFirst && this.peek() === "+") throw new Refusal("possessive repetitions cannot be expressed", true);
      const lazy = this.take("?");
      body = { kind: "repeat", body, min: bounds[0], max: bounds[1], lazy };
    }
  }

  #bounds(): [number, number] | undefined {
    if (this.take("*")) return [0, Infinity];
    if (this.take("+")) return [1, Infinity];
    if (this.take("?")) return [0, 1];
    if (this.peek() !== "{") return undefined;
    const counts = this.counts(this.position);
    if (counts === undefined) {
      if (this.isFirst) throw new Refusal('"{" begins no count of repetitions');
      return undefined;
    }
    this.position = counts.end;
    const { min, max } = counts;
    if (min > max) throw new Refusal(`the count {${min},${max}} is empty`, true);
    if (min > MAX_COUNT || (max !== Infinity && max > MAX_COUNT))
      throw new Refusal(`counts go up to ${MAX_COUNT}`, true);
    return [min, max];
  }

  #group(): Expression | undefined {
    if (this.peek() === "*") throw new Refusal('"(*" begins no group', !this.isFirst);
    if (!this.take("?")) return this.#capture();
    for (const [opening, behind, negative] of LOOKS) {
      if (!this.take(opening)) continue;
      this.onlySecond(`"(?${opening}"`);
      const body = this.#scoped();
      if (behind && width(body) === undefined) throw new Refusal("look-behind of no fixed length", true);
      return { kind: "look", body, behind, negative };
    }
    if (this.take("P=")) {
      this.onlySecond("a back reference");
      return this.#reference(")");
    }
    if (this.take("P<") || this.take("<")) {
      const name = this.until(">");
      if (!/^[A-Za-z_][A-Za-z0-9_]{0,31}$/.test(name) || this.#names.has(name))
        throw new Refusal(`${JSON.stringify(name)} is no new name for a group`, true);
      this.#names.set(name, this.#groups + 1);
      return this.#capture();
    }
    return this.#flagGroup();
  }

  #capture(): Expression {
    const number = ++this.#groups;
    return { kind: "group", number, body: this.#scoped() };
  }

  /** The inside of a group up to its parenthesis; flags that are set inside end there. */
  #scoped(): Expression {
    const flags = this.#flags;
    const body = this.#alternatives();
    if (!this.take(")")) throw new Refusal('"(" without ")"');
    this.#flags = flags;
    return body;
  }

  #flagGroup(): Expression | undefined {
    const before = this.#flags;
    let flags = before;
    let value = true;
    for (;;) {
      const flag = this.next();
      if (flag === "i") flags = { ...flags, fold: value };
      else if (flag === "s") flags = { ...flags, dotAll: value };
      else if (flag === "m") flags = { ...flags, lines: value };
      else if (flag === "-" && value) value = false;
      else if (flag === ")" && flags !== before) break;
      else if (flag === ":") {
        this.#flags = flags;
        const body = this.#scoped();
        this.#flags = before;
        return body;
      } else throw new Refusal(`"(?${flag}" cannot be expressed`, true);
    }
    this.#flags = flags;
    if (/^[*+?{]/.test(this.peek())) throw new Refusal("nothing stands before a repetition", true);
    return undefined;
  }

  #escape(): Expression {
    if (this.atEnd) throw new Refusal('it ends in "\\"', true);
    const letter = this.next();
    const set = CLASS_ESCAPES.get(letter);
    if (set !== undefined) return { kind: "set", members: this.#flags.fold ? foldCase(set) : set };
    const simple = SIMPLE_ESCAPES.get(letter);
    if (simple !== undefined) return this.#literal(simple);
    switch (letter) {
      case "A":
        return assertion("start");
      case "z":
        return assertion("end");
      case "Z":
        this.onlySecond("\\Z");
        return assertion("end");
      case "b":
        return assertion(this.#wordBoundary());
      case "B":
        return assertion("not-word-boundary");
      case "x":
        return this.#literal(this.hexadecimal());
      case "v":
        // The other engine has a class under this name.
        if (this.isFirst) return this.#literal(11);
        throw new Refusal("\\v means different things to different engines", true);
      case "k":
        this.onlySecond("a back reference");
        if (!this.take("<")) throw new Refusal('"\\k" without a name in <>', true);
        return this.#reference(">");
      default:
    }
    // composefs counts a group of its own around the rule, libselinux does not.
    if (/^[0-9]$/.test(letter))
      throw new Refusal(`"\\${letter}" means different things to different engines; name the group`, true);
    if (/^[A-Za-z]$/.test(letter)) throw new Refusal(`"\\${letter}" cannot be expressed`, true);
    if (this.isFirst && letter === "<") return assertion("word-start");
    if (this.isFirst && letter === ">") return assertion("word-end");
    if (this.isFirst && letter > "\x7f") throw new Refusal("a backslash before a character that is not ASCII");
    return this.#literal(letter.charCodeAt(0));
  }

  #wordBoundary(): Assertion {
    if (!this.isFirst || this.peek() !== "{") return "word-boundary";
    if (this.take("{start}")) return "word-start";
    if (this.take("{end}")) return "word-end";
    throw new Refusal('"\\b{" cannot be expressed', true);
  }

  #reference(end: string): Expression {
    const name = this.until(end);
    const number = this.#names.get(name);
    if (number === undefined) throw new Refusal(`there is no group named ${JSON.stringify(name)} before it`, true);
    return { kind: "reference", number, fold: this.#flags.fold };
  }
}

const LOOKS: readonly [opening: string, behind: boolean, negative: boolean][] = [
  ["=", false, false],
  ["!", false, true],
  ["<=", true, false],
  ["<!", true, true],
];

function assertion(what: Assertion): Expression {
  return { kind: "assert", what };
}

/** How many bytes an expression matches; undefined when that depends. Alternatives of a look-behind may differ at its top. */
function width(expression: Expression, isTop = true): number | undefined {
  switch (expression.kind) {
    case "byte":
    case "set":
      return 1;
    case "concat": {
      let sum = 0;
      for (const part of expression.parts) {
        const own = width(part, false);
        if (own === undefined) return undefined;
        sum += own;
      }
      return sum;
    }
    case "alternate": {
      const widths = expression.branches.map((branch) => width(branch, false));
      const [first] = widths;
      return widths.includes(undefined) || (!isTop && widths.some((other) => other !== first)) ? undefined : first;
    }
    case "repeat": {
      const own = expression.min === expression.max ? width(expression.body, false) : undefined;
      return own === undefined ? undefined : own * expression.min;
    }
    case "group":
      return width(expression.body, false);
    case "reference":
      return undefined;
    default:
      return 0;
  }
}
