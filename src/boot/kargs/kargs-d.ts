// Kernel arguments that an image brings, `usr/lib/bootc/kargs.d/*.toml` (docs/spec/boot.md, section 7.5): one file, all files of an
// image, and the difference between two images carried over to a command line.

import { parse, TomlError } from "smol-toml";
import type { ByteString } from "../../bytes/byte-string.ts";
import { compareBytes, displayBytes } from "../../bytes/byte-string.ts";
import { ComposefsError, type ErrorDetails } from "../../error.ts";
import { extendCommandLine, parameterIdentity, parseParameters, removeParametersWhere } from "./command-line.ts";

/** Where the files lie in an image. */
export const KARGS_DIRECTORY = "usr/lib/bootc/kargs.d";

/** One file of the directory. */
export interface KargsFile {
  /** Its name; files are taken in byte order of the names, and only those that end in `.toml`. */
  readonly name: ByteString;
  readonly text: string;
}

/**
 * The arguments of all files for a machine, as one command line: each argument once, in the order of the files.
 *
 * @param architecture the name of the machine as the files write it: `x86_64`, `aarch64`
 * @throws ComposefsError `invalid` with file and line: not TOML, a key that is not known, `kargs` missing, a wrong type
 */
export function imageKargs(files: readonly KargsFile[], architecture: string): string {
  let line = "";
  for (const { name, text } of [...files].sort((a, b) => compareBytes(a.name, b.name))) {
    if (!name.endsWith(".toml")) continue;
    const { kargs, architectures } = parseKargsFile(text, `${KARGS_DIRECTORY}/${displayBytes(name)}`);
    if (architectures === undefined || architectures.includes(architecture))
      line = extendCommandLine(line, kargs.join(" "));
  }
  return line;
}

/**
 * Carries an update of an image over to the options of an entry: what only the old image has goes, what only the new one has is
 * added. Arguments that were added by hand stay, unless they equal one that goes.
 *
 * @param options the options as they are
 * @param old arguments of the image that these options are for, from {@link imageKargs}; empty for a first installation
 * @param next arguments of the new image
 */
export function updateKargs(options: string, old: string, next: string): string {
  const before = new Set(parseParameters(old).map(parameterIdentity));
  const after = new Set(parseParameters(next).map(parameterIdentity));
  const { line } = removeParametersWhere(options, (parameter) => {
    const id = parameterIdentity(parameter);
    return before.has(id) && !after.has(id);
  });
  const added = parseParameters(next).filter((parameter) => !before.has(parameterIdentity(parameter)));
  return extendCommandLine(line, added.map(({ raw }) => raw).join(" "));
}

/** What one file says. */
export interface KargsOfFile {
  readonly kargs: readonly string[];
  /** Machines that the file is for; undefined: all. */
  readonly architectures: readonly string[] | undefined;
}

/**
 * Parses one file.
 *
 * @param path for messages
 * @throws ComposefsError `invalid` with `path` and, where it is known, `line`
 */
export function parseKargsFile(text: string, path: string): KargsOfFile {
  const fail = (message: string, line?: number, cause?: unknown) => {
    const details: ErrorDetails = {
      path,
      cause,
      hint: 'the file holds kargs = ["...", ...] and, if need be, match-architectures = ["x86_64", ...]',
    };
    if (line !== undefined) details.line = line;
    return new ComposefsError("invalid", `${path}${line === undefined ? "" : `, line ${line}`}: ${message}`, details);
  };
  let table: Record<string, unknown>;
  try {
    table = parse(text, { maxDepth: 8, unsafeKeyBehaviour: "throw" });
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    throw fail(error.message.split("\n", 1)[0] ?? "not a TOML document", error.line, error);
  }
  const list = (key: string): string[] | undefined => {
    const value = table[key];
    if (value === undefined) return undefined;
    if (!Array.isArray(value) || !value.every((item) => typeof item === "string"))
      throw fail(`"${key}" must be a list of strings`, lineOfKey(text, key));
    return value;
  };
  for (const key of Object.keys(table))
    if (key !== "kargs" && key !== "match-architectures") throw fail(`unknown key "${key}"`, lineOfKey(text, key));
  const kargs = list("kargs");
  if (kargs === undefined) throw fail('the key "kargs" is missing');
  return { kargs, architectures: list("match-architectures") };
}

// Where a key of the top level probably stands; the parser does not keep it.
function lineOfKey(text: string, key: string): number | undefined {
  const at = text.split("\n").findIndex((line) => {
    const start = line.trimStart().replace(/^[["']+/, "");
    return start.startsWith(key) && !/^[A-Za-z0-9_-]/.test(start.slice(key.length));
  });
  return at < 0 ? undefined : at + 1;
}
