// fs-verity digests (docs/spec/repository.md, section 5), streaming and in constant memory.
//
// Data is collected in a window of many blocks, so that four blocks can be hashed at once; each level of digests keeps
// four blocks for the same reason. A full level is only hashed into the next one when another digest is to come: a level
// that ends up with a single digest is the root and must not be hashed again.

import { Algorithm, BLOCK_SIZE, digestSize, hashBlocks, hashMessage } from "../sha2/blocks";

/** The most room that the window offers: 256 blocks. */
const WINDOW_SIZE: usize = 1 << 20;
/** The window: a started block may be left over when there must be room for `WINDOW_SIZE` bytes more. */
const WINDOW_BUFFER: usize = WINDOW_SIZE + BLOCK_SIZE;
/** From here on the window is hashed before more is put into it; less would leave lanes empty too often. */
const ENOUGH: usize = 64 * BLOCK_SIZE;

/** Four blocks of digests. */
const LEVEL_SIZE: usize = 4 * BLOCK_SIZE;
/** 64^8 blocks are more than 2^53 bytes. */
const LEVELS: usize = 9;
const DESCRIPTOR_SIZE: usize = 256;
const DESCRIPTOR: usize = memory.data(256, 16);

/** One level of digests. Its buffer is allocated when the first digest comes. */
@unmanaged
class Level {
  buffer: usize;
  /** Bytes of digests in the buffer. */
  used: usize;
}

/** A digest in progress. Its levels follow it in memory. */
@unmanaged
export class Tree {
  algorithm: i32;
  spent: bool;
  /** Levels that hold digests: 0 .. height - 1. */
  height: usize;
  /** Bytes consumed, those in the window included. */
  size: u64;
  /** Address of the window, 0 until it is needed. It begins with a page: see `pageStart`. */
  window: usize;
  /** Address of the heap block that holds the window. */
  windowBlock: usize;
  /** Bytes in the window. */
  filled: usize;
}

/**
 * The first page at or behind the address. Hosts read files straight into windows, and copying to an address just behind the
 * start of a page is several times slower on current x86 processors than to one at it.
 */
export function pageStart(address: usize): usize {
  return (address + BLOCK_SIZE - 1) & ~(BLOCK_SIZE - 1);
}

// @ts-ignore: decorator
@inline
function levelOf(tree: Tree, index: usize): Level {
  return changetype<Level>(changetype<usize>(tree) + offsetof<Tree>() + index * offsetof<Level>());
}

export function newTree(algorithm: i32): Tree {
  const size = offsetof<Tree>() + LEVELS * offsetof<Level>();
  const address = heap.alloc(size);
  memory.fill(address, 0, size);
  const tree = changetype<Tree>(address);
  tree.algorithm = algorithm;
  return tree;
}

export function freeTree(tree: Tree): void {
  for (let i: usize = 0; i < LEVELS; i++) {
    const buffer = levelOf(tree, i).buffer;
    if (buffer != 0) heap.free(buffer);
  }
  if (tree.windowBlock != 0) heap.free(tree.windowBlock);
  heap.free(changetype<usize>(tree));
}

/** Makes the tree as new; its buffers stay. */
export function resetTree(tree: Tree): void {
  for (let i: usize = 0; i < tree.height; i++) levelOf(tree, i).used = 0;
  tree.height = 0;
  tree.spent = false;
  tree.size = 0;
  tree.filled = 0;
}

/** Appends the digests of `count` blocks to a level, after hashing the level into the next one when it is full. */
function pushBlocks(tree: Tree, index: usize, blocks: usize, count: usize): void {
  const digest = digestSize(tree.algorithm);
  const level = levelOf(tree, index);
  if (level.buffer == 0) level.buffer = heap.alloc(LEVEL_SIZE);
  if (index == tree.height) tree.height++;
  while (count > 0) {
    if (level.used == LEVEL_SIZE) {
      pushBlocks(tree, index + 1, level.buffer, LEVEL_SIZE / BLOCK_SIZE);
      level.used = 0;
    }
    const n = min(count, (LEVEL_SIZE - level.used) / digest);
    hashBlocks(tree.algorithm, blocks, n, level.buffer + level.used);
    level.used += n * digest;
    blocks += n * BLOCK_SIZE;
    count -= n;
  }
}

