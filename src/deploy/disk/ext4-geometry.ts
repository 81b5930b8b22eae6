// The shape of an ext4 file system: block groups, where superblocks and descriptors are repeated, and the giving out of blocks. Blocks of
// 4096 bytes, inodes of 256, 64-byte descriptors; bitmaps and inode tables of all groups lie together (flex_bg).

import { ComposefsError } from "../../error.ts";
import { BLOCK } from "./sparse-output.ts";

export const BLOCKS_PER_GROUP = 8 * BLOCK;
export const INODE_SIZE = 256;
export const DESCRIPTOR_SIZE = 64;
/** Numbers below are the file system's own: 2 is the root, 8 the journal, 11 lost+found. */
export const FIRST_INODE = 11;

/** A run of blocks. */
export interface Run {
  readonly start: number;
  readonly length: number;
}

/** The shape. */
export interface Geometry {
  readonly blocks: number;
  readonly groups: number;
  readonly inodesPerGroup: number;
  readonly descriptorBlocks: number;
  /** Blocks of one group's inode table. */
  readonly tableBlocks: number;
  readonly journalBlocks: number;
}

/** Whether a group begins with a copy of superblock and descriptors (sparse_super). */
export function hasSuperblock(group: number): boolean {
  if (group <= 1) return true;
  return [3, 5, 7].some((base) => {
    let power = base;
    while (power < group) power *= base;
    return power === group;
  });
}

/**
 * The shape of a file system.
 *
 * @param size in bytes; what no whole group or a useful part of one can be made of is left unused at its end
 * @param inodes that are needed; there will be more, one for each 16 KiB at least
 * @throws ComposefsError `usage` when it is too small, or larger than 16 TiB
 */
export function ext4Geometry(size: number, inodes: number): Geometry {
  let blocks = Math.floor(size / BLOCK);
  if (blocks > 2 ** 32 - 1)
    throw new ComposefsError("usage", "a file system of more than 16 TiB is not made", {
      hint: "give a smaller --size",
    });
  let groups = Math.ceil(blocks / BLOCKS_PER_GROUP);
  const descriptorBlocks = Math.ceil((groups * DESCRIPTOR_SIZE) / BLOCK);
  const last = blocks - (groups - 1) * BLOCKS_PER_GROUP;
  if (groups > 1 && last < descriptorBlocks + 64) {
    groups--;
    blocks -= last;
  }
  const wanted = Math.max(Math.floor(blocks / 4), Math.ceil(inodes * 1.25) + FIRST_INODE + 16);
  const perBlock = BLOCK / INODE_SIZE;
  const inodesPerGroup = Math.ceil(wanted / groups / perBlock) * perBlock;
  if (inodesPerGroup > BLOCKS_PER_GROUP)
    throw new ComposefsError("usage", `${inodes} files do not fit into a file system of ${size} bytes`, {
      hint: "give a larger --size",
    });
  return {
    blocks,
    groups,
    inodesPerGroup,
    descriptorBlocks,
    tableBlocks: inodesPerGroup / perBlock,
    journalBlocks: journalBlocks(blocks),
  };
}

// What mke2fs takes.
function journalBlocks(blocks: number): number {
  if (blocks < 32_768) return 1024;
  if (blocks < 262_144) return 4096;
  if (blocks < 524_288) return 8192;
  if (blocks < 4_194_304) return 16_384;
  if (blocks < 8_388_608) return 32_768;
  return 65_536;
}

/** Gives out the blocks of a file system from the front, and keeps the bitmap. */
export class BlockAllocator {
  readonly #geometry: Geometry;
  readonly #bitmap: Buffer;
  #next = 0;

  constructor(geometry: Geometry) {
    this.#geometry = geometry;
    this.#bitmap = Buffer.alloc(geometry.groups * BLOCK);
    for (let group = 0; group < geometry.groups; group++)
      if (hasSuperblock(group)) this.#mark(group * BLOCKS_PER_GROUP, 1 + geometry.descriptorBlocks);
    const padding = geometry.groups * BLOCKS_PER_GROUP - geometry.blocks;
    this.#mark(geometry.blocks, padding);
  }

  /**
   * The next blocks, in as few runs as possible.
   *
   * @throws ComposefsError `no-space` when there are no more
   */
  take(count: number): Run[] {
    const runs: Run[] = [];
    for (let left = count; left > 0; ) {
      const start = this.#skipReserved();
      const length = Math.min(left, this.#reservedAfter(start) - start);
      this.#mark(start, length);
      runs.push({ start, length });
      this.#next = start + length;
      left -= length;
    }
    return runs;
  }

  /** The next blocks in one run; what is left before it stays free. */
  takeContiguous(count: number): number {
    let start = this.#skipReserved();
    while (this.#reservedAfter(start) - start < count) {
      this.#next = this.#reservedAfter(start);
      start = this.#skipReserved();
    }
    this.#mark(start, count);
    this.#next = start + count;
    return start;
  }

  /** The bitmap of a group: one block. */
  bitmap(group: number): Buffer {
    return this.#bitmap.subarray(group * BLOCK, (group + 1) * BLOCK);
  }

  /** How many blocks of a group are free. */
  free(group: number): number {
    let free = 0;
    for (const byte of this.bitmap(group)) free += ZERO_BITS[byte] as number;
    return free;
  }

  #skipReserved(): number {
    const { blocks, descriptorBlocks } = this.#geometry;
    const group = Math.floor(this.#next / BLOCKS_PER_GROUP);
    const end = group * BLOCKS_PER_GROUP + 1 + descriptorBlocks;
    if (hasSuperblock(group) && this.#next < end) this.#next = end;
    if (this.#next >= blocks) throw new ComposefsError("no-space", "the file system is too small for its content");
    return this.#next;
  }

  // The next block that is reserved for a copy of the superblock, or the end.
  #reservedAfter(start: number): number {
    const { blocks } = this.#geometry;
    for (let group = Math.floor(start / BLOCKS_PER_GROUP) + 1; ; group++) {
      const at = group * BLOCKS_PER_GROUP;
      if (at >= blocks) return blocks;
      if (hasSuperblock(group)) return at;
    }
  }

  #mark(start: number, count: number): void {
    const end = start + count;
    let at = start;
    for (; at < end && at % 8 !== 0; at++) this.#bit(at);
    if (end - at >= 8) {
      this.#bitmap.fill(0xff, at / 8, Math.floor(end / 8));
      at = Math.floor(end / 8) * 8;
    }
    for (; at < end; at++) this.#bit(at);
  }

  #bit(block: number): void {
    const byte = Math.floor(block / 8);
    this.#bitmap[byte] = (this.#bitmap[byte] as number) | (1 << (block % 8));
  }
}

const ZERO_BITS = Uint8Array.from({ length: 256 }, (_, byte) => {
  let zeros = 8;
  for (let rest = byte; rest > 0; rest >>= 1) zeros -= rest & 1;
  return zeros;
});
