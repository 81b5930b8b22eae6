// The objects that an EROFS image refers to (docs/spec/erofs.md, sections 17.1 to 17.5 and 17.8). Walks the image's
// directories and reads the xattrs of its files; nothing in the image is trusted, and no inode is visited twice.

import type { Algorithm, ObjectId } from "../bytes/algorithm.ts";
import { DIGEST_SIZE } from "../bytes/algorithm.ts";
import { toByteString } from "../bytes/byte-string.ts";
import { toHex } from "../bytes/hex.ts";
import { ComposefsError } from "../error.ts";

const BLOCK = 4096;
const SLOT = 32;
const SUPERBLOCK = 1024;
const FIRST_INODE = 1152;
const IMAGE_MAGIC = 0xd078629a;
const EROFS_MAGIC = 0xe0f5e1e2;
const TRUSTED = 4;
const METACOPY = "overlay.metacopy";
const REDIRECT = "overlay.redirect";

const TYPE_MASK = 0o170000;
const DIRECTORY = 0o040000;
const REGULAR = 0o100000;

/**
 * The ids of all objects that the image's files name, as digest or as redirect, sorted.
 *
 * @param image the whole image
 * @param algorithm the algorithm of its objects
 * @throws ComposefsError `invalid` when it is no well-formed composefs image
 */
export function imageObjectList(image: Uint8Array, algorithm: Algorithm): ObjectId[] {
  return [...new ObjectWalk(image, algorithm).run()].toSorted();
}

interface Inode {
  readonly type: number;
  readonly layout: number;
  readonly size: number;
  /** i_u: the first data block of a directory. */
  readonly block: number;
  readonly xattrsAt: number;
  readonly xattrsSize: number;
}

class ObjectWalk {
  readonly #image: Uint8Array;
  readonly #view: DataView;
  readonly #digestSize: number;
  readonly #objects = new Set<ObjectId>();
  readonly #visited = new Set<number>();
  #xattrBase = 0;

  constructor(image: Uint8Array, algorithm: Algorithm) {
    this.#image = image;
    this.#view = new DataView(image.buffer, image.byteOffset, image.byteLength);
    this.#digestSize = DIGEST_SIZE[algorithm];
  }

