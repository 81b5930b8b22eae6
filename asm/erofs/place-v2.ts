// Placement of inodes for version 2 (docs/spec/erofs.md, 13).

import { measureDirectory } from "./dirents";
import { FailureCode, refuse } from "./failure";
import { refuseAtInode } from "./locate";
import { FIRST_INODE } from "./place-v1";
import { DIRECTORY, Directory, Inode, InodeFlag, Leaf, REGULAR, SYMLINK, isNone, typeOf } from "./tree";
import { Writer } from "./writer";
import { measureArea } from "./xattr-area";

const HEAD: u32 = 64;

function measureData(inode: Inode): void {
  const type = typeOf(inode);
  if (type == DIRECTORY) {
    measureDirectory(changetype<Directory>(inode));
  } else if ((inode.flags & InodeFlag.EXTERNAL) != 0) {
    inode.tail = changetype<Leaf>(inode).data == 0 ? 0 : 4;
  } else if (type == SYMLINK || type == REGULAR) {
    inode.tail = <u32>inode.size;
  }
}

/** Whether the tail is inline data; chunk arrays are not. */
function hasInlineData(inode: Inode): bool {
  return inode.tail != 0 && (inode.flags & InodeFlag.EXTERNAL) == 0;
}

/** Gives every inode its place and counts data blocks. */
export function placeInodes(writer: Writer): bool {
  let position = FIRST_INODE;
  let dataBlocks: u64 = 0;
  for (let inode = writer.firstInode; !isNone(changetype<usize>(inode)); inode = inode.next) {
    measureData(inode);
    if (!measureArea(writer, inode)) return refuseAtInode(writer, inode);
    inode.flags |= InodeFlag.EXTENDED;
    const head = HEAD + inode.xattrSize;
    position = (position + 31) & ~31;
    if (hasInlineData(inode)) {
      // One past the tail is compared, so a tail that ends with its block moves too.
      const lastOfHead = position + head - 1;
      const end = position + head + (inode.size & 4095);
      if (lastOfHead >> 12 != end >> 12) position = (position + 4096 - (lastOfHead & 4095) + 31) & ~31;
    }
    if (position >> 37 != 0) return refuse(FailureCode.LIMIT, "", "the image has too much metadata");
    inode.nid = <u32>(position >> 5);
    position += head + inode.tail;
    dataBlocks += inode.blocks;
  }
  writer.inodesEnd = (position + 31) & ~31;
  writer.dataBlocks = dataBlocks;
  return true;
}
