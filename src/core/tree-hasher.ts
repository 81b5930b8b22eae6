// What the two back ends of fs-verity hashing have in common (docs/spec/wasm-core.md, section 4).

import type { Algorithm, ObjectId } from "../bytes/algorithm.ts";

/** Merkle trees are made of blocks of this size. */
export const BLOCK_SIZE = 4096;
/** The most room that a hasher's window offers. */
export const WINDOW_SIZE = 1 << 20;

/** The digest of one file in progress. Not checked for misuse: `FsverityHasher` does that for callers outside. */
export interface TreeHasher {
  /** Appends data. */
  update(data: Uint8Array): void;
  /** The free part of the input window, at least `min` bytes (at most 1 MiB) long. Valid until the next call. */
  window(min: number): Uint8Array;
  /** Consumes `n` bytes that were put into the window. */
  advance(n: number): void;
  /**
   * The digest. `size` is the file size that enters it, if that is not the number of bytes consumed: a tree over the digests of
   * a file's blocks has the file's own root.
   */
  finish(size?: number): ObjectId;
  /** Makes the hasher as new. */
  reset(): void;
  /** Gives its memory back. */
  free(): void;
}

/** One way to compute digests. All ways give the same ones. */
export interface Backend {
  readonly name: "wasm" | "native";
  newHasher(algorithm: Algorithm): TreeHasher;
  /** The fs-verity digest of bytes in memory, cheap for small ones. */
  digest(algorithm: Algorithm, data: Uint8Array): ObjectId;
  /** An area of 1 MiB for data, the input of {@link hashWindow}. Valid until the next call. */
  blockWindow(): Uint8Array;
  /**
   * The plain hash of each 4096-byte block of the first `length` bytes of the block window (the last one zero-padded), one
   * after the other. Valid until the next call.
   */
  hashWindow(algorithm: Algorithm, length: number): Uint8Array;
}
