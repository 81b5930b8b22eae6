// Bytes of the header, the superblock and inodes (docs/spec/erofs.md, 4, 5, 6).

import { storeDirents } from "./dirents";
import { imageSize } from "./layout";
import { chunkBits } from "./place-v1";
import { BLOCK, CHAR, DIRECTORY, Directory, Inode, InodeFlag, Leaf, isNone, typeOf } from "./tree";
import { Writer } from "./writer";
import { storeArea } from "./xattr-area";

const FLAT_PLAIN: u32 = 0;
const FLAT_INLINE: u32 = 2;
const CHUNK_BASED: u32 = 4;

/** Offset of the superblock. */
const SUPERBLOCK: usize = 1024;
/** Version 2 has the same chunk bits for every file. */
const CHUNK_BITS_V2: u32 = 31;

/** Writes what precedes the inodes; the memory is zero. */
export function storeSuperblock(writer: Writer, to: usize): void {
  store<u32>(to, 0xd078629a);
  store<u32>(to, 1, 4);
  store<u32>(to, <u32>writer.hasAcl, 8);
  store<u32>(to, writer.version, 12);
  to += SUPERBLOCK;
  store<u32>(to, 0xe0f5e1e2);
  // feature_compat: mtime, xattr filter.
  store<u32>(to, 6, 8);
  store<u8>(to, 12, 12);
  store<u16>(to, <u16>writer.root.nid, 14);
  store<u64>(to, writer.inodeCount, 16);
  store<u32>(to, <u32>(imageSize(writer) >> 12), 36);
  if (writer.version == 2) return;
  store<i64>(to, writer.minSec, 24);
  store<u32>(to, writer.minNsec, 32);
  store<u32>(to, <u32>(writer.inodesEnd >> 12), 44);
}

/**
 * Writes the inode, its xattrs and its tail; answers the address behind them. `number` counts inodes in order,
 * `block` is the number of its first data block.
 */
export function storeInode(writer: Writer, inode: Inode, number: u64, block: u32, to: usize): usize {
  const layout = layoutOf(inode);
  const v2 = writer.version == 2;
  const union = unionOf(inode, block, v2);
  const ino = v2 ? inode.nid : <u32>number;
  const size = inode.size;
  const xattrCount = inode.xattrSize == 0 ? 0 : (inode.xattrSize - 12) / 4 + 1;
  store<u16>(to, <u16>xattrCount, 2);
  store<u16>(to, inode.mode, 4);
  store<u32>(to, union, 16);
  store<u32>(to, ino, 20);
  if ((inode.flags & InodeFlag.EXTENDED) != 0) {
    store<u16>(to, <u16>((layout << 1) | 1));
    store<u64>(to, size, 8);
    store<u32>(to, inode.uid, 24);
    store<u32>(to, inode.gid, 28);
    store<i64>(to, inode.mtimeSec, 32);
    if (!v2) store<u32>(to, inode.nsec, 40);
    store<u32>(to, inode.nlink, 44);
    to += 64;
  } else {
    store<u16>(to, <u16>(layout << 1));
    store<u16>(to, <u16>inode.nlink, 6);
    store<u32>(to, <u32>size, 8);
    store<u16>(to, <u16>inode.uid, 24);
    store<u16>(to, <u16>inode.gid, 26);
    to += 32;
  }
  if (inode.xattrSize != 0) {
    storeArea(writer, inode, to);
    to += inode.xattrSize;
  }
  storeTail(inode, to);
  return to + inode.tail;
}

function layoutOf(inode: Inode): u32 {
  if ((inode.flags & InodeFlag.EXTERNAL) != 0) return CHUNK_BASED;
  return inode.tail != 0 ? FLAT_INLINE : FLAT_PLAIN;
}

/** The field i_u (6.1). */
function unionOf(inode: Inode, block: u32, v2: bool): u32 {
  if ((inode.flags & InodeFlag.EXTERNAL) != 0) {
    if (v2) return CHUNK_BITS_V2;
    if (inode.size == 0) return 0;
    const format = chunkBits(inode.size) - 12;
    // The format overwrites the low half of the block number: docs/spec/erofs.md, 12.1.
    return (inode.flags & InodeFlag.CHUNKS_IN_BLOCK) != 0 ? (block & 0xffff0000) | format : format;
  }
  if (inode.blocks != 0) return block;
  const type = typeOf(inode);
  return type == CHAR || type == BLOCK ? changetype<Leaf>(inode).rdev : 0;
}

function storeTail(inode: Inode, to: usize): void {
  const tail = inode.tail;
  if (tail == 0) return;
  if (typeOf(inode) == DIRECTORY) {
    const first = changetype<Directory>(inode).tailEntry;
    if (!isNone(changetype<usize>(first))) storeDirents(first, to);
  } else if ((inode.flags & InodeFlag.EXTERNAL) != 0) {
    memory.fill(to, 0xff, tail);
  } else {
    memory.copy(to, changetype<Leaf>(inode).data + <usize>(inode.size - tail), tail);
  }
}
