// The `fsverity` interface of core.wit. How functions get their WIT names: ../index.ts.

import { freeIncoming } from "../abi/memory";
import { returnBlock, returnPair } from "../abi/return-area";
import { BLOCK_SIZE, digestSize, hashBlocks as hashWholeBlocks } from "../sha2/blocks";
import { Tree, advanceWindow, finishTree, freeTree, newTree, updateTree, windowRoom } from "./tree";

@external("[export]composefs:core/fsverity@0.1.0", "[resource-new]hasher")
declare function newHasher(representation: usize): i32;

function returnDigest(tree: Tree): usize {
  const size = digestSize(tree.algorithm);
  const output = heap.alloc(size);
  finishTree(tree, tree.size, output);
  return returnBlock(output, size);
}

export function digest(algorithm: i32, data: usize, length: usize): usize {
  const tree = newTree(algorithm);
  updateTree(tree, data, length);
  freeIncoming(data, length);
  const area = returnDigest(tree);
  freeTree(tree);
  return area;
}

export function hashBlocks(algorithm: i32, data: usize, length: usize): usize {
  const whole = length / BLOCK_SIZE;
  const rest = length - whole * BLOCK_SIZE;
  const digest = digestSize(algorithm);
  const size = (whole + <usize>(rest != 0)) * digest;
  if (size == 0) return returnBlock(1, 0);
  const output = heap.alloc(size);
  hashWholeBlocks(algorithm, data, whole, output);
  if (rest != 0) {
    const block = heap.alloc(BLOCK_SIZE);
    memory.copy(block, data + whole * BLOCK_SIZE, rest);
    memory.fill(block + rest, 0, BLOCK_SIZE - rest);
    hashWholeBlocks(algorithm, block, 1, output + whole * digest);
    heap.free(block);
  }
  freeIncoming(data, length);
  return returnBlock(output, size);
}

export function hasher_constructor(algorithm: i32): i32 {
  return newHasher(changetype<usize>(newTree(algorithm)));
}

export function hasher_drop(self: Tree): void {
  freeTree(self);
}

// A spent hasher ignores data and offers no room: misuse must not become a trap, which would end the whole instance.

export function hasher_update(self: Tree, data: usize, length: usize): void {
  if (!self.spent) updateTree(self, data, length);
  freeIncoming(data, length);
}

export function hasher_window(self: Tree, least: u32): usize {
  if (self.spent) return returnPair(0, 0);
  const room = windowRoom(self, least);
  return returnPair(<u32>(self.window + self.filled), <u32>room);
}

export function hasher_advance(self: Tree, n: u32): void {
  if (!self.spent) advanceWindow(self, n);
}

export function hasher_finish(self: Tree): usize {
  return self.spent ? returnBlock(1, 0) : returnDigest(self);
}
