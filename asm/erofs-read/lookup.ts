// One node by its path, without reading the rest of the image (docs/spec/erofs.md, 17.9): only the directories on the way
// are validated, as a whole, and the node itself.

import { equalBytes } from "../erofs/bytes";
import { atPath, prependToPath, refuseMemory } from "../erofs/failure";
import { DIRECTORY_ENTRY, DirectoryCursor, Step } from "./directory";
import { atInode, hasStubs, refuseImage, refuseValue } from "./image";
import { Inode, REGULAR_ENTRY, entryType, readInode } from "./inode";
import {
  WHITEOUT_MARKERS,
  checkLeaf,
  directoryMarkers,
  isMarked,
  isNativeWhiteout,
  isStubName,
  looksLikeWhiteout,
} from "./leaf";
import { atRoot } from "./load";
import { DirectoryRecord, Named, Reader } from "./reader";
import { Walk } from "./walk";
import { XattrList, isRepeated, newXattrList, readXattrs } from "./xattrs";

/** How a lookup ended. */
export namespace Found {
  export const NOTHING: i32 = 0;
  export const NODE: i32 = 1;
  export const REFUSED: i32 = -1;
}

/** For looking through a directory that is the reader's inode. */
@unmanaged
class Lookup {
  cursor: DirectoryCursor;
  /** An entry of it, beside the reader's own inode and xattrs. */
  child: Inode;
  childXattrs: XattrList;
  /** The entry that was looked for: inode and type; type 0 if there is none. */
  nid: u64;
  type: u32;
  /** The directory has the markers of one with whiteouts, and it has whiteouts. */
  isMarked: bool;
  hasWhiteouts: bool;
}

function newLookup(reader: Reader): Lookup {
  const arena = reader.arena;
  const lookup = changetype<Lookup>(arena.alloc(offsetof<Lookup>()));
  const cursor = arena.alloc(offsetof<DirectoryCursor>());
  const child = arena.alloc(offsetof<Inode>());
  const list = newXattrList(arena);
  if (changetype<usize>(lookup) == 0 || cursor == 0 || child == 0 || changetype<usize>(list) == 0) {
    return changetype<Lookup>(0);
  }
  lookup.cursor = changetype<DirectoryCursor>(cursor);
  lookup.child = changetype<Inode>(child);
  lookup.childXattrs = list;
  return lookup;
}

/**
 * Looks a path up. What is found is the reader's inode with its xattrs; `walk` has the rest. Empty components (but for slashes
 * at either end), `.` and `..` lead nowhere; neither do symlinks, which are not followed.
 */
export function lookUp(reader: Reader, walk: Walk, path: usize, length: u32): i32 {
  if (reader.lookup == 0) reader.lookup = changetype<usize>(newLookup(reader));
  if (reader.lookup == 0) {
    refuseMemory();
    return Found.REFUSED;
  }
  const lookup = changetype<Lookup>(reader.lookup);
  walk.parent = changetype<DirectoryRecord>(0);
  walk.record = changetype<Named>(0);
  walk.nameLength = 0;
  walk.isWhiteout = false;
  walk.removed = 0;
  const end = path + length;
  if (length != 0 && load<u8>(path) == 0x2f) path++;
  let name = path;
  let reached = path;
  let parent = reader.image.root;
  if (!readNode(reader, parent, DIRECTORY_ENTRY)) return refusedAt(path, path);
  while (true) {
    const nameEnd = endOfName(name, end);
    if (!searchDirectory(reader, lookup, parent, name, <u32>(nameEnd - name))) return refusedAt(path, reached);
    if (name == end) {
      if (lookup.hasWhiteouts) walk.removed = directoryMarkers(reader.image);
      return Found.NODE;
    }
    if (lookup.type == 0) return Found.NOTHING;
    const directory = reader.inode.nid;
    if (lookup.type == DIRECTORY_ENTRY && lookup.nid == reader.image.root) {
      // All other loops are found by the entry `..`, which names one parent.
      refuseImage("directory twice", "a directory has the root as entry");
      return refusedAt(path, nameEnd);
    }
    if (!readNode(reader, lookup.nid, lookup.type)) return refusedAt(path, nameEnd);
    walk.name = name;
    walk.nameLength = <u32>(nameEnd - name);
    const next = nameEnd == end ? end : nameEnd + 1;
    if (lookup.type != DIRECTORY_ENTRY) {
      const found = judgeLeaf(reader, lookup, walk, directory == reader.image.root);
      if (found == Found.REFUSED) return refusedAt(path, nameEnd);
      return next == end ? found : Found.NOTHING;
    }
    parent = directory;
    reached = nameEnd;
    name = next;
  }
}