/** Hashes the whole blocks of the window and moves the rest to its front. */
function flushWindow(tree: Tree): void {
  const blocks = tree.filled / BLOCK_SIZE;
  if (blocks == 0) return;
  const rest = tree.filled - blocks * BLOCK_SIZE;
  pushBlocks(tree, 0, tree.window, blocks);
  memory.copy(tree.window, tree.window + blocks * BLOCK_SIZE, rest);
  tree.filled = rest;
}

/** Makes room for at least `min` bytes (`WINDOW_SIZE` if that is more) in the window and answers how much there is. */
export function windowRoom(tree: Tree, least: usize): usize {
  if (tree.window == 0) {
    tree.windowBlock = heap.alloc(WINDOW_BUFFER + BLOCK_SIZE);
    tree.window = pageStart(tree.windowBlock);
  }
  if (tree.filled >= ENOUGH || WINDOW_BUFFER - tree.filled < least) flushWindow(tree);
  return min(WINDOW_SIZE, WINDOW_BUFFER - tree.filled);
}

/** Takes `n` bytes that the host put into the room of the window. */
export function advanceWindow(tree: Tree, n: usize): void {
  if (n > WINDOW_BUFFER - tree.filled) unreachable();
  tree.filled += n;
  tree.size += n;
}

/** Appends data. */
export function updateTree(tree: Tree, data: usize, length: usize): void {
  if (length == 0) return;
  tree.size += length;
  if (tree.filled == 0 && length >= BLOCK_SIZE) {
    const blocks = length / BLOCK_SIZE;
    pushBlocks(tree, 0, data, blocks);
    data += blocks * BLOCK_SIZE;
    length -= blocks * BLOCK_SIZE;
  }
  while (length > 0) {
    const n = min(length, windowRoom(tree, 1));
    memory.copy(tree.window + tree.filled, data, n);
    tree.filled += n;
    data += n;
    length -= n;
  }
}

/** Fills the last block of `length` bytes at `data` with zeros and answers how many blocks there are. */
function padBlocks(data: usize, length: usize): usize {
  const blocks = (length + BLOCK_SIZE - 1) / BLOCK_SIZE;
  memory.fill(data + length, 0, blocks * BLOCK_SIZE - length);
  return blocks;
}

/**
 * Ends the tree and writes its digest to `output`. `size` is the file size for the descriptor: it differs from the bytes
 * consumed when those were already digests of blocks.
 */
export function finishTree(tree: Tree, size: u64, output: usize): void {
  tree.spent = true;
  if (tree.filled != 0) {
    pushBlocks(tree, 0, tree.window, padBlocks(tree.window, tree.filled));
    tree.filled = 0;
  }
  const digest = digestSize(tree.algorithm);
  memory.fill(DESCRIPTOR, 0, DESCRIPTOR_SIZE);
  store<u8>(DESCRIPTOR, 1);
  store<u8>(DESCRIPTOR, tree.algorithm == Algorithm.SHA256 ? 1 : 2, 1);
  store<u8>(DESCRIPTOR, 12, 2);
  store<u64>(DESCRIPTOR, size, 8);
  for (let i: usize = 0; i < tree.height; i++) {
    const level = levelOf(tree, i);
    if (i + 1 == tree.height && level.used == digest) {
      memory.copy(DESCRIPTOR + 16, level.buffer, digest);
    } else {
      pushBlocks(tree, i + 1, level.buffer, padBlocks(level.buffer, level.used));
    }
  }
  hashMessage(tree.algorithm, DESCRIPTOR, DESCRIPTOR_SIZE, output);
}
