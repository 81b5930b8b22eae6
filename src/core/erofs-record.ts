// Encodes a tree that the host holds as the record stream of asm/erofs/record.ts, which documents the layout, straight into
// the input window of the image writer: one call into the core per window, none per node.

import { type Algorithm, DIGEST_SIZE, type ObjectId } from "../bytes/algorithm.ts";
import type { ByteString } from "../bytes/byte-string.ts";
import type { ErofsWriter } from "./erofs.ts";

const HEAD = 56;
const XATTR_HEAD = 16;
const ROOT_PARENT = 0xffffffff;
const KIND_DIRECTORY = 1;
const KIND_LEAF = 2;
const KIND_LINK = 3;
const KIND_XATTRS = 4;
const FLAG_EXTERNAL = 1;
const FLAG_DIGEST = 2;
const FLAG_OBJECT_PATH = 4;

const TYPE_DIRECTORY = 0o040000;
const TYPE_REGULAR = 0o100000;
const TYPE_SYMLINK = 0o120000;

/** Longer strings are worth the cost of a call into the runtime. */
const SHORT = 24;

/** Metadata of a node. */
export interface RecordStat {
  /** Permission bits, 07777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeSec: bigint;
  readonly mtimeNsec: number;
}

/** Number of the set without xattrs. */
export const NO_XATTR_SET = 0;

/** The file types of {@link RecordEncoder.special}. */
export const SPECIAL_TYPES = { fifo: 0o010000, char: 0o020000, block: 0o060000, socket: 0o140000 } as const;

/**
 * Sends nodes, parents before their children. Directories are numbered from 0 (the root), leaves from 0 and xattr sets from
 * 1, each in the order they are sent. Names of one directory may come in any order.
 */
export class RecordEncoder {
  readonly #writer: ErofsWriter;
  readonly #digestSize: number;
  #bytes: Buffer;
  #view: DataView;
  #used = 0;
  #directories = 0;
  #sets = 0;

  constructor(writer: ErofsWriter, objects: Algorithm) {
    this.#writer = writer;
    this.#digestSize = DIGEST_SIZE[objects];
    const window = writer.window();
    this.#bytes = Buffer.from(window.buffer, window.byteOffset, window.byteLength);
    this.#view = new DataView(window.buffer, window.byteOffset, window.byteLength);
  }

  /** Sends a set of xattrs, as the user sees them. Answers its number. */
  xattrs(set: Iterable<readonly [ByteString, ByteString]>): number {
    const pairs = [...set];
    if (pairs.length === 0) return NO_XATTR_SET;
    let size = XATTR_HEAD;
    for (const [name, value] of pairs) size += 8 + name.length + value.length;
    const at = this.#start(KIND_XATTRS, 0, size, 0);
    const view = this.#view;
    view.setUint32(at + 8, pairs.length, true);
    let to = at + XATTR_HEAD;
    for (const [name, value] of pairs) {
      view.setUint32(to, name.length, true);
      view.setUint32(to + 4, value.length, true);
      this.#text(name, to + 8);
      this.#text(value, to + 8 + name.length);
      to += 8 + name.length + value.length;
    }
    return ++this.#sets;
  }

  /** Sends the root. */
  root(stat: RecordStat, xattrSet: number): void {
    this.#node(KIND_DIRECTORY, 0, ROOT_PARENT, "", stat, TYPE_DIRECTORY, xattrSet, 0);
    this.#directories++;
  }

  /** Sends a directory. Answers its number. */
  directory(parent: number, name: ByteString, stat: RecordStat, xattrSet: number): number {
    this.#node(KIND_DIRECTORY, 0, parent, name, stat, TYPE_DIRECTORY, xattrSet, 0);
    return this.#directories++;
  }

  /** Sends a regular file whose content goes into the image. */
  inline(parent: number, name: ByteString, stat: RecordStat, xattrSet: number, content: Uint8Array): void {
    const at = this.#node(KIND_LEAF, 0, parent, name, stat, TYPE_REGULAR, xattrSet, content.length);
    this.#view.setUint32(at + 48, content.length, true);
    this.#bytes.set(content, at + HEAD + name.length);
  }

