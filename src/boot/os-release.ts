// os-release files, read as composefs-rs reads them (docs/spec/boot.md, section 4): line by line, without continuation lines
// or escapes outside of quotes.

import { trimWhiteSpace } from "../bytes/white-space.ts";

/** Keys that name a system, best first. */
const NAME_KEYS = ["PRETTY_NAME", "NAME", "ID"] as const;

/** Keys that give its version, best first. */
const VERSION_KEYS = ["VERSION_ID", "VERSION"] as const;

/** A parsed os-release file. */
export class OsRelease {
  readonly #raw: ReadonlyMap<string, string>;

  /** Use {@link OsRelease.parse}. */
  private constructor(raw: ReadonlyMap<string, string>) {
    this.#raw = raw;
  }

  /**
   * Reads the text of the file. Nothing is an error: lines without `=` and comments are skipped, values with broken quotes
   * count as absent, and the last of equal keys wins.
   *
   * @example
   * ```ts
   * OsRelease.parse('PRETTY_NAME="Example OS"\nVERSION_ID=3\n').label; // "Example OS 3"
   * ```
   */
  static parse(text: string): OsRelease {
    const raw = new Map<string, string>();
    for (const line of text.split("\n")) {
      const content = line.endsWith("\r") ? line.slice(0, -1) : line;
      const equals = content.indexOf("=");
      if (equals < 0 || trimWhiteSpace(content).startsWith("#")) continue;
      raw.set(content.slice(0, equals), content.slice(equals + 1));
    }
    return new OsRelease(raw);
  }

  /** The value of a key without its quotes; undefined when it is absent or its quotes are broken. */
  get(key: string): string | undefined {
    const raw = this.#raw.get(key);
    return raw === undefined ? undefined : dequote(trimWhiteSpace(raw));
  }

  /** What the system is called: `PRETTY_NAME`, else `NAME`, else `ID`. May be empty. */
  get name(): string | undefined {
    return this.#first(NAME_KEYS);
  }

  /** Its version: `VERSION_ID`, else `VERSION`. May be empty. */
  get version(): string | undefined {
    return this.#first(VERSION_KEYS);
  }

  /** The label of a boot menu: name and version. The version is repeated where the name has it already, as composefs-rs does. */
  get label(): string | undefined {
    const { name, version } = this;
    return name === undefined || version === undefined ? name : `${name} ${version}`;
  }

  /** The first key that is there and whole. */
  #first(keys: readonly string[]): string | undefined {
    for (const key of keys) {
      const value = this.get(key);
      if (value !== undefined) return value;
    }
    return undefined;
  }
}

/** Removes quotes; parts may stand side by side (`a"b"'c'`). Undefined when a quote is not closed. */
function dequote(text: string): string | undefined {
  let result = "";
  for (let at = 0; at < text.length; at++) {
    const quote = text.charAt(at);
    if (quote === "'") {
      const end = text.indexOf("'", at + 1);
      if (end < 0) return undefined;
      result += text.slice(at + 1, end);
      at = end;
    } else if (quote === '"') {
      for (at++; text.charAt(at) !== '"'; at++) {
        if (text.charAt(at) === "\\") at++;
        if (at >= text.length) return undefined;
        result += text.charAt(at);
      }
    } else result += quote;
  }
  return result;
}
