// What the walk knows of each inode: nothing, that a leaf with one name was visited, or the record of a directory or of a leaf
// with several names. Nearly all inodes are such leaves: they have a bit each; records have a word in pages of neighbours. One word
// for every place of an inode would take an eighth of the image's size.

import { refuseMemory } from "../erofs/failure";
import { SLOT } from "./image";
import { Reader } from "./reader";

/** A leaf with one name that was visited. Addresses of records are larger. */
export const VISITED: u32 = 1;

const PAGE_BITS: u32 = 8;
const PAGE_MASK: u32 = (1 << PAGE_BITS) - 1;

/** An empty table for the places in the image. False at the memory limit. */
export function newInodeTable(reader: Reader): bool {
  const slots = reader.image.size / SLOT;
  reader.inodeSlots = slots;
  reader.visited = reader.found.alloc((<usize>slots >> 3) + 1);
  reader.recordPages = reader.found.alloc(((<usize>slots >> PAGE_BITS) + 1) << 2);
  return reader.visited != 0 && reader.recordPages != 0 ? true : refuseMemory();
}

/** 0, VISITED or the address of a record. An inode that is not inside the image is none that was found. */
export function foundInode(reader: Reader, nid: u64): u32 {
  if (nid >= reader.inodeSlots) return 0;
  const slot = <u32>nid;
  if (((load<u8>(reader.visited + (slot >> 3)) >> <u8>(slot & 7)) & 1) == 0) return 0;
  const page = load<u32>(reader.recordPages + (<usize>(slot >> PAGE_BITS) << 2));
  if (page == 0) return VISITED;
  const record = load<u32>(<usize>page + (<usize>(slot & PAGE_MASK) << 2));
  return record == 0 ? VISITED : record;
}

/** Notes that a leaf was visited. The inode is inside the image. */
@inline
export function markVisited(reader: Reader, slot: u32): void {
  const at = reader.visited + (slot >> 3);
  store<u8>(at, load<u8>(at) | (1 << <u8>(slot & 7)));
}

/** Notes the record of an inode, which is inside the image. False at the memory limit. */
export function putRecord(reader: Reader, slot: u32, record: usize): bool {
  markVisited(reader, slot);
  const entry = reader.recordPages + (<usize>(slot >> PAGE_BITS) << 2);
  if (load<u32>(entry) == 0) {
    const page = reader.found.alloc(<usize>4 << PAGE_BITS);
    if (page == 0) return refuseMemory();
    store<u32>(entry, <u32>page);
  }
  store<u32>(<usize>load<u32>(entry) + (<usize>(slot & PAGE_MASK) << 2), <u32>record);
  return true;
}
