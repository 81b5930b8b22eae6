// Adding nodes to the tree, for both kinds of input. The caller has read the metadata into `node`.

import { Digest, digestBytes, digestObjectSize, newDigest } from "./digests";
import { FailureCode, refuse, refuseMemory, say, sayNumber } from "./failure";
import { equalBytes } from "./bytes";
import { readHex, writeHex } from "./hex";
import { addWhiteout } from "./overlay";
import {
  CHAR,
  Directory,
  Entry,
  EntryFlag,
  Inode,
  InodeFlag,
  Leaf,
  TYPE_MASK,
  allocEntry,
  appendEntry,
  behindEntry,
  behindLeaf,
  isNone,
  leafSize,
  refuseDuplicate,
} from "./tree";
import { Writer } from "./writer";
import { XattrSet } from "./xattrs";
import { REDIRECT_NAME, REDIRECT_NAME_LENGTH } from "./overlay-names";

/** Metadata of the node that is being added. Statics instead of an object: one node at a time is read. */
export namespace node {
  export let mode: u32 = 0;
  export let uid: u32 = 0;
  export let gid: u32 = 0;
  export let nlink: u32 = 0;
  export let rdev: u32 = 0;
  export let mtimeSec: i64 = 0;
  export let nsec: u32 = 0;
  export let xattrs: XattrSet = changetype<XattrSet>(0);
}

/** More than 1024 chunks of 2^43 bytes cannot be stored (docs/spec/erofs.md, 2.2). */
const MAX_EXTERNAL: u64 = 1 << 53;

function fillInode(inode: Inode): void {
  inode.mode = <u16>node.mode;
  inode.uid = node.uid;
  inode.gid = node.gid;
  inode.nlink = node.nlink;
  inode.mtimeSec = node.mtimeSec;
  inode.nsec = node.nsec;
  inode.xattrs = node.xattrs;
}

/** Adds the root directory. */
export function addRoot(writer: Writer): bool {
  const at = writer.arena.alloc(offsetof<Directory>());
  if (at == 0) return refuseMemory();
  const directory = changetype<Directory>(at);
  fillInode(directory);
  directory.parent = directory;
  writer.root = directory;
  writer.lastDirectory = directory;
  return true;
}

/** Adds a directory; it is `writer.lastDirectory` then. */
export function addDirectory(writer: Writer, parent: Directory, name: usize, nameLength: u32): bool {
  const entry = allocEntry(writer, name, nameLength, offsetof<Directory>());
  if (isNone(changetype<usize>(entry))) return false;
  const directory = changetype<Directory>(behindEntry(entry));
  fillInode(directory);
  entry.inode = directory;
  directory.entry = entry;
  directory.parent = parent;
  if (!isNone(changetype<usize>(writer.directories.find(parent, name, nameLength)))) return refuseDuplicate(entry);
  if (!writer.directories.add(writer.arena, directory)) return refuseMemory();
  parent.subdirectories++;
  writer.lastDirectory.nextDirectory = directory;
  writer.lastDirectory = directory;
  return appendEntry(parent, entry);
}

function addLeaf(writer: Writer, parent: Directory, name: usize, nameLength: u32, extra: usize): Leaf {
  const entry = allocEntry(writer, name, nameLength, leafSize(extra));
  if (isNone(changetype<usize>(entry))) return changetype<Leaf>(0);
  const leaf = changetype<Leaf>(behindEntry(entry));
  fillInode(leaf);
  entry.inode = leaf;
  lastEntry = entry;
  if (!appendEntry(parent, entry)) return changetype<Leaf>(0);
  return leaf;
}

/** The entry that was added last. */
export let lastEntry: Entry = changetype<Entry>(0);
/** The leaf that was added last. */
export let lastLeaf: Leaf = changetype<Leaf>(0);

/** Adds a symlink, or a regular file with its content inside (maybe of no bytes). Limits are the caller's. */
export function addWithBytes(
  writer: Writer,
  parent: Directory,
  name: usize,
  nameLength: u32,
  bytes: usize,
  length: u32,
): bool {
  const leaf = addLeaf(writer, parent, name, nameLength, length);
  if (isNone(changetype<usize>(leaf))) return false;
  leaf.size = length;
  leaf.data = behindLeaf(leaf);
  memory.copy(leaf.data, bytes, length);
  lastLeaf = leaf;
  return true;
}

/** Adds a device, fifo or socket. */
export function addSpecial(writer: Writer, parent: Directory, name: usize, nameLength: u32, forceExtended: bool): bool {
  const leaf = addLeaf(writer, parent, name, nameLength, 0);
  if (isNone(changetype<usize>(leaf))) return false;
  leaf.rdev = node.rdev;
  if (forceExtended) leaf.flags |= InodeFlag.FORCE_EXTENDED;
  lastLeaf = leaf;
  if ((node.mode & TYPE_MASK) != CHAR || node.rdev != 0) return true;
  return addWhiteout(writer, parent, lastEntry);
}

