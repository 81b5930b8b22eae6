// Nodes out of the records that the core's reader writes (asm/erofs-read/records.ts has their layout).

import type { ObjectId } from "../bytes/algorithm.ts";
import { objectPath } from "../bytes/algorithm.ts";
import type { ByteString } from "../bytes/byte-string.ts";
import { ComposefsError } from "../error.ts";
import { type Content, Directory, Leaf, NO_XATTRS, type Node, type Stat, type Xattrs } from "../tree/node.ts";

const PAIR = 1;
const SET = 2;
const DIRECTORY = 3;
const LEAF = 4;
const LINK = 5;

const PAIR_HEAD = 16;
const SET_HEAD = 12;
const DIRECTORY_HEAD = 52;
const LEAF_HEAD = 76;
const LINK_HEAD = 20;

const NO_PARENT = 0xffffffff;
const EXTERNAL = 1;

/** A node as it is stored. */
export interface StoredNode {
  readonly node: Node;
  /** Position of the inode in the image: equal for all names of one file. */
  readonly nid: number;
  /** Link count. */
  readonly links: number;
}

/** Builds nodes out of records, piece by piece. */
export class RecordDecoder {
  readonly #names: ByteString[] = [];
  readonly #values: ByteString[] = [];
  readonly #sets: Xattrs[] = [NO_XATTRS];
  readonly #directories: Directory[] = [];
  readonly #leaves: Leaf[] = [];
  #bytes: Buffer = Buffer.alloc(0);
  #view: DataView = new DataView(new ArrayBuffer(0));
  /** The metadata of the last node: the next one often has the same. */
  #lastStat: Stat | undefined;
  #lastNode: StoredNode | undefined;

  /** Takes whole records; they are not needed afterwards. */
  decode(piece: Uint8Array): void {
    this.#bytes = Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength);
    this.#view = new DataView(piece.buffer, piece.byteOffset, piece.byteLength);
    for (let at = 0; at < piece.length; at += this.#view.getUint32(at, true)) this.#record(at);
  }

  /** The first directory, which is the root of a tree. */
  get root(): Directory | undefined {
    return this.#directories[0];
  }

  /** The node that came last. */
  get lastNode(): StoredNode | undefined {
    return this.#lastNode;
  }

  #record(at: number): void {
    switch (this.#view.getUint32(at + 4, true)) {
      case PAIR:
        return this.#pair(at);
      case SET:
        return this.#set(at);
      case DIRECTORY:
        return this.#directory(at);
      case LEAF:
        return this.#leaf(at);
      case LINK:
        return this.#link(at);
      default:
        throw new ComposefsError("internal", `unknown record of kind ${this.#view.getUint32(at + 4, true)}`);
    }
  }

  #text(at: number, length: number): ByteString {
    return this.#bytes.toString("latin1", at, at + length);
  }

  #pair(at: number): void {
    const nameLength = this.#view.getUint32(at + 8, true);
    const valueLength = this.#view.getUint32(at + 12, true);
    this.#names.push(this.#text(at + PAIR_HEAD, nameLength));
    this.#values.push(this.#text(at + PAIR_HEAD + nameLength, valueLength));
  }

  #set(at: number): void {
    const set = new Map<ByteString, ByteString>();
    const end = at + SET_HEAD + 4 * this.#view.getUint32(at + 8, true);
    for (let number = at + SET_HEAD; number < end; number += 4) {
      const pair = this.#view.getUint32(number, true);
      set.set(this.#names[pair] as ByteString, this.#values[pair] as ByteString);
    }
    this.#sets.push(set);
  }

  #stat(at: number): Stat {
    const view = this.#view;
    const mode = view.getUint32(at + 16, true) & 0o7777;
    const uid = view.getUint32(at + 20, true);
    const gid = view.getUint32(at + 24, true);
    const mtimeNsec = view.getUint32(at + 28, true);
    const mtimeSec = view.getBigInt64(at + 32, true);
    const xattrs = this.#sets[view.getUint32(at + 12, true)] as Xattrs;
    const last = this.#lastStat;
    if (
      last !== undefined &&
      last.mode === mode &&
      last.uid === uid &&
      last.gid === gid &&
      last.mtimeNsec === mtimeNsec &&
      last.mtimeSec === mtimeSec &&
      last.xattrs === xattrs
    ) {
      return last;
    }
    this.#lastStat = { mode, uid, gid, mtimeSec, mtimeNsec, xattrs };
    return this.#lastStat;
  }

  #put(at: number, head: number, node: Node): void {
    const view = this.#view;
    const parent = view.getUint32(at + 8, true);
    this.#lastNode = { node, nid: view.getUint32(at + 44, true), links: view.getUint32(at + 40, true) };
    if (parent === NO_PARENT) return;
    this.#directories[parent]?.entries.set(this.#text(at + head, view.getUint32(at + 48, true)), node);
  }

  #directory(at: number): void {
    const directory = new Directory(this.#stat(at));
    this.#directories.push(directory);
    this.#put(at, DIRECTORY_HEAD, directory);
  }

  #leaf(at: number): void {
    const leaf = new Leaf(this.#stat(at), this.#content(at));
    this.#leaves.push(leaf);
    this.#put(at, LEAF_HEAD, leaf);
  }

  #link(at: number): void {
    const directory = this.#directories[this.#view.getUint32(at + 8, true)];
    const leaf = this.#leaves[this.#view.getUint32(at + 12, true)] as Leaf;
    directory?.entries.set(this.#text(at + LINK_HEAD, this.#view.getUint32(at + 16, true)), leaf);
  }

  #content(at: number): Content {
    const view = this.#view;
    const start = at + LEAF_HEAD + view.getUint32(at + 48, true);
    const length = view.getUint32(at + 68, true);
    switch (view.getUint32(at + 16, true) >> 12) {
      case 0o10:
        if (view.getUint32(at + 64, true) === EXTERNAL) return this.#external(at, start, length);
        return { kind: "inline", bytes: new Uint8Array(this.#bytes.subarray(start, start + length)) };
      case 0o12:
        return { kind: "symlink", target: this.#text(start, length) };
      case 0o02:
        return { kind: "char", rdev: view.getUint32(at + 52, true) };
      case 0o06:
        return { kind: "block", rdev: view.getUint32(at + 52, true) };
      case 0o01:
        return { kind: "fifo" };
      default:
        return { kind: "socket" };
    }
  }

  #external(at: number, start: number, length: number): Content {
    const view = this.#view;
    const size = this.#size(at);
    const digestLength = view.getUint32(at + 72, true);
    const digest: ObjectId | undefined =
      digestLength === 0 ? undefined : this.#bytes.toString("hex", start + length, start + length + digestLength);
    const path = this.#text(start, length);
    if (digest === undefined)
      return path === "" ? { kind: "external", size, digest } : { kind: "external", size, digest, path };
    // The empty path says that there is no redirect, no path that it is the digest's.
    return path === objectPath(digest) ? { kind: "external", size, digest } : { kind: "external", size, digest, path };
  }

  /** Sizes are numbers in trees, exact up to 2^53, which is the largest that versions 0 and 1 can have. */
  #size(at: number): number {
    const high = this.#view.getUint32(at + 60, true);
    const low = this.#view.getUint32(at + 56, true);
    if (high < 2 ** 21 || (high === 2 ** 21 && low === 0)) return high * 2 ** 32 + low;
    const size = this.#view.getBigUint64(at + 56, true);
    const path = this.#text(at + LEAF_HEAD, this.#view.getUint32(at + 48, true));
    throw new ComposefsError("limit", `a file of ${size} bytes: a tree can hold at most 2^53`, { path });
  }
}
