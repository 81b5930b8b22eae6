// The entries of an image one after the other, without a tree in memory: the lines of its dump, taken apart
// (docs/spec/erofs.md, section 17.7; docs/spec/dumpfile.md, section 1).

import type { ByteString } from "../bytes/byte-string.ts";
import { ErofsReader, type ImageInput, type ReadOptions } from "../core/erofs-read.ts";

/** Which entries of an image are told. */
export interface EntriesOptions extends ReadOptions {
  /** Names of entries of the root, as for `dumpImageFile`; everything when left out or empty. */
  only?: readonly ByteString[];
}

/** One name in an image. All texts are escaped as in dumps: pure ASCII, and nothing is lost. */
export interface ImageEntry {
  readonly path: string;
  /** Another name of the file whose first name this is: then there is nothing but the path. */
  readonly linkTo?: string;
  /** Type and permission bits, as `st_mode`. */
  readonly mode: number;
  /** Bytes; may be more than 2^53 in images of format 2. */
  readonly size: number;
  readonly links: number;
  readonly uid: number;
  readonly gid: number;
  /** The kernel's 32-bit encoding. */
  readonly rdev: number;
  /** `SECONDS.NANOSECONDS`, the second part without padding. */
  readonly mtime: string;
  /** Target of a symlink, or path of the object of a file. */
  readonly payload?: string;
  /** Content of a file in the image that is not empty. */
  readonly content?: string;
  /** Hex digits. */
  readonly digest?: string;
  /** Names and values. */
  readonly xattrs: readonly (readonly [name: string, value: string])[];
}

/**
 * Goes through an image, in the order of its dump: depth first, names in byte order, the root first.
 *
 * @throws ComposefsError `invalid` if the image is not valid, which is found out before the first entry
 * @example
 * ```ts
 * for (const { path, payload } of imageEntries(fd)) console.log(path, payload ?? "");
 * ```
 */
export function* imageEntries(image: ImageInput, options: EntriesOptions = {}): Generator<ImageEntry, void, undefined> {
  for (const lines of imageLines(image, options)) for (const line of lines) yield parseEntry(line);
}

/** The lines of the canonical dump without their ends, as many at once as come together. */
export function* imageLines(image: ImageInput, options: EntriesOptions = {}): Generator<string[], void, undefined> {
  for (const bytes of imageLineBytes(image, options)) {
    const lines = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1").split("\n");
    lines.pop();
    yield lines;
  }
}

/** Whole lines of the canonical dump as bytes, which are valid until the next ones. */
export function* imageLineBytes(
  image: ImageInput,
  { only = [], ...readOptions }: EntriesOptions = {},
): Generator<Uint8Array, void, undefined> {
  using reader = new ErofsReader(image, readOptions);
  for (const name of only) reader.select(name);
  reader.dump();
  let rest: Uint8Array = new Uint8Array();
  for (const piece of reader.pieces()) {
    const first = piece.indexOf(LINE_FEED) + 1;
    const end = piece.lastIndexOf(LINE_FEED) + 1;
    if (rest.length > 0 || end === 0) rest = Buffer.concat([rest, piece.subarray(0, end === 0 ? piece.length : first)]);
    if (end === 0) continue;
    const start = rest.length > 0 ? first : 0;
    if (rest.length > 0) yield rest;
    if (start < end) yield piece.subarray(start, end);
    rest = Uint8Array.from(piece.subarray(end));
  }
}

const LINE_FEED = 0x0a;

/** What listings need of a line: the fields up to the payload. */
export interface LineHead {
  readonly path: string;
  /** File type as in the upper bits of a mode; 0 on the line of a further name. */
  readonly type: number;
  /** `-` if there is none. */
  readonly payload: string;
}

/** Takes a line apart as far as listings need it, which is half the work. */
export function lineHead(line: string): LineHead {
  let at = line.indexOf(" ");
  const path = line.slice(0, at);
  at = line.indexOf(" ", at + 1) + 1;
  let end = line.indexOf(" ", at);
  const type = line.charCodeAt(at) === AT ? 0 : Number.parseInt(line.slice(at, end - 4), 8);
  // NLINK, UID, GID, RDEV, MTIME
  for (let i = 0; i < 5; i++) end = line.indexOf(" ", end + 1);
  return { path, type, payload: line.slice(end + 1, line.indexOf(" ", end + 1)) };
}

const AT = 0x40;

function parseEntry(line: string): ImageEntry {
  const [path = "", size, mode = "", links, uid, gid, rdev, mtime = "", payload = "-", content, digest, ...xattrs] =
    line.split(" ");
  if (mode.startsWith("@")) return { ...LINK, path, linkTo: payload };
  return {
    path,
    mode: Number.parseInt(mode, 8),
    size: Number(size),
    links: Number(links),
    uid: Number(uid),
    gid: Number(gid),
    rdev: Number(rdev),
    mtime,
    ...(payload === "-" ? {} : { payload }),
    ...(content === "-" || content === undefined ? {} : { content }),
    ...(digest === "-" || digest === undefined ? {} : { digest }),
    xattrs: xattrs.map((xattr) => splitXattr(xattr)),
  };
}

const LINK = { mode: 0, size: 0, links: 0, uid: 0, gid: 0, rdev: 0, mtime: "", xattrs: [] } as const;

function splitXattr(xattr: string): [string, string] {
  const equals = xattr.indexOf("=");
  return [xattr.slice(0, equals), xattr.slice(equals + 1)];
}
