// Writes tar archives for layers: ustar headers, and pax records for what does not fit them (docs/spec/oci.md, section 5.1). The
// same entries give the same bytes; nothing of this machine or moment goes in.

import { type ByteString, displayBytes, fromByteString, toByteString } from "../bytes/byte-string.ts";
import { ComposefsError, throwIfAborted } from "../error.ts";
import type { Stat } from "../tree/node.ts";

/** Content that can be read in pieces. */
export interface TarContent {
  readonly size: number;
  read(position: number, length: number): Uint8Array;
}

/** An entry to write. */
export interface NewTarEntry {
  /** Without a slash at either end; empty for the root. */
  readonly path: ByteString;
  readonly type: "file" | "directory" | "symlink" | "hardlink" | "char" | "block" | "fifo";
  /** Of hard links nothing but the type counts. */
  readonly stat: Stat;
  /** The target of a symbolic or hard link. */
  readonly link?: ByteString;
  /** Device number in the kernel's 32-bit encoding. */
  readonly rdev?: number;
  /** Of regular files; empty when left out. */
  readonly content?: TarContent;
}

const BLOCK = 512;
const CHUNK = 1 << 20;

const TYPE_FLAG: Record<NewTarEntry["type"], string> = {
  file: "0",
  hardlink: "1",
  symlink: "2",
  char: "3",
  block: "4",
  directory: "5",
  fifo: "6",
};

/**
 * The archive as a stream.
 *
 * @throws ComposefsError `invalid` when a file becomes shorter than its size while it is read; `aborted`
 * @example
 * ```ts
 * await importLayer(repository, tarStream(entries), { name: "the new layer" });
 * ```
 */
export async function* tarStream(
  entries: Iterable<NewTarEntry> | AsyncIterable<NewTarEntry>,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const entry of entries) {
    yield headerOf(entry);
    const { content } = entry;
    if (entry.type !== "file" || content === undefined) continue;
    for (let at = 0; at < content.size; at += CHUNK) {
      throwIfAborted(signal);
      const length = Math.min(CHUNK, content.size - at);
      const bytes = content.read(at, length);
      if (bytes.length !== length) {
        const path = displayBytes(entry.path);
        throw new ComposefsError("invalid", `${path} became shorter while it was read`, {
          path,
          hint: "is something writing to it?",
        });
      }
      yield bytes;
    }
    const padding = -content.size & (BLOCK - 1);
    if (padding > 0) yield new Uint8Array(padding);
  }
  yield new Uint8Array(2 * BLOCK);
}

/** Header blocks of an entry: a pax header where the fields of the old one are too small, then that. */
function headerOf(entry: NewTarEntry): Uint8Array {
  const { type, stat } = entry;
  const path = entry.path === "" ? "./" : type === "directory" ? `${entry.path}/` : entry.path;
  const link = entry.link ?? "";
  const size = type === "file" ? (entry.content?.size ?? 0) : 0;
  const records: [string, ByteString][] = [];
  if (path.length > 100) records.push(["path", path]);
  if (link.length > 100) records.push(["linkpath", link]);
  if (type !== "hardlink") {
    const fraction = String(stat.mtimeNsec).padStart(9, "0");
    if (stat.mtimeNsec > 0 && stat.mtimeSec >= 0n) records.push(["mtime", `${stat.mtimeSec}.${fraction}`]);
    const names = [...stat.xattrs.keys()].toSorted((a, b) => (a < b ? -1 : 1));
    for (const name of names) records.push([`SCHILY.xattr.${name}`, stat.xattrs.get(name) as ByteString]);
  }
  const block = ustar(path, link, size, entry);
  if (records.length === 0) return block;
  const pax = fromByteString(records.map(([key, value]) => paxRecord(key, value)).join(""));
  const head = ustar("././@PaxHeader", "", pax.length, { ...entry, type: "file" }, "x");
  const padded = new Uint8Array(Math.ceil(pax.length / BLOCK) * BLOCK);
  padded.set(pax);
  return Buffer.concat([head, padded, block]);
}

function ustar(path: ByteString, link: ByteString, size: number, entry: NewTarEntry, flag?: string): Uint8Array {
  const { stat, type, rdev = 0 } = entry;
  const block = new Uint8Array(BLOCK);
  const text = (value: ByteString, at: number, width: number) => block.set(fromByteString(value.slice(0, width)), at);
  text(path, 0, 100);
  number(block, 100, 8, BigInt(stat.mode & 0o7777));
  number(block, 108, 8, BigInt(stat.uid));
  number(block, 116, 8, BigInt(stat.gid));
  number(block, 124, 12, BigInt(size));
  number(block, 136, 12, type === "hardlink" ? 0n : stat.mtimeSec);
  text(flag ?? TYPE_FLAG[type], 156, 1);
  text(link, 157, 100);
  text("ustar\u000000", 257, 8);
  const isDevice = type === "char" || type === "block";
  number(block, 329, 8, BigInt(isDevice ? (rdev >>> 8) & 0xfff : 0));
  number(block, 337, 8, BigInt(isDevice ? (rdev & 0xff) | ((rdev >>> 12) & 0xfff00) : 0));
  block.fill(0x20, 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  text(`${sum.toString(8).padStart(6, "0")}\0 `, 148, 8);
  return block;
}

/** Octal digits where they suffice, else base 256. */
function number(block: Uint8Array, at: number, width: number, value: bigint): void {
  const digits = value.toString(8);
  if (value >= 0n && digits.length < width) {
    block.set(Buffer.from(`${digits.padStart(width - 1, "0")}\0`, "latin1"), at);
    return;
  }
  let rest = BigInt.asUintN(64, value);
  for (let i = at + width - 1; i >= at; i--) {
    block[i] = i > at + width - 9 ? Number(rest & 0xffn) : value < 0n ? 0xff : 0;
    rest >>= 8n;
  }
  block[at] = (block[at] as number) | 0x80;
}

/** `LENGTH KEY=VALUE` and a line feed, where the length counts itself. */
function paxRecord(key: string, value: ByteString): ByteString {
  const rest = ` ${toByteString(Buffer.from(key, "latin1"))}=${value}\n`;
  let length = rest.length;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return `${length}${rest}`;
}
