// Inodes of ext4 with extents and checksums.

import { crc32c } from "./checksum.ts";
import { INODE_SIZE, type Run } from "./ext4-geometry.ts";
import { BLOCK } from "./sparse-output.ts";

/** Flags of an inode. */
export const INODE_FLAG = { extents: 0x80000, verity: 0x100000 } as const;

/** Bytes that an inode has for attributes of its own. */
export const XATTR_ROOM = INODE_SIZE - 160;
/** Bytes of the list of blocks; a shorter symlink has its target there. */
export const BLOCK_LIST_SIZE = 60;

const MAX_EXTENT = 32_768;
const ROOT_EXTENTS = 4;
const LEAF_EXTENTS = (BLOCK - 12 - 4) / 12;
const EXTENT_MAGIC = 0xf30a;

/** Blocks of a file that lie one after the other. */
export interface Extent extends Run {
  /** The first one, from the start of the file. */
  readonly logical: number;
}

/** The list of blocks of a file. */
export interface ExtentTree {
  /** What stands in the inode: 60 bytes. */
  readonly root: Buffer;
  /** More of it, one block for each element; checksums included. */
  readonly leaves: readonly Buffer[];
}

/** Runs as extents, none longer than ext4 has them. */
export function extentsOf(parts: readonly { readonly logical: number; readonly runs: readonly Run[] }[]): Extent[] {
  const extents: Extent[] = [];
  for (const { logical, runs } of parts) {
    let at = logical;
    for (const { start, length } of runs) {
      for (let done = 0; done < length; done += MAX_EXTENT) {
        const part = Math.min(MAX_EXTENT, length - done);
        extents.push({ logical: at, start: start + done, length: part });
        at += part;
      }
    }
  }
  return extents;
}

/** How many blocks beside the inode the list needs; more than four are more than ext4 files of this writer have. */
export function leafCount(extents: readonly Extent[]): number {
  return extents.length <= ROOT_EXTENTS ? 0 : Math.ceil(extents.length / LEAF_EXTENTS);
}

/**
 * Encodes the list.
 *
 * @param leafBlocks where its blocks lie, as many as {@link leafCount} said
 * @param seed checksum of the inode's number
 */
export function encodeExtents(extents: readonly Extent[], leafBlocks: readonly number[], seed: number): ExtentTree {
  const root = Buffer.alloc(BLOCK_LIST_SIZE);
  if (leafBlocks.length === 0) {
    writeHeader(root, extents.length, ROOT_EXTENTS, 0);
    for (const [index, extent] of extents.entries()) writeExtent(root, 12 * (index + 1), extent);
    return { root, leaves: [] };
  }
  writeHeader(root, leafBlocks.length, ROOT_EXTENTS, 1);
  const leaves = leafBlocks.map((block, index) => {
    const part = extents.slice(index * LEAF_EXTENTS, (index + 1) * LEAF_EXTENTS);
    root.writeUInt32LE(part[0]?.logical ?? 0, 12 * (index + 1));
    root.writeUInt32LE(block, 12 * (index + 1) + 4);
    const leaf = Buffer.alloc(BLOCK);
    writeHeader(leaf, part.length, LEAF_EXTENTS, 0);
    for (const [i, extent] of part.entries()) writeExtent(leaf, 12 * (i + 1), extent);
    leaf.writeUInt32LE(crc32c(leaf.subarray(0, BLOCK - 4), seed), BLOCK - 4);
    return leaf;
  });
  return { root, leaves };
}

function writeHeader(area: Buffer, entries: number, max: number, depth: number): void {
  area.writeUInt16LE(EXTENT_MAGIC, 0);
  area.writeUInt16LE(entries, 2);
  area.writeUInt16LE(max, 4);
  area.writeUInt16LE(depth, 6);
}

function writeExtent(area: Buffer, at: number, { logical, start, length }: Extent): void {
  area.writeUInt32LE(logical, at);
  area.writeUInt16LE(length, at + 4);
  area.writeUInt32LE(start, at + 8);
}

/** What an inode says. */
export interface Inode {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly links: number;
  /** Blocks of 4096 bytes that belong to it, of whatever kind. */
  readonly blocks: number;
  readonly flags: number;
  readonly seconds: number;
  readonly nanoseconds: number;
  /** 60 bytes: extents, a short target, or a device number. */
  readonly blockList: Uint8Array;
  readonly xattrs: Uint8Array;
  readonly xattrBlock: number;
}

const EXTRA_SIZE = 32;

/**
 * Encodes an inode.
 *
 * @param seed checksum of the inode's number, see {@link inodeSeed}
 */
export function encodeInode(inode: Inode, seed: number): Buffer {
  const { mode, uid, gid, size, links, flags, xattrBlock } = inode;
  const bytes = Buffer.alloc(INODE_SIZE);
  bytes.writeUInt16LE(mode, 0);
  bytes.writeUInt16LE(uid & 0xffff, 2);
  bytes.writeUInt32LE(size % 2 ** 32, 4);
  bytes.writeUInt16LE(gid & 0xffff, 24);
  bytes.writeUInt16LE(links, 26);
  const sectors = inode.blocks * (BLOCK / 512);
  bytes.writeUInt32LE(sectors % 2 ** 32, 28);
  bytes.writeUInt32LE(flags, 32);
  bytes.set(inode.blockList, 40);
  bytes.writeUInt32LE(xattrBlock, 104);
  bytes.writeUInt32LE(Math.floor(size / 2 ** 32), 108);
  bytes.writeUInt16LE(Math.floor(sectors / 2 ** 32), 116);
  bytes.writeUInt16LE(uid >>> 16, 120);
  bytes.writeUInt16LE(gid >>> 16, 122);
  bytes.writeUInt16LE(EXTRA_SIZE, 128);
  // atime, ctime, mtime, crtime, each with two more bits of seconds beside its nanoseconds.
  const { seconds, nanoseconds } = inode;
  const low = seconds | 0;
  const epoch = Math.floor((seconds - low) / 2 ** 32) & 3;
  for (const [at, extra] of [
    [8, 140],
    [12, 132],
    [16, 136],
    [144, 148],
  ] as const) {
    bytes.writeInt32LE(low, at);
    bytes.writeUInt32LE(((nanoseconds << 2) | epoch) >>> 0, extra);
  }
  bytes.set(inode.xattrs, 160);
  const checksum = crc32c(bytes, seed);
  bytes.writeUInt16LE(checksum & 0xffff, 124);
  bytes.writeUInt16LE(checksum >>> 16, 130);
  return bytes;
}

/** The checksum that everything of an inode begins with: file system, number, generation 0. */
export function inodeSeed(fileSystemSeed: number, inode: number): number {
  const number = Buffer.alloc(8);
  number.writeUInt32LE(inode, 0);
  return crc32c(number, fileSystemSeed);
}

/** The list of blocks of a device node, whose number is in the kernel's 32-bit encoding. */
export function deviceBlockList(rdev: number): Buffer {
  const list = Buffer.alloc(BLOCK_LIST_SIZE);
  const major = (rdev >>> 8) & 0xfff;
  const minor = (rdev & 0xff) | ((rdev >>> 12) & 0xfff00);
  if (major < 256 && minor < 256) list.writeUInt32LE((major << 8) | minor, 0);
  else list.writeUInt32LE(rdev, 4);
  return list;
}