  run(): ReadonlySet<ObjectId> {
    const root = this.#open();
    const pending = [root];
    this.#visited.add(root);
    for (let nid = pending.pop(); nid !== undefined; nid = pending.pop()) {
      const inode = this.#inode(nid);
      if (inode.type === REGULAR && inode.layout === 4) this.#file(inode, nid);
      if (nid === root && inode.type !== DIRECTORY) throw invalid("the root is no directory");
      if (inode.type !== DIRECTORY) continue;
      for (const child of this.#children(inode, nid)) {
        if (this.#visited.has(child)) continue;
        this.#visited.add(child);
        pending.push(child);
      }
    }
    return this.#objects;
  }

  /** Checks header and superblock; returns the root's nid. */
  #open(): number {
    if (this.#image.length < BLOCK) throw invalid(`it has ${this.#image.length} bytes, less than a block`);
    if (this.#u32(0) !== IMAGE_MAGIC || this.#u32(SUPERBLOCK) !== EROFS_MAGIC)
      throw invalid("its magic numbers are wrong");
    if (this.#u32(4) !== 1) throw invalid(`its header version is ${this.#u32(4)}, not 1`);
    if (this.#u32(12) > 2) throw invalid(`its format version is ${this.#u32(12)}, not 0, 1 or 2`);
    if (this.#bytes(SUPERBLOCK + 12, 1)[0] !== 12) throw invalid("its block size is not 4096");
    if (this.#u32(SUPERBLOCK + 40) !== 0) throw invalid("its metadata does not begin at block 0");
    this.#xattrBase = this.#u32(SUPERBLOCK + 44) * BLOCK;
    if (this.#xattrBase > this.#image.length) throw invalid("its xattr table lies outside of it");
    return this.#u16(SUPERBLOCK + 14);
  }

  #inode(nid: number): Inode {
    const at = nid * SLOT;
    if (at < FIRST_INODE) throw invalid(`inode ${nid} lies in the superblock`);
    const format = this.#u16(at);
    const layout = (format >> 1) & 7;
    if (format >> 4 !== 0 || ![0, 2, 4].includes(layout))
      throw invalid(`inode ${nid} has the unknown format ${format}`);
    const extended = (format & 1) === 1;
    const headerSize = extended ? 64 : 32;
    this.#bytes(at, headerSize);
    const count = this.#u16(at + 2);
    const size = extended ? Number(this.#view.getBigUint64(at + 8, true)) : this.#u32(at + 8);
    return {
      type: this.#u16(at + 4) & TYPE_MASK,
      layout,
      size,
      block: this.#u32(at + 16),
      xattrsAt: at + headerSize,
      xattrsSize: count === 0 ? 0 : 12 + 4 * (count - 1),
    };
  }

  *#children({ layout, size, block, xattrsAt, xattrsSize }: Inode, nid: number): Iterable<number> {
    if (layout === 4 || size > this.#image.length) throw invalid(`directory ${nid} has an impossible size or layout`);
    const full = layout === 0 ? Math.ceil(size / BLOCK) : Math.floor(size / BLOCK);
    for (let i = 0; i < full; i++) {
      yield* this.#segment((block + i) * BLOCK, Math.min(BLOCK, size - i * BLOCK), nid);
    }
    if (layout === 2 && size % BLOCK > 0) yield* this.#segment(xattrsAt + xattrsSize, size % BLOCK, nid);
  }

  /** The nids of one block of directory entries; `.` and `..` lead to inodes that were visited. */
  *#segment(at: number, length: number, nid: number): Iterable<number> {
    this.#bytes(at, length);
    const names = length < 12 ? 0 : this.#u16(at + 8);
    if (names === 0 || names % 12 !== 0 || names > length) throw invalid(`directory ${nid} has a malformed block`);
    for (let entry = at; entry < at + names; entry += 12) {
      const child = this.#view.getBigUint64(entry, true);
      if (child * BigInt(SLOT) >= BigInt(this.#image.length))
        throw invalid(`directory ${nid} has an entry outside the image`);
      yield Number(child);
    }
  }

  #file(inode: Inode, nid: number): void {
    for (const [name, value] of this.#trustedXattrs(inode, nid)) {
      if (name === METACOPY && value.length > 0) {
        const n = this.#digestSize;
        if (value.length !== 4 + n || value[0] !== 0 || value[1] !== 4 + n || value[3] !== (n === 32 ? 1 : 2)) {
          throw invalid(`inode ${nid} has a malformed digest`);
        }
        this.#objects.add(toHex(value.subarray(4)));
      } else if (name === REDIRECT) {
        const id = new RegExp(`(?:^|/)([0-9a-f]{2})/([0-9a-f]{${2 * this.#digestSize - 2}})$`).exec(
          toByteString(value),
        );
        if (id !== null) this.#objects.add(`${id[1]}${id[2]}`);
      }
    }
  }

  *#trustedXattrs({ xattrsAt, xattrsSize }: Inode, nid: number): Iterable<[string, Uint8Array]> {
    if (xattrsSize === 0) return;
    const area = this.#bytes(xattrsAt, xattrsSize);
    const shared = area[4] ?? 0;
    const end = xattrsAt + xattrsSize;
    let at = xattrsAt + 12 + 4 * shared;
    if (at > end) throw invalid(`inode ${nid} has more shared xattrs than room for them`);
    for (let i = 0; i < shared; i++) {
      const entry = this.#xattr(this.#xattrBase + 4 * this.#u32(xattrsAt + 12 + 4 * i));
      if (entry.index === TRUSTED) yield [entry.name, entry.value];
    }
    while (at < end) {
      const entry = this.#xattr(at);
      at += entry.size;
      if (at > end) throw invalid(`inode ${nid} has an xattr that leaves its area`);
      if (entry.index === TRUSTED) yield [entry.name, entry.value];
    }
  }

  #xattr(at: number): { index: number; name: string; value: Uint8Array; size: number } {
    const head = this.#bytes(at, 4);
    const nameLength = head[0] ?? 0;
    const valueLength = this.#u16(at + 2);
    return {
      index: head[1] ?? 0,
      name: toByteString(this.#bytes(at + 4, nameLength)),
      value: this.#bytes(at + 4 + nameLength, valueLength),
      size: (4 + nameLength + valueLength + 3) & ~3,
    };
  }

  #bytes(at: number, length: number): Uint8Array {
    if (!(at >= 0 && at + length <= this.#image.length)) throw invalid(`something lies outside of it, at offset ${at}`);
    return this.#image.subarray(at, at + length);
  }

  #u16(at: number): number {
    this.#bytes(at, 2);
    return this.#view.getUint16(at, true);
  }

  #u32(at: number): number {
    this.#bytes(at, 4);
    return this.#view.getUint32(at, true);
  }
}

function invalid(why: string): ComposefsError {
  return new ComposefsError("invalid", `this is no valid composefs image: ${why}`);
}