/**
 * Adds an external file. `digest` is the address of the raw digest or 0, `path` that of the redirect path (without the
 * leading slash) or 0.
 */
export function addExternal(
  writer: Writer,
  parent: Directory,
  name: usize,
  nameLength: u32,
  size: u64,
  digest: usize,
  path: usize,
  pathLength: u32,
): bool {
  if (size > MAX_EXTERNAL && writer.maxVersion < 2) {
    refuse(FailureCode.LIMIT, "SIZE", "the file is larger than 2^53 bytes");
    return say(", the most that an image of this version can describe");
  }
  const digestSize = writer.digestSize;
  const leaf = addLeaf(writer, parent, name, nameLength, digest == 0 ? 0 : digestObjectSize(digestSize));
  if (isNone(changetype<usize>(leaf))) return false;
  leaf.flags |= InodeFlag.EXTERNAL;
  leaf.size = size;
  lastLeaf = leaf;
  if (digest != 0) {
    leaf.data = behindLeaf(leaf);
    memory.copy(digestBytes(changetype<Digest>(leaf.data)), digest, digestSize);
  }
  return path == 0 || setRedirect(writer, leaf, path, pathLength);
}

const HEX: usize = memory.data(160, 16);
const RAW: usize = memory.data(80, 16);

/** Dialect rules of the redirect path: docs/spec/erofs.md, 16 item 9. */
function setRedirect(writer: Writer, leaf: Leaf, path: usize, pathLength: u32): bool {
  const digestSize = writer.digestSize;
  const objectPathLength: u32 = 2 * digestSize + 1;
  if (leaf.data != 0) {
    if (!writer.dialectC || isObjectPathOf(digestBytes(changetype<Digest>(leaf.data)), digestSize, path, pathLength)) {
      return useObjectRedirect(leaf, leaf.data);
    }
  } else if (!writer.dialectC) {
    if (pathLength < objectPathLength || !readObjectPath(path + pathLength - objectPathLength, digestSize, false)) {
      refuse(FailureCode.DIGEST, "PAYLOAD", "without a digest the path must end in an object path, xx/ and ");
      sayNumber(2 * digestSize - 2);
      return say(" hex digits");
    }
    return addObjectRedirect(writer, leaf);
  }
  if (pathLength == objectPathLength && readObjectPath(path, digestSize, true)) return addObjectRedirect(writer, leaf);
  // The value is the path behind a slash.
  const value = writer.arena.alloc(pathLength + 1);
  if (value == 0) return refuseMemory();
  store<u8>(value, 0x2f);
  memory.copy(value + 1, path, pathLength);
  const pair = writer.xattrs.pair(writer.arena, REDIRECT_NAME, REDIRECT_NAME_LENGTH, value, pathLength + 1);
  if (isNone(changetype<usize>(pair))) return refuseMemory();
  leaf.flags |= InodeFlag.REDIRECT_PAIR;
  leaf.redirect = changetype<usize>(pair);
  return true;
}

/** Makes the redirect path the object path of a Digest. Answers true. */
export function useObjectRedirect(leaf: Leaf, digest: usize): bool {
  leaf.flags |= InodeFlag.REDIRECT_OBJECT;
  leaf.redirect = digest;
  return true;
}

function addObjectRedirect(writer: Writer, leaf: Leaf): bool {
  const digest = newDigest(writer.arena, RAW, writer.digestSize);
  if (isNone(changetype<usize>(digest))) return refuseMemory();
  return useObjectRedirect(leaf, changetype<usize>(digest));
}

/** Reads `xx/rest` of the right length into RAW. */
function readObjectPath(path: usize, digestSize: u32, lowerCase: bool): bool {
  if (load<u8>(path + 2) != 0x2f) return false;
  memory.copy(HEX, path, 2);
  memory.copy(HEX + 2, path + 3, 2 * digestSize - 2);
  return readHex(HEX, 2 * digestSize, RAW, lowerCase);
}

function isObjectPathOf(digest: usize, digestSize: u32, path: usize, pathLength: u32): bool {
  if (pathLength != 2 * digestSize + 1 || load<u8>(path + 2) != 0x2f) return false;
  writeHex(digest, digestSize, HEX);
  return load<u16>(path) == load<u16>(HEX) && equalBytes(path + 3, HEX + 2, 2 * digestSize - 2);
}

/** Adds another name of a leaf that is known. */
export function addName(writer: Writer, parent: Directory, name: usize, nameLength: u32, leaf: Leaf): bool {
  if ((leaf.mode & TYPE_MASK) == CHAR && leaf.rdev == 0) {
    return refuse(FailureCode.HARDLINK, "PAYLOAD", "a whiteout (character device 0) has exactly one name");
  }
  const entry = allocEntry(writer, name, nameLength, 0);
  if (isNone(changetype<usize>(entry))) return false;
  entry.inode = leaf;
  entry.flags = EntryFlag.LINK;
  leaf.nlink++;
  leaf.flags |= InodeFlag.LINKED;
  return appendEntry(parent, entry);
}
