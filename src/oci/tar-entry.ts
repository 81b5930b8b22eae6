// One entry of a tar archive, out of its header block and the extension headers before it (docs/spec/oci.md, section 5.1).

import { type ByteString, displayBytes } from "../bytes/byte-string.ts";
import { NO_XATTRS, type Stat, type Xattrs } from "../tree/node.ts";
import {
  HeaderFault,
  type HeaderNumbers,
  headerLink,
  headerNumbers,
  headerPath,
  latin1,
  type TarMagic,
} from "./tar-header.ts";
import { type PaxFields, parsePax } from "./tar-pax.ts";

/** Extension data that may be pending before an entry, all kinds together. */
export const METADATA_LIMIT = 1 << 20;

/** Longest path component, in bytes; longer ones make directories that no kernel lists. */
export const NAME_LIMIT = 255;

/** What an entry is. Device numbers, link targets and content belong to some kinds only. */
export type TarType = "file" | "hardlink" | "symlink" | "char" | "block" | "directory" | "fifo";

/** One entry, extension headers applied. */
export interface TarEntry {
  /** The path as written: not normalized, may start with `./` or `/`, may end in `/`. Never empty, no NUL. */
  readonly path: ByteString;
  readonly type: TarType;
  readonly stat: Stat;
  /** Bytes of data behind the header; content of regular files, skipped for all others. */
  readonly size: number;
  /** Target of a symlink, path of a hard link's target; empty for others. */
  readonly link: ByteString;
  /** Device number in the kernel's 32-bit encoding; 0 for all but devices. */
  readonly rdev: number;
  /** Where the entry's header starts in the archive. */
  readonly offset: number;
}

const TYPES: Record<number, TarType> = {
  0x00: "file",
  0x30: "file",
  0x31: "hardlink",
  0x32: "symlink",
  0x33: "char",
  0x34: "block",
  0x35: "directory",
  0x36: "fifo",
  0x37: "file",
};

/** Extension headers: pax, GNU long name, GNU long link. */
export type ExtensionKind = "x" | "L" | "K";
/** By type flag: the kind, and what it is called in messages. */
export const EXTENSION_HEADERS: Readonly<Record<number, readonly [ExtensionKind, string]>> = {
  0x78: ["x", "pax extended header"],
  0x4c: ["L", "GNU long name"],
  0x4b: ["K", "GNU long link"],
};

/** Data of the extension headers that wait for their entry. */
export type Extensions = { readonly [kind in ExtensionKind]?: Uint8Array };

/**
 * The entry of a header block.
 *
 * @param size the header's own size field
 * @param offset of the header in the archive
 * @throws HeaderFault
 */
export function buildEntry(
  block: Uint8Array,
  at: number,
  dialect: TarMagic,
  size: number | bigint,
  flag: number,
  offset: number,
  extensions: Extensions,
): TarEntry {
  const numbers = headerNumbers(block, at, dialect);
  const pax = extensions.x && parsePax(extensions.x);
  const path = pax?.path ?? (extensions.L ? withoutNul(extensions.L) : headerPath(block, at, dialect));
  const link = pax?.linkpath ?? (extensions.K ? withoutNul(extensions.K) : headerLink(block, at));
  const length = pax?.size ?? size;
  const type = TYPES[flag];
  checkPath(path);
  if (type === undefined)
    throw new HeaderFault(`unsupported entry type ${describeFlag(flag)} of ${displayBytes(path)}`);
  if (length > Number.MAX_SAFE_INTEGER) throw new HeaderFault(`invalid size ${length}`);
  const isLink = type === "symlink" || type === "hardlink";
  if (isLink && link.includes("\0")) throw new HeaderFault("NUL in a link target");
  return {
    path,
    type,
    stat: statOf(numbers, pax),
    size: Number(length),
    link: isLink ? link : "",
    rdev: type === "char" || type === "block" ? deviceNumber(numbers) : 0,
    offset,
  };
}

/** The name in the data of a GNU long name or link. */
export function withoutNul(data: Uint8Array): ByteString {
  const end = data.length > 0 && data[data.length - 1] === 0 ? data.length - 1 : data.length;
  return latin1(data, 0, end);
}

function checkPath(path: ByteString): void {
  if (path === "") throw new HeaderFault("entry has an empty path");
  if (path.includes("\0")) throw new HeaderFault("NUL in a path");
  if (path.length <= NAME_LIMIT) return;
  for (const component of path.split("/")) {
    if (component.length > NAME_LIMIT) {
      throw new HeaderFault(
        `name of ${component.length} bytes is too long (${NAME_LIMIT} at most): ${displayBytes(component)}`,
      );
    }
  }
}

function statOf(numbers: HeaderNumbers, pax: PaxFields | undefined): Stat {
  const xattrs: Xattrs = pax?.xattrs ?? NO_XATTRS;
  return {
    mode: lowBits(numbers.mode) & 0o7777,
    uid: lowBits(pax?.uid ?? numbers.uid),
    gid: lowBits(pax?.gid ?? numbers.gid),
    mtimeSec: BigInt.asIntN(64, pax?.mtimeSec ?? BigInt(numbers.mtime)),
    mtimeNsec: pax?.mtimeNsec ?? 0,
    xattrs,
  };
}

/** The low 32 bits, which is what is kept of a larger owner. */
function lowBits(value: number | bigint): number {
  return typeof value === "bigint" ? Number(BigInt.asUintN(32, value)) : value % 0x1_0000_0000;
}

function deviceNumber({ devmajor, devminor }: HeaderNumbers): number {
  if (devmajor === undefined || devminor === undefined) throw new HeaderFault("device entry without device numbers");
  if (devmajor > 0xfff) throw new HeaderFault(`device major ${devmajor} is over 4095`);
  if (devminor > 0xf_ffff) throw new HeaderFault(`device minor ${devminor} is over 1048575`);
  return ((devminor & 0xff) | (devmajor << 8) | ((devminor & ~0xff) << 12)) >>> 0;
}

function describeFlag(flag: number): string {
  return flag > 0x20 && flag < 0x7f ? `'${String.fromCharCode(flag)}'` : `0x${flag.toString(16)}`;
}