  /** Sends a regular file whose content is elsewhere. Without `path` the redirect is the object path of the digest, if any. */
  external(
    parent: number,
    name: ByteString,
    stat: RecordStat,
    xattrSet: number,
    size: number,
    digest: ObjectId | undefined,
    path: ByteString | undefined,
  ): void {
    const payload = path ?? "";
    const digestSize = digest === undefined ? 0 : this.#digestSize;
    let flags = FLAG_EXTERNAL;
    if (digest !== undefined) flags |= path === undefined ? FLAG_DIGEST | FLAG_OBJECT_PATH : FLAG_DIGEST;
    const at = this.#node(KIND_LEAF, flags, parent, name, stat, TYPE_REGULAR, xattrSet, payload.length + digestSize);
    const view = this.#view;
    view.setUint32(at + 40, size % 0x100000000, true);
    view.setUint32(at + 44, Math.floor(size / 0x100000000), true);
    view.setUint32(at + 48, payload.length, true);
    const behindName = at + HEAD + name.length;
    if (payload !== "") this.#text(payload, behindName);
    if (digest !== undefined) this.#bytes.write(digest, behindName + payload.length, digestSize, "hex");
  }

  /** Sends a symlink. */
  symlink(parent: number, name: ByteString, stat: RecordStat, xattrSet: number, target: ByteString): void {
    const at = this.#node(KIND_LEAF, 0, parent, name, stat, TYPE_SYMLINK, xattrSet, target.length);
    this.#view.setUint32(at + 48, target.length, true);
    this.#text(target, at + HEAD + name.length);
  }

  /** Sends a device, fifo or socket; `rdev` is the kernel's 32-bit encoding. */
  special(
    parent: number,
    name: ByteString,
    stat: RecordStat,
    xattrSet: number,
    kind: keyof typeof SPECIAL_TYPES,
    rdev: number,
  ): void {
    const at = this.#node(KIND_LEAF, 0, parent, name, stat, SPECIAL_TYPES[kind], xattrSet, 0);
    this.#view.setUint32(at + 40, rdev, true);
  }

  /** Sends another name of a leaf, given by its number. */
  link(parent: number, name: ByteString, leaf: number): void {
    const at = this.#start(KIND_LINK, 0, HEAD + name.length, name.length);
    this.#view.setUint32(at + 8, parent, true);
    this.#view.setUint32(at + 40, leaf, true);
    this.#text(name, at + HEAD);
  }

  /** Hands over what is still in the window. */
  flush(): void {
    if (this.#used !== 0) this.#writer.advance(this.#used, "records");
    this.#used = 0;
  }

  #node(
    kind: number,
    flags: number,
    parent: number,
    name: ByteString,
    stat: RecordStat,
    type: number,
    xattrSet: number,
    payload: number,
  ): number {
    const at = this.#start(kind, flags, HEAD + name.length + payload, name.length);
    const view = this.#view;
    view.setUint32(at + 8, parent, true);
    view.setUint32(at + 12, type | (stat.mode & 0o7777), true);
    view.setUint32(at + 16, stat.uid, true);
    view.setUint32(at + 20, stat.gid, true);
    view.setBigInt64(at + 24, stat.mtimeSec, true);
    view.setUint32(at + 32, stat.mtimeNsec, true);
    view.setUint32(at + 36, xattrSet, true);
    this.#text(name, at + HEAD);
    return at;
  }

  /** Starts a record of `size` bytes, zeroed up to the head, and answers where it is. */
  #start(kind: number, flags: number, size: number, nameLength: number): number {
    const padded = (size + 7) & ~7;
    if (padded > this.#bytes.length - this.#used) this.#renew(padded);
    const at = this.#used;
    this.#used = at + padded;
    const view = this.#view;
    view.setUint32(at, padded, true);
    // A name that does not fit its field is too long anyway, and refused by the core.
    view.setUint32(at + 4, kind | (flags << 8) | (Math.min(nameLength, 0xffff) << 16), true);
    if (size >= HEAD) {
      view.setBigUint64(at + 40, 0n, true);
      view.setBigUint64(at + 48, 0n, true);
    }
    return at;
  }

  #renew(least: number): void {
    this.flush();
    const window = this.#writer.window(least);
    this.#bytes = Buffer.from(window.buffer, window.byteOffset, window.byteLength);
    this.#view = new DataView(window.buffer, window.byteOffset, window.byteLength);
  }

  #text(text: ByteString, at: number): void {
    if (text.length > SHORT) {
      this.#bytes.write(text, at, text.length, "latin1");
      return;
    }
    for (let i = 0; i < text.length; i++) this.#bytes[at + i] = text.charCodeAt(i);
  }
}
