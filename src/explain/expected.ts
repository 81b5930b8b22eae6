// The digest that somebody expects, by what people have at hand: the digest, a UKI, a kernel command line, a boot entry, a label
// (docs/spec/boot.md, section 7.3; docs/spec/oci.md, section 11).

import { closeSync, readSync, statSync } from "node:fs";
import type { Algorithm, ObjectId } from "../bytes/algorithm.ts";
import { findComposefsArgument, listComposefsArguments } from "../boot/kargs/composefs-argument.ts";
import { openFileSource } from "../boot/file-source.ts";
import { PeFile } from "../boot/pe/read.ts";
import { ukiCommandLine, untilNul } from "../boot/uki/uki.ts";
import { ComposefsError, systemError } from "../error.ts";
import { recognizeImage } from "../image/header.ts";
import { looksLikeDump } from "../oci/open-tree.ts";
import { openForReading } from "../runtime/open-file.ts";

/** What an expected digest was taken from. */
export type ExpectedSource = "digest" | "uki" | "command line" | "boot entry" | "label";

/** A digest that an image should have. */
export interface Expected {
  readonly digest: ObjectId;
  readonly algorithm: Algorithm;
  /** The format that the argument names: 1 stands for 0 too. Undefined where nothing says it. */
  readonly format: 1 | 2 | undefined;
  readonly source: ExpectedSource;
}

/** How to find out what is expected. */
export interface ExpectedOptions {
  /**
   * The label `containers.composefs.fsverity` of an image of the repository: undefined if there is no such image, empty if it has
   * no label.
   */
  readonly labelOf?: ((name: string) => Promise<string | undefined>) | undefined;
}

/** Command lines and entry files are short; what is longer is something else. */
const MAX_TEXT = 64 << 10;

const HINT =
  "give a digest of 64 or 128 hex digits, a UKI, a file with a kernel command line or a boot entry, a command line with composefs=, or a tag whose config has the label containers.composefs.fsverity";

/**
 * Reads what is expected. A path wins over a tag of that name.
 *
 * @returns one digest; several if a command line names several images; none for a tree, which is a thing to compare with
 * @throws ComposefsError `usage` for a text that is none of these, `invalid` for a UKI or command line without a digest
 * @example
 * ```ts
 * const [{ digest }] = await parseExpected("/boot/EFI/Linux/6.12.efi");
 * ```
 */
export async function parseExpected(text: string, options: ExpectedOptions = {}): Promise<Expected[]> {
  const bare = bareDigest(text);
  if (bare !== undefined) return [{ ...bare, format: undefined, source: "digest" }];
  if (/(?:^|\s)composefs(?:\.digest)?=/.test(text)) return ofCommandLine(text, "command line", "the command line");
  const stat = statSync(text, { throwIfNoEntry: false });
  if (stat !== undefined) return stat.isDirectory() ? [] : ofFile(text);
  const label = await options.labelOf?.(text);
  if (label === "") return [];
  const labelled = label === undefined ? undefined : bareDigest(label);
  if (labelled !== undefined) return [{ ...labelled, format: undefined, source: "label" }];
  if (label !== undefined)
    throw new ComposefsError("invalid", `the label containers.composefs.fsverity of ${text} is no digest: ${label}`);
  throw new ComposefsError("usage", `"${text}" is nothing that names an expected digest`, { hint: HINT });
}

/** Hex digits, in any case, with or without the name of the hash before them. */
function bareDigest(text: string): { digest: ObjectId; algorithm: Algorithm } | undefined {
  const match = /^(?:fsverity-)?(?:(sha256|sha512)(?:-12)?:)?([0-9a-fA-F]+)$/.exec(text.trim());
  const [, named, digits] = match ?? [];
  if (digits?.length !== 64 && digits?.length !== 128) return undefined;
  const algorithm: Algorithm = digits.length === 64 ? "sha256" : "sha512";
  if (named !== undefined && named !== algorithm)
    throw new ComposefsError("usage", `${text} is no ${named} digest: it has ${digits.length} digits`);
  return { digest: digits.toLowerCase(), algorithm };
}

function ofCommandLine(line: string, source: ExpectedSource, what: string): Expected[] {
  const found: Expected[] = [];
  for (const { digest, algorithm } of listComposefsArguments(line, what)) {
    const lower = digest.toLowerCase();
    if (found.some((other) => other.digest === lower)) continue;
    const first = findComposefsArgument(line, algorithm, what);
    found.push({ digest: lower, algorithm, format: first?.digest === lower ? first.version : undefined, source });
  }
  if (found.length > 0) return found;
  throw new ComposefsError("invalid", `${what} names no composefs image`, {
    path: what,
    reason: "no-karg",
    hint: "it would have composefs=DIGEST or composefs.digest=v1-sha512-12:DIGEST",
  });
}

function ofFile(path: string): Expected[] {
  const start = readStart(path);
  if (start.subarray(0, 2).toString("latin1") === "MZ") {
    using file = openFileSource(path);
    const line = untilNul(ukiCommandLine(PeFile.read(file, path)));
    return ofCommandLine(line, "uki", `the command line of ${path}`);
  }
  const text = start.toString("utf8");
  if (recognizeImage(start).kind !== "other" || looksLikeDump(start)) return [];
  if (start.length >= MAX_TEXT || text.includes("\0"))
    throw new ComposefsError("invalid", `${path} is neither a UKI nor a text with a kernel command line`, {
      path,
      hint: HINT,
    });
  const bare = bareDigest(text);
  if (bare !== undefined) return [{ ...bare, format: undefined, source: "digest" }];
  const options = [...text.matchAll(/^options[ \t]+(.*)$/gm)].map(([, line]) => line);
  if (options.length > 0) return ofCommandLine(options.join(" "), "boot entry", `the options of ${path}`);
  return ofCommandLine(text, "command line", path);
}

function readStart(path: string): Buffer {
  const fd = openForReading(path);
  try {
    const buffer = Buffer.alloc(MAX_TEXT);
    return buffer.subarray(0, readSync(fd, buffer, 0, buffer.length, 0));
  } catch (error) {
    throw systemError(error, `reading ${path}`, path);
  } finally {
    closeSync(fd);
  }
}
