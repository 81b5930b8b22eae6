// Entries of the Boot Loader Specification, type 1 (docs/spec/boot.md, sections 8.2 and 8.3): one file as data, and back.

import { displayBytes, utf8ByteString } from "../../bytes/byte-string.ts";
import { ComposefsError, type ErrorDetails } from "../../error.ts";
import { readComposefsArgument } from "../kargs/composefs-argument.ts";
import { trimWhiteSpace } from "../../bytes/white-space.ts";
import { type Artifact, kernelArtifact, ukiArtifact, ukiDigest } from "./identity.ts";

/** What an entry boots. */
export type EntryTarget =
  | { readonly kind: "linux"; readonly linux: string }
  /** A UKI or another EFI program, and the key that names it: loaders before systemd-boot 258 know only `efi`. */
  | { readonly kind: "efi" | "uki"; readonly path: string };

/** A type 1 entry; its members are in the order in which they are written. */
export interface BootEntry {
  readonly title: string | undefined;
  readonly version: string;
  readonly target: EntryTarget;
  /** One path for each line. */
  readonly initrd: readonly string[];
  /** The kernel command line: all `options` lines, joined with single spaces. */
  readonly options: string | undefined;
  readonly machineId: string | undefined;
  readonly sortKey: string | undefined;
  /** All other keys, in the order in which they were first read; the last value of each. */
  readonly extra: ReadonlyMap<string, string>;
}

/**
 * Parses the text of an entry file.
 *
 * @param path for messages
 * @throws ComposefsError `invalid` with the reason `bls-no-version`, `bls-two-targets` (with line) or `bls-no-target`
 * @example
 * ```ts
 * const entry = parseBootEntry("version 1\nlinux /a/vmlinuz\noptions rw\n", "loader/entries/a.conf");
 * ```
 */
export function parseBootEntry(text: string, path = "the entry"): BootEntry {
  const last = new Map<string, string>();
  const initrd: string[] = [];
  const options: string[] = [];
  let efi: { kind: "efi" | "uki"; path: string } | undefined;
  const firstLines = { linux: 0, efi: 0 };
  for (const [index, line] of text.split("\n").entries()) {
    const trimmed = trimWhiteSpace(line);
    if (trimmed === "" || trimmed.startsWith("#")) continue;
    const gap = trimmed.search(/[ \t]/);
    if (gap < 0) continue;
    const key = trimmed.slice(0, gap);
    const value = trimWhiteSpace(trimmed.slice(gap));
    if (key === "initrd") initrd.push(value);
    else if (key === "options") options.push(value);
    else if (key === "efi" || key === "uki") {
      efi = { kind: key, path: value };
      firstLines.efi ||= index + 1;
    } else {
      last.set(key, value);
      if (key === "linux") firstLines.linux ||= index + 1;
    }
  }
  const fail = (reason: string, message: string, hint: string, line?: number) => {
    const details: ErrorDetails = { reason, path, hint };
    if (line !== undefined) details.line = line;
    return new ComposefsError("invalid", `${path}${line === undefined ? "" : `, line ${line}`}: ${message}`, details);
  };
  const take = (key: string) => {
    const value = last.get(key);
    last.delete(key);
    return value;
  };
  const version = take("version");
  if (version === undefined)
    throw fail("bls-no-version", "the entry has no version", 'add a line "version ..."; menus are sorted by it');
  const linux = take("linux");
  if (linux !== undefined && efi !== undefined)
    throw fail(
      "bls-two-targets",
      `the entry has both linux and ${efi.kind}`,
      "keep the one that is to be booted",
      Math.max(firstLines.linux, firstLines.efi),
    );
  if (linux === undefined && efi === undefined)
    throw fail("bls-no-target", "the entry names nothing to boot", 'add a line "linux ...", "uki ..." or "efi ..."');
  return {
    title: take("title"),
    version,
    target: efi ?? { kind: "linux", linux: linux ?? "" },
    initrd,
    options: options.length === 0 ? undefined : options.join(" "),
    machineId: take("machine-id"),
    sortKey: take("sort-key"),
    extra: last,
  };
}

/**
 * The text of an entry file: fixed order of keys, one space after each, what is undefined left out.
 *
 * @throws ComposefsError `invalid` for a value with a line break, which would become another line
 */
export function writeBootEntry(entry: BootEntry): string {
  const lines: [string, string | undefined][] = [
    ["title", entry.title],
    ["version", entry.version],
    entry.target.kind === "linux" ? ["linux", entry.target.linux] : [entry.target.kind, entry.target.path],
    ...entry.initrd.map((path): [string, string] => ["initrd", path]),
    ["options", entry.options],
    ["machine-id", entry.machineId],
    ["sort-key", entry.sortKey],
    ...entry.extra,
  ];
  const broken = lines.find(([, value]) => value !== undefined && /[\n\r]/.test(value));
  if (broken)
    throw new ComposefsError("invalid", `the ${broken[0]} of a boot entry cannot have a line break`, {
      hint: "look into the os-release file and the options that it comes from",
    });
  return lines
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key} ${value}\n`)
    .join("");
}

/**
 * The digest of the deployment that an entry boots: from the name of its UKI, or from the options of its kernel in either spelling.
 *
 * @throws ComposefsError `invalid` with the reason `no-prefix`, `no-efi-suffix`, `no-options` or `no-karg`
 */
export function entryDigest(entry: BootEntry): string {
  if (entry.target.kind !== "linux") return ukiDigest(entry.target.path);
  if (entry.options === undefined)
    throw new ComposefsError("invalid", "the entry has no options", { reason: "no-options" });
  const argument = readComposefsArgument(entry.options);
  if (argument) return argument.digest;
  const shown = displayBytes(utf8ByteString(entry.options.slice(0, 200)));
  throw new ComposefsError("invalid", `the options of the entry name no composefs image: ${shown}`, {
    reason: "no-karg",
  });
}

/**
 * What an entry needs on the disk: the directory of its kernel or its UKI.
 *
 * @throws ComposefsError `invalid` with the reason `no-file-name` or `no-efi-suffix`
 */
export function entryArtifact({ target }: BootEntry): Artifact {
  return target.kind === "linux" ? kernelArtifact(target.linux) : ukiArtifact(target.path);
}
