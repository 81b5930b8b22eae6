// Plain SHA-2 of messages whose length is a multiple of the chunk, and of many blocks of 4096 bytes: the one primitive
// that Merkle trees need. Blocks are independent, so SHA-256 takes four at a time.

import { compress256, init256, store256 } from "./sha256";
import { hashFourBlocks256 } from "./sha256x4";
import { compress512, init512, store512 } from "./sha512";

export const BLOCK_SIZE: usize = 4096;

/** The algorithms of core.wit, in its order. */
export namespace Algorithm {
  export const SHA256: i32 = 0;
  export const SHA512: i32 = 1;
}

const STATE: usize = memory.data(64, 16);
/** Four SHA-256 digests. */
const FOUR: usize = memory.data(128, 16);
const PADDING: usize = memory.data(128, 16);

/** Length of a digest. */
// @ts-ignore: decorator
@inline
export function digestSize(algorithm: i32): usize {
  return algorithm == Algorithm.SHA256 ? 32 : 64;
}

/** Hashes one message whose length is a multiple of 128. */
export function hashMessage(algorithm: i32, data: usize, length: usize, output: usize): void {
  // The padding is a chunk of its own: a one bit, zeros, and the length in bits, big-endian.
  memory.fill(PADDING, 0, 128);
  store<u8>(PADDING, 0x80);
  if (algorithm == Algorithm.SHA256) {
    store<u64>(PADDING + 56, bswap<u64>(<u64>length << 3));
    init256(STATE);
    compress256(STATE, data, length >> 6);
    compress256(STATE, PADDING, 1);
    store256(STATE, output);
  } else {
    store<u64>(PADDING + 120, bswap<u64>(<u64>length << 3));
    init512(STATE);
    compress512(STATE, data, length >> 7);
    compress512(STATE, PADDING, 1);
    store512(STATE, output);
  }
}

/** Hashes `count` whole blocks at `data` to concatenated digests at `output`. */
export function hashBlocks(algorithm: i32, data: usize, count: usize, output: usize): void {
  const size = digestSize(algorithm);
  if (algorithm == Algorithm.SHA256) {
    for (; count >= 4; count -= 4) {
      hashFourBlocks256(data, data + BLOCK_SIZE, data + 2 * BLOCK_SIZE, data + 3 * BLOCK_SIZE, output);
      data += 4 * BLOCK_SIZE;
      output += 4 * size;
    }
    // Four lanes take as long as the scalar code for less than two blocks.
    if (count >= 2) {
      hashFourBlocks256(data, data + BLOCK_SIZE, data + (count - 1) * BLOCK_SIZE, data, FOUR);
      memory.copy(output, FOUR, count * size);
      return;
    }
  }
  for (; count > 0; count--) {
    hashMessage(algorithm, data, BLOCK_SIZE, output);
    data += BLOCK_SIZE;
    output += size;
  }
}
