// Directory entries on disk (docs/spec/erofs.md, 9): blocks of entries followed by their names.

import { CHAR, DIRECTORY, Directory, Entry, FIFO, REGULAR, SOCKET, SYMLINK, entryName, isNone, typeOf } from "./tree";

const DIRENT_SIZE: u32 = 12;
const BLOCK_SIZE: u32 = 4096;
/** A last block of more bytes is stored as a full one. */
const MAX_TAIL: u32 = 2048;

/** Counts blocks and tail of the directory, and notes where the tail begins. */
export function measureDirectory(directory: Directory): void {
  let blocks: u32 = 0;
  let used: u32 = 0;
  let tailEntry = directory.first;
  for (let entry = directory.first; !isNone(changetype<usize>(entry)); entry = entry.next) {
    const needed = DIRENT_SIZE + entry.nameLength;
    if (used + needed > BLOCK_SIZE) {
      blocks++;
      used = 0;
      tailEntry = entry;
    }
    used += needed;
  }
  if (used > MAX_TAIL) {
    blocks++;
    used = 0;
    tailEntry = changetype<Entry>(0);
  }
  directory.blocks = blocks;
  directory.tail = used;
  directory.tailEntry = tailEntry;
  directory.size = (<u64>blocks << 12) + used;
}

function fileType(type: u32): u8 {
  if (type == REGULAR) return 1;
  if (type == DIRECTORY) return 2;
  if (type == CHAR) return 3;
  if (type == SYMLINK) return 7;
  if (type == FIFO) return 5;
  return type == SOCKET ? 6 : 4;
}

/** Writes the entries from `first` on that fit into one block; answers the first that does not. The block is zero. */
export function storeDirents(first: Entry, to: usize): Entry {
  let count: u32 = 0;
  let used: u32 = 0;
  let end = first;
  for (; !isNone(changetype<usize>(end)); end = end.next) {
    const needed = DIRENT_SIZE + end.nameLength;
    if (used + needed > BLOCK_SIZE) break;
    used += needed;
    count++;
  }
  let dirent = to;
  let nameOffset = count * DIRENT_SIZE;
  for (let entry = first; changetype<usize>(entry) != changetype<usize>(end); entry = entry.next) {
    const inode = entry.inode;
    store<u64>(dirent, inode.nid);
    store<u16>(dirent, <u16>nameOffset, 8);
    store<u8>(dirent, fileType(typeOf(inode)), 10);
    memory.copy(to + nameOffset, entryName(entry), entry.nameLength);
    nameOffset += entry.nameLength;
    dirent += DIRENT_SIZE;
  }
  return end;
}
