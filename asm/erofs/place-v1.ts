// Placement of inodes for versions 0 and 1 (docs/spec/erofs.md, 6, 8, 12).

import { measureDirectory } from "./dirents";
import { FailureCode, refuse } from "./failure";
import { measureArea } from "./xattr-area";
import { refuseAtInode } from "./locate";
import { DIRECTORY, Directory, Inode, InodeFlag, REGULAR, SYMLINK, isNone, typeOf } from "./tree";
import { Writer } from "./writer";

/** Offset of the first inode. */
export const FIRST_INODE: u64 = 1152;
const MAX_INLINE_TAIL: u32 = 2048;

@inline
function roundUp(position: u64, unit: u64): u64 {
  return (position + unit - 1) & ~(unit - 1);
}

/** Bits of a chunk: the size rounded up to a power of two, within the limits of the format (8.1). */
export function chunkBits(size: u64): u32 {
  const bits = size <= 1 ? 0 : 64 - <u32>clz(size - 1);
  return min<u32>(max<u32>(bits, 12), 43);
}

/** Number of chunks. */
function chunkCount(size: u64): u64 {
  const bits = chunkBits(size);
  return (size + ((<u64>1 << bits) - 1)) >> bits;
}

/** Splits the inode's data into blocks and tail, before placement adjusts them. */
function measureData(inode: Inode): void {
  const type = typeOf(inode);
  if (type == DIRECTORY) {
    measureDirectory(changetype<Directory>(inode));
  } else if (type == SYMLINK) {
    inode.tail = <u32>inode.size;
  } else if ((inode.flags & InodeFlag.EXTERNAL) != 0) {
    inode.tail = <u32>(4 * chunkCount(inode.size));
  } else if (type == REGULAR) {
    const size = <u32>inode.size;
    inode.blocks = size >> 12;
    inode.tail = size & 4095;
    if (inode.tail > MAX_INLINE_TAIL) {
      inode.blocks++;
      inode.tail = 0;
    }
  }
}

function isCompact(writer: Writer, inode: Inode): bool {
  return (
    inode.mtimeSec == writer.minSec &&
    inode.nsec == writer.minNsec &&
    inode.nlink <= 65535 &&
    inode.uid <= 65535 &&
    inode.gid <= 65535 &&
    inode.size <= 0xffffffff &&
    (inode.flags & InodeFlag.FORCE_EXTENDED) == 0
  );
}

/** Gives every inode its place and counts data blocks. */
export function placeInodes(writer: Writer): bool {
  let position = FIRST_INODE;
  let dataBlocks: u64 = 0;
  for (let inode = writer.firstInode; !isNone(changetype<usize>(inode)); inode = inode.next) {
    measureData(inode);
    if (!measureArea(writer, inode)) return refuseAtInode(writer, inode);
    const compact = isCompact(writer, inode);
    if (!compact) inode.flags |= InodeFlag.EXTENDED;
    const head: u32 = (compact ? 32 : 64) + inode.xattrSize;
    position = roundUp(position, 32);
    if (typeOf(inode) == SYMLINK) {
      // Kernels before 6.12 refuse an inline symlink that crosses a block, counted from the inode on.
      const total = head + inode.tail;
      if (total >= 4096) {
        inode.blocks = 1;
        inode.tail = 0;
      }
      if (position >> 12 != (position + total - 1) >> 12) position = roundUp(position, 4096);
    } else {
      const remaining: u32 = 4096 - (<u32>(position + head) & 4095);
      if (remaining < inode.tail) {
        const padding = (remaining + 31) & ~31;
        if (inode.tail <= 4096 - (<u32>(position + head + padding) & 4095)) {
          position += padding;
        } else {
          inode.blocks++;
          inode.tail = 0;
          inode.flags |= InodeFlag.CHUNKS_IN_BLOCK;
          position = roundUp(position, 4096);
        }
      }
    }
    if (position >> 37 != 0) return refuse(FailureCode.LIMIT, "", "the image has too much metadata");
    inode.nid = <u32>(position >> 5);
    position += head + inode.tail;
    dataBlocks += inode.blocks;
  }
  writer.inodesEnd = roundUp(position, 32);
  writer.dataBlocks = dataBlocks;
  return true;
}
