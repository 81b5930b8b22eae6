// The tree in the arena: entries (one name in one directory each) and inodes. An inode lies behind the entry that
// made it, with its bytes (link target, content, digest) behind it, so that input order is memory order.

import { compareBytes, findByte } from "./bytes";
import { FailureCode, refuse, refuseMemory, say, sayBytes } from "./failure";
import { XattrSet } from "./xattrs";
import { Writer } from "./writer";

export const TYPE_MASK: u32 = 0o170000;
export const FIFO: u32 = 0o010000;
export const CHAR: u32 = 0o020000;
export const DIRECTORY: u32 = 0o040000;
export const BLOCK: u32 = 0o060000;
export const REGULAR: u32 = 0o100000;
export const SYMLINK: u32 = 0o120000;
export const SOCKET: u32 = 0o140000;

/** Flags of {@link Inode}. */
export namespace InodeFlag {
  /** Regular file without data in the image: CHUNK_BASED, with metacopy and maybe redirect. */
  export const EXTERNAL: u16 = 1;
  /** `redirect` is the Digest whose object path is the redirect path. */
  export const REDIRECT_OBJECT: u16 = 2;
  /** `redirect` is a Pair: a redirect path of any form. */
  export const REDIRECT_PAIR: u16 = 4;
  /** Several names. */
  export const LINKED: u16 = 8;
  /** Dialect `c`, item 10: extended whatever the fields. */
  export const FORCE_EXTENDED: u16 = 16;
  /** Placed: the inode is extended. */
  export const EXTENDED: u16 = 32;
  /** The inode has its place in the order (used while owners are looked for). */
  export const PLACED: u16 = 64;
  /** Directory: entries are not in name order yet. */
  export const UNSORTED: u16 = 128;
  /** Directory: some link line names one of its entries. */
  export const LINK_TARGETS: u16 = 256;
  /** Directory: it has whiteouts, so it gets the marker xattrs. */
  export const WHITEOUT_PARENT: u16 = 512;
  /** Size and chunk array are in a data block (docs/spec/erofs.md, 12.1). */
  export const CHUNKS_IN_BLOCK: u16 = 1024;
}

/** Metadata of a file of any type, and later its place in the image. */
@unmanaged
export class Inode {
  /** Seconds since 1970. */
  mtimeSec: i64;
  /** External: file size. Inline content and symlink: length. Directory: size on disk once it is placed. */
  size: u64;
  /** Type and permissions, as stored. */
  mode: u16;
  flags: u16;
  nlink: u32;
  uid: u32;
  gid: u32;
  nsec: u32;
  /** Xattrs as stored, without metacopy and redirect. */
  xattrs: XattrSet;
  /** The next in inode order. */
  next: Inode;
  /** Offset in the image / 32. */
  nid: u32;
  /** Number of data blocks. */
  blocks: u32;
  /** Bytes after the xattrs. */
  tail: u32;
  /** Size of the xattr area. */
  xattrSize: u32;
}

/** A directory: its entries in a list that is appended to and sorted once, at the end. */
@unmanaged
export class Directory extends Inode {
  first: Entry;
  last: Entry;
  parent: Directory;
  /** Its own name in `parent`; none for the root. */
  entry: Entry;
  subdirectories: u32;
  /** The next directory in input order. */
  nextDirectory: Directory;
  /** Placed: the first entry of the inline tail; none if all are in blocks. */
  tailEntry: Entry;
}

/** Anything but a directory. */
@unmanaged
export class Leaf extends Inode {
  /** Inline content or link target; for an external file its Digest, if any. */
  data: usize;
  /** See the flags; 0 for no redirect. */
  redirect: usize;
  rdev: u32;
}

/** Flags of {@link Entry}. */
export namespace EntryFlag {
  /** Not the name at whose place the inode is numbered. */
  export const LINK: u8 = 1;
  /** `inode` is not known yet: it is the Link that looks for it. */
  export const UNRESOLVED: u8 = 2;
  /** `.` or `..`. */
  export const DOT: u8 = 4;
}

/** One name in a directory. The name's bytes lie behind it, at `entryName`. */
@unmanaged
export class Entry {
  next: Entry;
  inode: Inode;
  /** Line of the dump, 0 when it does not apply. */
  line: u32;
  flags: u8;
  nameLength: u8;
}

