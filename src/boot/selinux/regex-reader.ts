// Reading the characters of a regular expression, and refusing it (docs/spec/boot.md, section 3.4).

import type { ByteString } from "../../bytes/byte-string.ts";

/** Why an expression cannot be used. Whoever knows the file and line makes an error of it. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  /** Not to be tried in the other dialect either. */
  readonly final: boolean;

  constructor(message: string, final = false) {
    super(message);
    this.final = final;
  }
}

/** A place in an expression, and the dialect in which it is read. */
export class RegexReader {
  readonly text: ByteString;
  readonly isFirst: boolean;
  position = 0;

  constructor(text: ByteString, dialect: "first" | "second") {
    this.text = text;
    this.isFirst = dialect === "first";
  }

  get atEnd(): boolean {
    return this.position >= this.text.length;
  }

  /** The next character; empty at the end. */
  peek(ahead = 0): string {
    return this.text.charAt(this.position + ahead);
  }

  /** Takes the next character; empty at the end, which no caller accepts. */
  next(): string {
    return this.text.charAt(this.position++);
  }

  /** Takes these characters if they are next. */
  take(characters: string): boolean {
    if (!this.text.startsWith(characters, this.position)) return false;
    this.position += characters.length;
    return true;
  }

  /** Takes everything up to a character, and that. */
  until(end: string): string {
    const at = this.text.indexOf(end, this.position);
    if (at < 0) throw new Refusal(`there is no ${JSON.stringify(end)}`, true);
    const taken = this.text.slice(this.position, at);
    this.position = at + 1;
    return taken;
  }

  /** Refuses what only the second dialect has when this is the first one. */
  onlySecond(what: string): void {
    if (this.isFirst) throw new Refusal(`${what} is not of the first dialect`);
  }

  /** `{n}`, `{n,}` or `{n,m}` at a position; undefined when it is something else. */
  counts(at: number): { min: number; max: number; end: number } | undefined {
    const counts = /\{([0-9]+)(,([0-9]*))?\}/y;
    counts.lastIndex = at;
    const found = counts.exec(this.text);
    if (found === null) return undefined;
    const min = Number(found[1]);
    const max = found[2] === undefined ? min : found[3] === "" ? Infinity : Number(found[3]);
    return { min, max, end: counts.lastIndex };
  }

  /** The byte of `HH` or `{H...}` after `\x`. */
  hexadecimal(): number {
    const isBraced = this.take("{");
    const digits = isBraced ? this.until("}") : this.text.slice(this.position, (this.position += 2));
    const value = /^[0-9A-Fa-f]{1,8}$/.test(digits) ? Number.parseInt(digits, 16) : 256;
    if (value > 255) throw new Refusal(`\\x${digits} is no byte`, true);
    if (isBraced && value > 127)
      throw new Refusal(`\\x{${digits}} means different things to different engines; write \\x${digits}`, true);
    return value;
  }
}
