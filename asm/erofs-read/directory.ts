// The entries of one directory, in order (docs/spec/erofs.md, 9 and 17.4). `.` and `..` are checked and passed over.

import { compareBytes } from "../erofs/bytes";
import { sayBytes } from "../erofs/failure";
import { BLOCK, refuseImage, refuseValue } from "./image";
import { FLAT_PLAIN, Inode } from "./inode";

const ENTRY_SIZE: u32 = 12;
/** Directories have this entry type. */
export const DIRECTORY_ENTRY: u32 = 2;
const NO_INODE: u64 = 1 << 58;
/** Longest name. */
export const MAX_NAME: u32 = 255;

/** What `next` found. */
export namespace Step {
  export const ENTRY: i32 = 1;
  export const END: i32 = 0;
  /** The directory is not valid; the refusal is made. */
  export const REFUSED: i32 = -1;
}

/** A place in the entries of a directory. */
@unmanaged
export class DirectoryCursor {
  /** Inode of the entry that `next` found. */
  child: u64;
  nid: u32;
  parent: u32;
  /** Full blocks that come next. */
  private block: usize;
  private blocksLeft: u32;
  /** Bytes of the last block that count. */
  private lastLength: u32;
  private tail: usize;
  private tailLength: u32;
  /** The block or tail that is being read, and the number of its entries. */
  private segment: usize;
  private length: u32;
  private count: u32;
  private index: u32;
  /** The entry that `next` found. */
  name: usize;
  nameLength: u32;
  type: u32;
  /** Subdirectories so far, by the type of the entries. */
  subdirectories: u32;
  private sawSelf: bool;
  private sawParent: bool;

  /** Starts at the first entry of a directory that `readInode` read. */
  start(inode: Inode, parent: u32): void {
    memory.fill(changetype<usize>(this), 0, offsetof<DirectoryCursor>());
    this.nid = inode.nid;
    this.parent = parent;
    this.block = inode.blocks;
    this.blocksLeft = inode.blockCount;
    const partial = <u32>inode.size % BLOCK;
    this.lastLength = inode.layout == FLAT_PLAIN && partial != 0 ? partial : BLOCK;
    this.tail = inode.tail;
    this.tailLength = inode.tailLength;
  }

  /** Goes to the next entry. */
  next(): i32 {
    for (;;) {
      while (this.index == this.count) {
        const step = this.nextSegment();
        if (step != Step.ENTRY) return step;
      }
      if (!this.readEntry()) return Step.REFUSED;
      if (load<u8>(this.name) == 0x2e) {
        if (this.nameLength == 1) {
          if (!this.checkSelf()) return Step.REFUSED;
          continue;
        }
        if (this.nameLength == 2 && load<u8>(this.name, 1) == 0x2e) {
          if (!this.checkParent()) return Step.REFUSED;
          continue;
        }
      }
      if (this.type == DIRECTORY_ENTRY) this.subdirectories++;
      return Step.ENTRY;
    }
  }

  private nextSegment(): i32 {
    if (this.blocksLeft != 0) {
      this.segment = this.block;
      this.block += BLOCK;
      this.blocksLeft--;
      this.length = this.blocksLeft == 0 ? this.lastLength : BLOCK;
    } else if (this.tailLength != 0) {
      this.segment = this.tail;
      this.length = this.tailLength;
      this.tailLength = 0;
    } else {
      if (this.sawSelf && this.sawParent) return Step.END;
      refuseImage("dot entries", "the directory has no entry . or ..");
      return Step.REFUSED;
    }
    if (this.length < ENTRY_SIZE) {
      refuseValue("directory block", "a block of the directory is too short for an entry: ", this.length);
      return Step.REFUSED;
    }
    const first = <u32>load<u16>(this.segment, 8);
    if (first == 0 || first % ENTRY_SIZE != 0 || first >= this.length) {
      refuseValue("nameoff", "the names of a block of the directory begin at ", first);
      return Step.REFUSED;
    }
    this.count = first / ENTRY_SIZE;
    this.index = 0;
    return Step.ENTRY;
  }

  private readEntry(): bool {
    // The first name begins behind the last entry and is inside the segment, so all entries are.
    const at = this.segment + <usize>this.index * ENTRY_SIZE;
    const start = <u32>load<u16>(at, 8);
    const isLast = ++this.index == this.count;
    const end = isLast ? this.length : <u32>load<u16>(at + ENTRY_SIZE, 8);
    if (end <= start || end > this.length || (!isLast && end == this.length)) {
      return refuseValue("nameoff", "the names of a block of the directory are out of order or outside it, at ", start);
    }
    const before = this.name;
    const beforeLength = this.nameLength;
    this.child = load<u64>(at);
    this.type = load<u8>(at, 10);
    this.name = this.segment + start;
    if (!this.readName(end - start, isLast)) return false;
    if (before != 0 && compareBytes(before, beforeLength, this.name, this.nameLength) >= 0) {
      refuseImage("name order", "the names are not in order at ");
      return sayBytes(this.name, this.nameLength);
    }
    if (this.child >= NO_INODE) return refuseValue("inode position", "no image has an inode ", this.child);
    return true;
  }

  /** The last name of a segment may end before it, at a NUL. */
  private readName(length: u32, isLast: bool): bool {
    let i: u32 = 0;
    for (; i < length; i++) {
      const byte = load<u8>(this.name + i);
      if (byte == 0) {
        if (isLast) break;
        return refuseImage("name", "a name holds a NUL byte");
      }
      if (byte == 0x2f) return refuseImage("name", "a name holds a slash");
    }
    if (i == 0) return refuseImage("name", "a name is empty");
    this.nameLength = i;
    return i <= MAX_NAME ? true : refuseValue("name", "a name is longer than 255 bytes: ", i);
  }

  private checkSelf(): bool {
    this.sawSelf = true;
    if (this.child == this.nid && this.type == DIRECTORY_ENTRY) return true;
    return refuseValue("dot entries", "the entry . is not the directory itself but inode ", this.child);
  }

  private checkParent(): bool {
    this.sawParent = true;
    if (this.child == this.parent && this.type == DIRECTORY_ENTRY) return true;
    return refuseValue("dot entries", "the entry .. is not the parent directory but inode ", this.child);
  }
}