const ENTRY_SIZE: usize = 16;

@inline
export function isNone(object: usize): bool {
  return object == 0;
}

@inline
export function entryName(entry: Entry): usize {
  return changetype<usize>(entry) + ENTRY_SIZE;
}

@inline
export function isDirectory(inode: Inode): bool {
  return (inode.mode & TYPE_MASK) == DIRECTORY;
}

@inline
export function typeOf(inode: Inode): u32 {
  return inode.mode & TYPE_MASK;
}

@inline
function roundUp8(n: usize): usize {
  return (n + 7) & ~7;
}

/** Memory for an entry with its name; `extra` more bytes follow at the next multiple of 8. None at the memory limit. */
export function allocEntry(writer: Writer, name: usize, nameLength: u32, extra: usize): Entry {
  const size = roundUp8(ENTRY_SIZE + nameLength);
  const at = writer.arena.alloc(size + extra);
  if (at == 0) {
    refuseMemory();
    return changetype<Entry>(0);
  }
  const entry = changetype<Entry>(at);
  entry.nameLength = <u8>nameLength;
  entry.line = <u32>min<u64>(writer.line, u32.MAX_VALUE);
  memory.copy(at + ENTRY_SIZE, name, nameLength);
  return entry;
}

/** What follows an entry of `allocEntry`. */
@inline
export function behindEntry(entry: Entry): usize {
  return changetype<usize>(entry) + roundUp8(ENTRY_SIZE + entry.nameLength);
}

/** What follows the inode of a leaf. */
@inline
export function behindLeaf(leaf: Leaf): usize {
  return changetype<usize>(leaf) + roundUp8(offsetof<Leaf>());
}

/** Size of a leaf's inode, as `extra` of `allocEntry`; its bytes follow. */
@inline
export function leafSize(bytes: usize): usize {
  return roundUp8(offsetof<Leaf>()) + bytes;
}

/** Appends the entry to the directory. False if the name is known to be taken; the sort finds the rest. */
export function appendEntry(directory: Directory, entry: Entry): bool {
  const last = directory.last;
  directory.last = entry;
  if (isNone(changetype<usize>(last))) {
    directory.first = entry;
    return true;
  }
  last.next = entry;
  const order = compareBytes(entryName(last), last.nameLength, entryName(entry), entry.nameLength);
  if (order == 0) return refuseDuplicate(entry);
  if (order > 0) directory.flags |= InodeFlag.UNSORTED;
  return true;
}

/** The refusal of a name that is taken. */
export function refuseDuplicate(entry: Entry): bool {
  refuse(FailureCode.DUPLICATE, "PATH", "there is already an entry of the name ");
  return sayBytes(entryName(entry), entry.nameLength);
}

/** Checks one component of a path: 1..255 bytes, no `/`, no NUL, not `.` or `..`. */
export function checkName(name: usize, length: u32): bool {
  if (length == 0) return refuse(FailureCode.PATH, "PATH", "a component of the path is empty (// or a trailing /)");
  if (length > 255) return refuse(FailureCode.LIMIT, "PATH", "a name is longer than 255 bytes");
  const first = load<u8>(name);
  if (first == 0x2e && (length == 1 || (length == 2 && load<u8>(name + 1) == 0x2e))) {
    refuse(FailureCode.PATH, "PATH", "a component of the path is ");
    return sayBytes(name, length);
  }
  const slash = findByte(name, length, 0x2f);
  if (slash != length) return refuse(FailureCode.PATH, "PATH", "a name holds a slash");
  return findByte(name, length, 0) == length || refuse(FailureCode.PATH, "PATH", "a name holds a NUL byte");
}

/** Appends the names that the tree has for people. */
export function sayType(mode: u32): bool {
  const type = mode & TYPE_MASK;
  if (type == REGULAR) return say("regular file");
  if (type == DIRECTORY) return say("directory");
  if (type == SYMLINK) return say("symlink");
  if (type == CHAR) return say("character device");
  if (type == BLOCK) return say("block device");
  return say(type == FIFO ? "fifo" : "socket");
}
