// The fsverity interface once more, as plain numbers on the module's own exports (see ../index.ts). A component call costs
// microseconds, as much as hashing a block; a pull computes tens of thousands of digests of files of a few blocks.

import { BLOCK_SIZE, hashBlocks } from "../sha2/blocks";
import { Tree, advanceWindow, finishTree, freeTree, newTree, pageStart, resetTree, updateTree, windowRoom } from "./tree";

/** Length of the area at `rawInput`. */
const INPUT_SIZE: usize = 1 << 20;
/** Length of the area at `rawOutput`: the SHA-512 digests of the blocks of the input area. */
const OUTPUT_SIZE: usize = 64 * 256;

let input: usize = 0;
let output: usize = 0;
/** For `rawDigest`, one per algorithm, made when needed. */
let tree256: usize = 0;
let tree512: usize = 0;

/** Address of an area of 1 MiB for data. */
export function rawInput(): usize {
  if (input == 0) input = pageStart(heap.alloc(INPUT_SIZE + BLOCK_SIZE));
  return input;
}

/** Address of an area of 16 KiB for digests. */
export function rawOutput(): usize {
  if (output == 0) output = heap.alloc(OUTPUT_SIZE);
  return output;
}

/** Writes the digests of the `count` whole blocks at `data` to `digests`. */
export function rawHashBlocks(algorithm: i32, data: usize, count: usize, digests: usize): void {
  hashBlocks(algorithm, data, count, digests);
}

/** Writes the fs-verity digest of the data to `digest`. */
export function rawDigest(algorithm: i32, data: usize, length: usize, digest: usize): void {
  let tree = algorithm == 0 ? tree256 : tree512;
  if (tree == 0) {
    tree = changetype<usize>(newTree(algorithm));
    if (algorithm == 0) tree256 = tree;
    else tree512 = tree;
  }
  resetTree(changetype<Tree>(tree));
  updateTree(changetype<Tree>(tree), data, length);
  finishTree(changetype<Tree>(tree), length, digest);
}

export function rawHasherNew(algorithm: i32): Tree {
  return newTree(algorithm);
}

export function rawHasherFree(tree: Tree): void {
  freeTree(tree);
}

/** Makes a hasher as new, whether or not it is spent. */
export function rawHasherReset(tree: Tree): void {
  resetTree(tree);
}

/** Makes room for at least `least` bytes (at most 1 MiB) and answers how many bytes fit at `rawHasherWindow`. */
export function rawHasherRoom(tree: Tree, least: u32): usize {
  return windowRoom(tree, least);
}

/** Where the next bytes go. */
export function rawHasherWindow(tree: Tree): usize {
  return tree.window + tree.filled;
}

export function rawHasherAdvance(tree: Tree, n: u32): void {
  advanceWindow(tree, n);
}

/** Writes the digest; `size` is the file size in the descriptor, or negative for the number of bytes consumed. */
export function rawHasherFinish(tree: Tree, size: f64, digest: usize): void {
  finishTree(tree, size < 0 ? tree.size : <u64>size, digest);
}
