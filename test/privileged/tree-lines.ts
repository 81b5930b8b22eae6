// One line per entry of a tree, the same from a mount and from a dump, so that two trees compare as lists of lines:
// path, type and mode, owners, device, time, size, names, first name, target, content (its fs-verity digest), xattrs.

import { type BigIntStats, lstatSync, readFileSync, readdirSync, readlinkSync } from "node:fs";
import type { Algorithm } from "../../src/bytes/algorithm.ts";
import { CHARACTER_DEVICE, DIRECTORY, type DumpEntry, FILE_TYPE, REGULAR, SYMLINK } from "../fixtures/dump.ts";
import { referenceFsverity } from "../fixtures/fsverity.ts";
import { readXattrs } from "./libc.ts";

interface Line {
  path: string;
  mode: number;
  uid: number;
  gid: number;
  major: number;
  minor: number;
  mtimeNs: bigint;
  size: number;
  names: number;
  firstName: string;
  target: string | undefined;
  content: string | undefined;
  xattrs: Map<string, string>;
}

function printable(bytes: string): string {
  return bytes.replace(/[^\x21-\x5b\x5d-\x7e]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

function print(line: Line): string {
  const type = line.mode & FILE_TYPE;
  const fields = [
    printable(line.path),
    line.mode.toString(8),
    `${line.uid}:${line.gid}`,
    BigInt.asIntN(64, line.mtimeNs).toString(),
  ];
  if (type !== DIRECTORY) fields.push(`names=${line.names}`);
  if (type !== DIRECTORY && line.firstName !== line.path) fields.push(`same=${printable(line.firstName)}`);
  if (type === REGULAR || type === SYMLINK) fields.push(`size=${line.size}`);
  if (type === CHARACTER_DEVICE || type === 0o060000) fields.push(`device=${line.major}:${line.minor}`);
  if (line.target !== undefined) fields.push(`target=${printable(line.target)}`);
  if (line.content !== undefined) fields.push(`content=${line.content}`);
  for (const [name, value] of [...line.xattrs].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    fields.push(`${printable(name)}=${printable(value)}`);
  }
  return fields.join(" ");
}

/**
 * The xattrs that the kernel shows of those that an image holds, seen with Linux 6.18: namespaces that it does not know are
 * not listed, and some of what it lists cannot be read (`!` and the error).
 */
function shownXattrs(mode: number, xattrs: ReadonlyMap<string, string>): Map<string, string> {
  const shown = new Map<string, string>();
  const type = mode & FILE_TYPE;
  for (const [name, value] of xattrs) {
    if (!/^(user|trusted|security)\./.test(name)) continue;
    if (name.startsWith("user.") && type !== REGULAR && type !== DIRECTORY) shown.set(name, "!ENODATA");
    else if (/^(user|trusted|security|trusted\.overlay)\.$/.test(name)) shown.set(name, "!EINVAL");
    else shown.set(name, value);
  }
  return shown;
}

/** The id that stat shows: 2^32-1 is no valid one for the kernel, which shows its overflow id instead. */
function shownId(id: number): number {
  return id === 0xffffffff ? 65534 : id;
}

/**
 * A file with a size but neither content nor object: overlayfs finds no data and answers EIO even to lstat. Trees made of
 * layers or folders have none; dumps may.
 */
function isNullFile(entry: DumpEntry): boolean {
  return (
    (entry.mode & FILE_TYPE) === REGULAR &&
    entry.size > 0 &&
    entry.content === undefined &&
    entry.payload === undefined &&
    entry.digest === undefined
  );
}

/** How content is compared: by its fs-verity digest, or not at all where the objects are not at hand. */
export type ContentCheck = Algorithm | "none";

/** The lines of a mounted tree, sorted by path. */
export function mountLines(root: string, content: ContentCheck): string[] {
  const lines: string[] = [];
  const firstNames = new Map<bigint, string>();
  const visit = (path: string) => {
    const full = Buffer.from(`${root}${path}`, "latin1");
    let stat: BigIntStats;
    try {
      stat = lstatSync(full, { bigint: true });
    } catch (error) {
      // A whiteout below the root is listed, and then there is no such name.
      if ((error as { code?: string }).code === "ENOENT") return;
      lines.push(`${printable(path)} !${(error as { code?: string }).code}`);
      return;
    }
    const mode = Number(stat.mode);
    const type = mode & FILE_TYPE;
    if (type !== DIRECTORY && !firstNames.has(stat.ino)) firstNames.set(stat.ino, path);
    const line: Line = {
      path: path === "" ? "/" : path,
      mode,
      uid: Number(stat.uid),
      gid: Number(stat.gid),
      major: Number(((stat.rdev >> 8n) & 0xfffn) | ((stat.rdev >> 32n) & 0xfffff000n)),
      minor: Number((stat.rdev & 0xffn) | ((stat.rdev >> 12n) & 0xffffff00n)),
      mtimeNs: stat.mtimeNs,
      size: Number(stat.size),
      names: Number(stat.nlink),
      firstName: firstNames.get(stat.ino) ?? path,
      target: type === SYMLINK ? readlinkSync(full, "latin1") : undefined,
      content: type === REGULAR && content !== "none" ? referenceFsverity(content, readFileSync(full)) : undefined,
      xattrs: readXattrs(full),
    };
    lines.push(print(line));
    if (type !== DIRECTORY) return;
    const names = readdirSync(full, "buffer").map((name) => name.toString("latin1"));
    for (const name of names.toSorted((a, b) => (a < b ? -1 : 1))) visit(`${path}/${name}`);
  };
  visit("");
  return lines;
}

/**
 * The lines that a mount of the dumped tree must give.
 *
 * @param version format of the image: 2 holds whole seconds only and whiteouts that hide themselves, 0 and 1 turn those into
 *   marked empty files (docs/spec/erofs.md, section 7)
 */
export function dumpLines(dump: Map<string, DumpEntry>, version: 0 | 1 | 2, content: ContentCheck): string[] {
  const whiteoutParents = new Set<string>();
  const isWhiteout = (entry: DumpEntry) => (entry.mode & FILE_TYPE) === CHARACTER_DEVICE && entry.rdev === 0;
  for (const [path, entry] of dump) {
    if (version !== 2 && isWhiteout(entry)) whiteoutParents.add(path.slice(0, path.lastIndexOf("/")) || "/");
  }
  const firstNames = new Map<DumpEntry, string>();
  // A walk goes into a directory before its next sibling: compare component by component.
  const paths = [...dump.keys()].toSorted((a, b) => (a.replaceAll("/", "\0") < b.replaceAll("/", "\0") ? -1 : 1));
  return paths.flatMap((path) => {
    const entry = dump.get(path) as DumpEntry;
    if (version === 2 && isWhiteout(entry)) return [];
    if (!firstNames.has(entry)) firstNames.set(entry, path);
    if (isNullFile(entry)) return `${printable(path)} !EIO`;
    const xattrs = new Map(entry.xattrs);
    let mode = entry.mode;
    if (isWhiteout(entry)) {
      mode = (mode & 0o7777) | REGULAR;
      xattrs.set("trusted.overlay.whiteout", "").set("user.overlay.whiteout", "");
    }
    if (whiteoutParents.has(path)) {
      xattrs.set("trusted.overlay.whiteouts", "").set("user.overlay.whiteouts", "");
      if (version === 1) xattrs.set("trusted.overlay.opaque", "x").set("user.overlay.opaque", "x");
    }
    let digest: string | undefined;
    if ((mode & FILE_TYPE) === REGULAR && content !== "none") {
      digest = entry.digest ?? referenceFsverity(content, Buffer.from(entry.content ?? "", "latin1"));
    }
    return print({
      path,
      mode,
      uid: shownId(entry.uid),
      gid: shownId(entry.gid),
      major: (entry.rdev >>> 8) & 0xfff,
      minor: (entry.rdev & 0xff) | ((entry.rdev >>> 12) & 0xfff00),
      mtimeNs: entry.mtimeSec * 1_000_000_000n + (version === 2 ? 0n : entry.mtimeNsec),
      size: entry.size,
      names: entry.names,
      firstName: firstNames.get(entry) ?? path,
      target: entry.target,
      content: digest,
      xattrs: shownXattrs(mode, xattrs),
    });
  });
}
