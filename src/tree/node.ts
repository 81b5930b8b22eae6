// The in-memory file system (docs/spec/tree.md, section 1): directories with entries, and leaves that several
// entries may share (hard links are the same Leaf object). Names, targets and xattrs are byte strings.

import type { ObjectId } from "../bytes/algorithm.ts";
import type { ByteString } from "../bytes/byte-string.ts";

/** Extended attributes: full name to value. Treat as immutable; share one map among many nodes. */
export type Xattrs = ReadonlyMap<ByteString, ByteString>;

/** The empty xattr set. */
export const NO_XATTRS: Xattrs = new Map();

/** Metadata of a node. Immutable: to change a node, give it another Stat; sharing one is fine. */
export interface Stat {
  /** Permission bits, 07777. */
  readonly mode: number;
  /** Owner, u32. */
  readonly uid: number;
  /** Group, u32. */
  readonly gid: number;
  /** Seconds since 1970, i64. */
  readonly mtimeSec: bigint;
  /** Nanoseconds, 0..999999999. */
  readonly mtimeNsec: number;
  /** Extended attributes. */
  readonly xattrs: Xattrs;
}

/** What a leaf holds. */
export type Content =
  /** Content inside the image; at most 64 bytes when it comes from a scan or a layer. */
  | { readonly kind: "inline"; readonly bytes: Uint8Array }
  /**
   * Content in the object store: size in bytes, fs-verity digest, and the redirect path when it is not the digest's.
   * Without digest and path it is a file of holes without any data.
   */
  | {
      readonly kind: "external";
      readonly size: number;
      readonly digest: ObjectId | undefined;
      readonly path?: ByteString;
    }
  | { readonly kind: "symlink"; readonly target: ByteString }
  /** rdev is the kernel's 32-bit encoding; a character device 0 is an overlay whiteout. */
  | { readonly kind: "char" | "block"; readonly rdev: number }
  | { readonly kind: "fifo" | "socket" };

/** A directory and its entries. Iteration order means nothing; sort names where order matters. */
export class Directory {
  stat: Stat;
  readonly entries: Map<ByteString, Node> = new Map();

  constructor(stat: Stat) {
    this.stat = stat;
  }
}

/** Anything but a directory. Two entries that hold the same Leaf are hard links of each other. */
export class Leaf {
  stat: Stat;
  readonly content: Content;
  #place = 0;

  constructor(stat: Stat, content: Content) {
    this.stat = stat;
    this.content = content;
  }

  /**
   * Appends the leaf to a list of distinct leaves. Traversals find hard links this way: a Map of a million leaves costs half
   * a second and the garbage collector's attention, this costs nothing. One traversal at a time: the last list wins.
   */
  appendTo(list: Leaf[]): void {
    this.#place = list.length;
    list.push(this);
  }

  /** Its place in a list that it was last appended to; undefined if it is not there. */
  placeIn(list: readonly Leaf[]): number | undefined {
    return list[this.#place] === this ? this.#place : undefined;
  }
}

/** A node of the tree. */
export type Node = Directory | Leaf;
