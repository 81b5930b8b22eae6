// GRUB's `user.cfg` with one menu entry for each UKI (docs/spec/boot.md, section 10.4): parser, writer, and the files of a first
// installation.

import { ComposefsError } from "../../error.ts";
import { trimWhiteSpace } from "../../bytes/white-space.ts";
import { type Artifact, ukiArtifact, ukiDigest } from "./identity.ts";
import { ukiPath } from "./names.ts";

/** One `menuentry`. */
export interface GrubEntry {
  /** As it stands between the quotes, backslashes included. */
  readonly title: string;
  readonly insmod: readonly string[];
  /** What follows `search`; empty when there is none. */
  readonly search: string;
  /** The path of the UKI; empty when there is none. */
  readonly chainloader: string;
  /** All other commands with arguments, but for `set`. */
  readonly extra: readonly (readonly [command: string, rest: string])[];
}

/** What stands before the entries of the file. */
const HEADER = `
if [ -f \${config_directory}/efiuuid.cfg ]; then
        source \${config_directory}/efiuuid.cfg
fi
`;

/**
 * Parses the file: the entries in the order of the menu, those of submenus included.
 *
 * @param path for messages
 * @throws ComposefsError `invalid` with the reason `grub-syntax`, `path` and `line`
 */
export function parseGrubConfig(text: string, path = "user.cfg"): GrubEntry[] {
  return entrySpans(text, path).map(({ entry }) => entry);
}

/**
 * The text of the file without some of its entries; everything else stays as it is, whoever wrote it.
 *
 * @throws ComposefsError as {@link parseGrubConfig}
 */
export function removeGrubEntries(text: string, isRemoved: (entry: GrubEntry) => boolean): string {
  let kept = "";
  let at = 0;
  for (const { entry, start, end } of entrySpans(text, "user.cfg")) {
    if (!isRemoved(entry)) continue;
    kept += text.slice(at, start);
    at = text[end] === "\n" ? end + 1 : end;
  }
  return kept + text.slice(at);
}

function entrySpans(text: string, path: string): { entry: GrubEntry; start: number; end: number }[] {
  const fail = (at: number, message: string) => {
    const line = text.slice(0, at).split("\n").length;
    return new ComposefsError("invalid", `${path}, line ${line}: ${message}`, {
      reason: "grub-syntax",
      path,
      line,
      hint: 'entries must have the form menuentry "title" { ... }',
    });
  };
  const entries: { entry: GrubEntry; start: number; end: number }[] = [];
  const word = "menuentry";
  let at = 0;
  for (;;) {
    const start = text.indexOf(word, at);
    if (start < 0) return entries;
    const before = text.slice(at, start);
    if (trimWhiteSpace(before.slice(before.lastIndexOf("\n") + 1)).startsWith("#")) {
      const next = text.indexOf("\n", start);
      if (next < 0) return entries;
      at = next;
      continue;
    }
    at = skipSpace(text, start + word.length);
    if (at === start + word.length) throw fail(start, 'after "menuentry" there must be a space and the title');
    if (text[at] !== '"') throw fail(at, "the title must stand in double quotes");
    const closing = endOfTitle(text, at + 1);
    if (closing === undefined) throw fail(at, "the quotes of the title are not closed");
    const title = text.slice(at + 1, closing);
    if (title === "") throw fail(at, "the title is empty");
    const open = skipSpace(text, closing + 1);
    if (text[open] !== "{") throw fail(open, 'after the title there must be a "{"; options are not understood');
    const close = endOfBody(text, open + 1);
    if (close === undefined) throw fail(open, 'the "{" is not closed');
    at = close + 1;
    entries.push({ entry: parseBody(title, text.slice(open + 1, close)), start, end: at });
  }
}

function skipSpace(text: string, from: number): number {
  let at = from;
  while (at < text.length && " \t\r\n".includes(text.charAt(at))) at++;
  return at;
}

function endOfTitle(text: string, from: number): number | undefined {
  for (let at = from; at < text.length; at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === '"') return at;
  }
  return undefined;
}

// Quotes do not protect braces here.
function endOfBody(text: string, from: number): number | undefined {
  let depth = 1;
  for (let at = from; at < text.length; at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === "{") depth++;
    else if (text[at] === "}" && --depth === 0) return at;
  }
  return undefined;
}

function parseBody(title: string, body: string): GrubEntry {
  const insmod: string[] = [];
  const extra: [string, string][] = [];
  let search = "";
  let chainloader = "";
  for (const raw of body.split("\n")) {
    const line = trimWhiteSpace(raw);
    const gap = line.indexOf(" ");
    if (line.startsWith("#") || gap < 0) continue;
    const command = line.slice(0, gap);
    const rest = trimWhiteSpace(line.slice(gap));
    if (command === "insmod") insmod.push(rest);
    else if (command === "search") search = rest;
    else if (command === "chainloader") chainloader = rest;
    else if (command !== "set") extra.push([command, rest]);
  }
  return { title, insmod, search, chainloader, extra };
}

/** The text of one entry. */
export function writeGrubEntry(entry: GrubEntry): string {
  const lines = [
    `menuentry "${entry.title}" {`,
    ...entry.insmod.map((module) => `insmod ${module}`),
    `search ${entry.search}`,
    `chainloader ${entry.chainloader}`,
    ...entry.extra.map(([command, rest]) => `${command} ${rest}`),
    "}",
  ];
  return lines.map((line) => `${line}\n`).join("");
}

/** The text of the file: the header, then the entries in the order of the menu. */
export function writeGrubConfig(entries: readonly GrubEntry[]): string {
  return HEADER + entries.map(writeGrubEntry).join("");
}

/** The text of `efiuuid.cfg`, from which the entries know the ESP. */
export function grubEspConfig(espUuid: string): string {
  return `set EFI_PART_UUID="${espUuid}"`;
}

/**
 * A new entry for the UKI of a deployment.
 *
 * @param label what the menu shows; characters that mean something to GRUB inside quotes are escaped
 */
export function newGrubEntry(label: string, digest: string): GrubEntry {
  return {
    title: `${label.replace(/[\\"$]/g, "\\$&")}: (${digest})`,
    insmod: ["fat", "chain"],
    search: '--no-floppy --set=root --fs-uuid "${EFI_PART_UUID}"',
    chainloader: `/${ukiPath(digest)}`,
    extra: [],
  };
}

/**
 * The digest of the deployment that an entry boots.
 *
 * @throws ComposefsError `invalid` with the reason `empty-path`, `no-prefix` or `no-efi-suffix`
 */
export function grubEntryDigest({ chainloader }: GrubEntry): string {
  return ukiDigest(chainloader);
}

/**
 * The UKI that an entry needs on the disk.
 *
 * @throws ComposefsError `invalid` with the reason `no-file-name` or `no-efi-suffix`
 */
export function grubEntryArtifact({ chainloader }: GrubEntry): Artifact {
  return ukiArtifact(chainloader);
}
