// Superblock, group descriptors and journal of ext4 as this writer makes them.

import { crc32c } from "./checksum.ts";
import { BLOCKS_PER_GROUP, DESCRIPTOR_SIZE, FIRST_INODE, type Geometry, INODE_SIZE } from "./ext4-geometry.ts";
import { BLOCK_LIST_SIZE } from "./ext4-inode.ts";

/** What of a superblock is not the same in all file systems. */
export interface SuperblockFacts {
  /** 16 bytes. */
  readonly uuid: Uint8Array;
  /** Up to 16 bytes. */
  readonly label: Uint8Array;
  /** 16 bytes that the hashes of names begin with, once the kernel makes an index of a directory. */
  readonly hashSeed: Uint8Array;
  /** When it was made, in seconds. */
  readonly seconds: number;
  readonly freeBlocks: number;
  readonly freeInodes: number;
  /** KiB that were written to it. */
  readonly written: number;
  /** The list of blocks in the journal's inode, repeated here. */
  readonly journalBlockList: Uint8Array;
  readonly journalSize: number;
}

/** Inode of the journal. */
export const JOURNAL_INODE = 8;
/** Inode of the root directory. */
export const ROOT_INODE = 2;

const COMPATIBLE = { journal: 0x4, xattrs: 0x8, directoryIndex: 0x20 };
const INCOMPATIBLE = { fileType: 0x2, extents: 0x40, wide: 0x80, flexibleGroups: 0x200 };
const READ_ONLY = {
  sparseSuper: 0x1,
  largeFile: 0x2,
  hugeFile: 0x8,
  manyLinks: 0x20,
  extraSize: 0x40,
  checksums: 0x400,
  // Always: what an upgrade brings to the disk is sealed there.
  verity: 0x8000,
};

function all(flags: Record<string, number>): number {
  return Object.values(flags).reduce((sum, flag) => sum | flag, 0);
}

/**
 * The superblock: 1024 bytes.
 *
 * @param group in which it lies
 */
export function encodeSuperblock(geometry: Geometry, facts: SuperblockFacts, group: number): Buffer {
  const { blocks, groups, inodesPerGroup } = geometry;
  const bytes = Buffer.alloc(1024);
  const u32 = (value: number, at: number) => void bytes.writeUInt32LE(value, at);
  const u16 = (value: number, at: number) => void bytes.writeUInt16LE(value, at);
  const time = facts.seconds % 2 ** 32;
  u32(groups * inodesPerGroup, 0x00);
  u32(blocks, 0x04);
  u32(facts.freeBlocks, 0x0c);
  u32(facts.freeInodes, 0x10);
  u32(2, 0x18);
  u32(2, 0x1c);
  u32(BLOCKS_PER_GROUP, 0x20);
  u32(BLOCKS_PER_GROUP, 0x24);
  u32(inodesPerGroup, 0x28);
  u32(time, 0x30);
  u16(0xffff, 0x36);
  u16(0xef53, 0x38);
  // Clean; go on after errors.
  u16(1, 0x3a);
  u16(1, 0x3c);
  u32(time, 0x40);
  u32(1, 0x4c);
  u32(FIRST_INODE, 0x54);
  u16(INODE_SIZE, 0x58);
  u16(group, 0x5a);
  u32(all(COMPATIBLE), 0x5c);
  u32(all(INCOMPATIBLE), 0x60);
  u32(all(READ_ONLY), 0x64);
  bytes.set(facts.uuid, 0x68);
  bytes.set(facts.label, 0x78);
  u32(JOURNAL_INODE, 0xe0);
  bytes.set(facts.hashSeed, 0xec);
  // half MD4, as everywhere
  bytes[0xfc] = 1;
  bytes[0xfd] = 1;
  u16(DESCRIPTOR_SIZE, 0xfe);
  // user_xattr and acl
  u32(0xc, 0x100);
  u32(time, 0x108);
  bytes.set(facts.journalBlockList, 0x10c);
  u32(Math.floor(facts.journalSize / 2 ** 32), 0x10c + BLOCK_LIST_SIZE);
  u32(facts.journalSize % 2 ** 32, 0x10c + BLOCK_LIST_SIZE + 4);
  u16(32, 0x15c);
  u16(32, 0x15e);
  // Names are hashed as signed characters.
  u32(1, 0x160);
  // 16 groups a flexible one; checksums are CRC-32C.
  bytes[0x174] = 4;
  bytes[0x175] = 1;
  bytes.writeBigUInt64LE(BigInt(facts.written), 0x178);
  u32(crc32c(bytes.subarray(0, 0x3fc)), 0x3fc);
  return bytes;
}

/** One group. */
export interface GroupFacts {
  readonly blockBitmap: { readonly block: number; readonly checksum: number };
  readonly inodeBitmap: { readonly block: number; readonly checksum: number };
  readonly inodeTable: number;
  readonly freeBlocks: number;
  readonly freeInodes: number;
  readonly directories: number;
}

const TABLE_IS_ZEROED = 4;

/** The descriptor of a group: 64 bytes. */
export function encodeDescriptor(group: GroupFacts, number: number, fileSystemSeed: number): Buffer {
  const bytes = Buffer.alloc(DESCRIPTOR_SIZE);
  const halves = (value: number, low: number, high: number) => {
    bytes.writeUInt16LE(value & 0xffff, low);
    bytes.writeUInt16LE(value >>> 16, high);
  };
  bytes.writeUInt32LE(group.blockBitmap.block, 0x00);
  bytes.writeUInt32LE(group.inodeBitmap.block, 0x04);
  bytes.writeUInt32LE(group.inodeTable, 0x08);
  halves(group.freeBlocks, 0x0c, 0x2c);
  halves(group.freeInodes, 0x0e, 0x2e);
  halves(group.directories, 0x10, 0x30);
  bytes.writeUInt16LE(TABLE_IS_ZEROED, 0x12);
  halves(group.blockBitmap.checksum, 0x18, 0x38);
  halves(group.inodeBitmap.checksum, 0x1a, 0x3a);
  // Inodes are given out from the front, so all that are free lie at the end of the table.
  halves(group.freeInodes, 0x1c, 0x32);
  const prefix = Buffer.alloc(4);
  prefix.writeUInt32LE(number, 0);
  bytes.writeUInt16LE(crc32c(bytes, crc32c(prefix, fileSystemSeed)) & 0xffff, 0x1e);
  return bytes;
}

/** The first block of an empty journal, as far as it is not zero. All numbers are big endian. */
export function encodeJournal(blocks: number, blockSize: number, uuid: Uint8Array): Buffer {
  const bytes = Buffer.alloc(1024);
  bytes.writeUInt32BE(0xc03b3998, 0);
  // A superblock of version 2.
  bytes.writeUInt32BE(4, 4);
  bytes.writeUInt32BE(blockSize, 12);
  bytes.writeUInt32BE(blocks, 16);
  bytes.writeUInt32BE(1, 20);
  bytes.writeUInt32BE(1, 24);
  bytes.set(uuid, 48);
  bytes.writeUInt32BE(1, 64);
  return bytes;
}