function endOfName(name: usize, end: usize): usize {
  while (name < end && load<u8>(name) != 0x2f) name++;
  return name;
}

/** Sets the path of the refusal to what was looked up so far; `path` is without a slash before it. */
function refusedAt(path: usize, end: usize): i32 {
  atPath(0, 0);
  if (end == path) atRoot();
  else prependToPath(path, <u32>(end - path));
  return Found.REFUSED;
}

/** Reads an inode and its xattrs, which a directory entry says to be of that type. */
function readNode(reader: Reader, nid: u64, type: u32): bool {
  const inode = reader.inode;
  if (!readInode(reader.image, nid, inode)) return false;
  if (entryType(inode.mode) != type) {
    return refuseValue("entry type", "the inode is not of the type that the directory entry says: ", type);
  }
  return readXattrs(reader.image, inode, reader.xattrs) ? true : atInode(nid);
}

/** Validates the directory that is the reader's inode, and looks for a name in it. */
function searchDirectory(reader: Reader, lookup: Lookup, parent: u32, name: usize, nameLength: u32): bool {
  const inode = reader.inode;
  const cursor = lookup.cursor;
  lookup.type = 0;
  lookup.isMarked = isMarked(reader.image, reader.xattrs);
  lookup.hasWhiteouts = false;
  cursor.start(inode, parent);
  let step = cursor.next();
  for (; step == Step.ENTRY; step = cursor.next()) {
    if (cursor.nameLength == nameLength && equalBytes(cursor.name, name, nameLength)) {
      lookup.nid = cursor.child;
      lookup.type = cursor.type;
    }
    if (lookup.isMarked && !lookup.hasWhiteouts && !lookForWhiteout(reader, lookup)) return atInode(inode.nid);
  }
  if (step == Step.REFUSED) return atInode(inode.nid);
  if (<u64>inode.nlink != <u64>cursor.subdirectories + 2) {
    refuseValue("directory nlink", "the link count of a directory is not 2 and its subdirectories but ", inode.nlink);
    return atInode(inode.nid);
  }
  const removed: u32 = lookup.hasWhiteouts ? directoryMarkers(reader.image) : 0;
  if (!isRepeated(reader.xattrs, removed)) return true;
  refuseImage("xattr twice", "a whiteout xattr of a directory is there twice");
  return atInode(inode.nid);
}

/** Notes whether the entry that the cursor is at is an escaped whiteout. */
function lookForWhiteout(reader: Reader, lookup: Lookup): bool {
  const child = lookup.child;
  if (lookup.cursor.type != REGULAR_ENTRY) return true;
  if (!readInode(reader.image, lookup.cursor.child, child)) return false;
  if (!readXattrs(reader.image, child, lookup.childXattrs)) return false;
  lookup.hasWhiteouts = looksLikeWhiteout(reader.image, child, lookup.childXattrs);
  return true;
}

/** Judges the leaf that is the reader's inode. */
function judgeLeaf(reader: Reader, lookup: Lookup, walk: Walk, inRoot: bool): i32 {
  const inode = reader.inode;
  const image = reader.image;
  if (!checkLeaf(reader, inode)) {
    atInode(inode.nid);
    return Found.REFUSED;
  }
  if (isNativeWhiteout(inode) && hasStubs(image)) {
    if (inRoot && isStubName(walk.name, walk.nameLength)) return Found.NOTHING;
    refuseImage("native whiteout", "a character device 0:0 that is not one of 00 to ff in the root");
    return Found.REFUSED;
  }
  walk.isWhiteout = lookup.isMarked && looksLikeWhiteout(image, inode, reader.xattrs);
  walk.removed = walk.isWhiteout ? WHITEOUT_MARKERS : 0;
  if (!isRepeated(reader.xattrs, walk.removed)) return Found.NODE;
  refuseImage("xattr twice", "a whiteout xattr is there twice");
  return Found.REFUSED;
}
