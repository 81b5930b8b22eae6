// The walk over a whole image that decides whether it is valid (docs/spec/erofs.md, 17.2 to 17.6), in tree order with a
// stack of its own. Its time and memory are linear in the size of the image, whatever the image says: see `charge`.

import { FailureCode, atPath, failurePathLength, prependToPath, refuse, refuseMemory } from "../erofs/failure";
import { checkHeaders, checkInode, checkRoot, resetFindings } from "./check";
import { DIRECTORY_ENTRY, Step } from "./directory";
import { atInode, hasStubs, refuseImage, refuseValue } from "./image";
import { VISITED, foundInode, markVisited, newInodeTable, putRecord } from "./inode-table";
import { Inode, entryType, extentOf, readInode } from "./inode";
import {
  WHITEOUT_MARKERS,
  checkLeaf,
  directoryMarkers,
  isMarked,
  isNativeWhiteout,
  isStubName,
  looksLikeWhiteout,
} from "./leaf";
import { collectObjects, resetObjects } from "./objects";
import {
  DirectoryFlag,
  DirectoryRecord,
  FRAME_SIZE,
  Frame,
  LinkRecord,
  MAX_DEPTH,
  Named,
  Reader,
  frameAt,
  topFrame,
} from "./reader";
import { isRepeated, readXattrs } from "./xattrs";

/** Validates the image. `reader.check` and `reader.collect` say what else is done on the way. */
export function loadTree(reader: Reader): bool {
  return begin(reader) && visitRoot(reader) && visitAll(reader) && finish(reader);
}

function begin(reader: Reader): bool {
  reader.loaded = false;
  reader.found.release();
  if (!newInodeTable(reader)) return false;
  if (reader.frames == 0) reader.frames = reader.arena.alloc(<usize>MAX_DEPTH * FRAME_SIZE);
  if (reader.frames == 0) return refuseMemory();
  reader.links = changetype<LinkRecord>(0);
  reader.lastLink = reader.links;
  reader.inodeCount = 0;
  reader.directoryCount = 0;
  reader.budget = reader.image.size;
  reader.depth = 0;
  reader.stubNames = 0;
  resetFindings(reader);
  resetObjects(reader);
  return true;
}

function visitRoot(reader: Reader): bool {
  const nid = reader.image.root;
  const inode = reader.inode;
  if (!readInode(reader.image, nid, inode)) return atRoot();
  if (entryType(inode.mode) != DIRECTORY_ENTRY) {
    refuseImage("root type", "the root is not a directory");
    return atRoot();
  }
  if (!readXattrs(reader.image, inode, reader.xattrs)) {
    atInode(nid);
    return atRoot();
  }
  return enter(reader, changetype<DirectoryRecord>(0), 0, 0);
}

function visitAll(reader: Reader): bool {
  while (reader.depth != 0) {
    const frame = topFrame(reader);
    const step = frame.next();
    if (step == Step.ENTRY) {
      if (!visit(reader, frame)) return atName(frame.record, frame.name, frame.nameLength);
    } else if (step == Step.REFUSED || !leave(reader, frame)) {
      atInode(frame.nid);
      return atRecord(frame.record);
    }
  }
  return true;
}

function visit(reader: Reader, frame: Frame): bool {
  if (reader.depth == 1 && isStubName(frame.name, frame.nameLength)) reader.stubNames++;
  const found = foundInode(reader, frame.child);
  if (found != 0) return visitAgain(frame, found);
  const inode = reader.inode;
  if (!readInode(reader.image, frame.child, inode)) return false;
  if (entryType(inode.mode) != frame.type) return refuseType(frame.type);
  if (!readXattrs(reader.image, inode, reader.xattrs)) return atInode(inode.nid);
  if (frame.type == DIRECTORY_ENTRY) return enter(reader, frame.record, frame.name, frame.nameLength);
  return visitLeaf(reader, frame, inode) ? true : atInode(inode.nid);
}

function refuseType(type: u32): bool {
  return refuseValue("entry type", "the inode is not of the type that the directory entry says: ", type);
}

/** Another name of an inode that the walk has met. */
function visitAgain(frame: Frame, found: u32): bool {
  if (found == VISITED) {
    refuseImage("nlink", "a second name of a file whose link count is 1");
    return atInode(frame.child);
  }
  const record = changetype<Named>(<usize>found);
  if (record.type != frame.type) return refuseType(frame.type);
  if (record.type == DIRECTORY_ENTRY) {
    refuseImage("directory twice", "a directory has a second name, or is inside itself");
    return atInode(frame.child);
  }
  const link = changetype<LinkRecord>(<usize>found);
  if (link.count++ < link.nlink) return true;
  refuseValue("nlink", "more names than the link count says: ", link.nlink);
  return atInode(frame.child);
}

/**
 * Takes the bytes of an inode off the size of the image. In an image that a writer made no two inodes overlap, so the sum
 * never exceeds it; without this rule a few megabytes can describe directories and xattrs of terabytes.
 */
function charge(reader: Reader, inode: Inode): bool {
  const extent = extentOf(inode, reader.image);
  if (extent > reader.budget) return refuseImage("overlap", "the inodes overlap: together they are larger than the image");
  reader.budget -= extent;
  reader.inodeCount++;
  return true;
}

function visitLeaf(reader: Reader, frame: Frame, inode: Inode): bool {
  const image = reader.image;
  const list = reader.xattrs;
  if (!charge(reader, inode) || !checkLeaf(reader, inode)) return false;
  let removed: u32 = 0;
  if (isNativeWhiteout(inode)) {
    if (hasStubs(image) && (reader.depth != 1 || !isStubName(frame.name, frame.nameLength))) {
      return refuseImage("native whiteout", "a character device 0:0 that is not one of 00 to ff in the root");
    }
  } else if ((frame.record.flags & DirectoryFlag.MARKED) != 0 && looksLikeWhiteout(image, inode, list)) {
    frame.record.flags |= DirectoryFlag.HAS_WHITEOUTS;
    removed = WHITEOUT_MARKERS;
  }
  if (list.meanings != 0 && isRepeated(list, removed)) return refuseImage("xattr twice", "a whiteout xattr is there twice");
  if (!recordLeaf(reader, frame, inode)) return false;
  if (reader.check && !checkInode(reader, inode, frame.record, frame.name, frame.nameLength)) return false;
  return reader.collect ? collectObjects(reader, inode) : true;
}

function recordLeaf(reader: Reader, frame: Frame, inode: Inode): bool {
  if (inode.nlink == 1) {
    markVisited(reader, inode.nid);
    return true;
  }
  const at = reader.found.alloc(offsetof<LinkRecord>());
  if (at == 0) return refuseMemory();
  const link = changetype<LinkRecord>(at);
  link.parent = frame.record;
  link.name = frame.name;
  link.nameLength = frame.nameLength;
  link.nid = inode.nid;
  link.type = frame.type;
  link.nlink = inode.nlink;
  link.count = 1;
  if (changetype<usize>(reader.lastLink) == 0) reader.links = link;
  else reader.lastLink.next = link;
  reader.lastLink = link;
  return putRecord(reader, inode.nid, at);
}

/** Enters the directory whose inode and xattrs the reader has just read. */
function enter(reader: Reader, parent: DirectoryRecord, name: usize, nameLength: u32): bool {
  const inode = reader.inode;
  const list = reader.xattrs;
  if (!charge(reader, inode)) return atInode(inode.nid);
  if (reader.depth == MAX_DEPTH) return refuse(FailureCode.LIMIT, "depth", "directories are nested deeper than 2048 levels");
  const at = reader.found.alloc(offsetof<DirectoryRecord>());
  if (at == 0) return refuseMemory();
  const record = changetype<DirectoryRecord>(at);
  record.parent = parent;
  record.name = name;
  record.nameLength = nameLength;
  record.nid = inode.nid;
  record.type = DIRECTORY_ENTRY;
  if (reader.depth == 0) reader.root = record;
  if (!putRecord(reader, inode.nid, at)) return false;
  const frame = frameAt(reader, reader.depth++);
  frame.start(inode, reader.depth == 1 ? inode.nid : parent.nid);
  frame.record = record;
  frame.nlink = inode.nlink;
  frame.repeats = false;
  frame.repeatsStripped = false;
  if (list.meanings != 0) {
    if (isMarked(reader.image, list)) record.flags = DirectoryFlag.MARKED;
    frame.repeats = isRepeated(list, 0);
    frame.repeatsStripped = isRepeated(list, directoryMarkers(reader.image));
  }
  reader.directoryCount++;
  return reader.check ? checkInode(reader, inode, parent, name, nameLength) : true;
}

/** All entries of the directory have been visited. */
function leave(reader: Reader, frame: Frame): bool {
  reader.depth--;
  if (<u64>frame.nlink != <u64>frame.subdirectories + 2) {
    refuseValue("directory nlink", "the link count of a directory is not 2 and its subdirectories but ", frame.nlink);
    return false;
  }
  const hasWhiteouts = (frame.record.flags & DirectoryFlag.HAS_WHITEOUTS) != 0;
  if (hasWhiteouts ? frame.repeatsStripped : frame.repeats) {
    return refuseImage("xattr twice", "a whiteout xattr of a directory is there twice");
  }
  return true;
}

function finish(reader: Reader): bool {
  for (let link = reader.links; changetype<usize>(link) != 0; link = link.next) {
    if (link.count == link.nlink) continue;
    refuseValue("nlink", "fewer names than the link count says: ", link.nlink);
    atInode(link.nid);
    return atName(link.parent, link.name, link.nameLength);
  }
  if (reader.check && !(checkHeaders(reader) && checkRoot(reader))) return false;
  reader.loaded = true;
  return true;
}

/** Sets the path of the refusal to the root. Answers false. */
export function atRoot(): bool {
  const slash: usize = memory.data<u8>([0x2f]);
  return atPath(slash, 1);
}

/** Sets the path of the refusal to a name in a directory. Answers false. */
export function atName(parent: DirectoryRecord, name: usize, nameLength: u32): bool {
  atPath(0, 0);
  if (changetype<usize>(parent) == 0) return atRoot();
  prependToPath(name, nameLength);
  return prependDirectories(parent);
}

/** Sets the path of the refusal to a directory. Answers false. */
export function atRecord(record: DirectoryRecord): bool {
  return atName(record.parent, record.name, record.nameLength);
}

/** A path that is too long to tell loses its beginning. */
function prependDirectories(record: DirectoryRecord): bool {
  while (changetype<usize>(record.parent) != 0) {
    const before = failurePathLength;
    prependToPath(record.name, record.nameLength);
    if (failurePathLength == before) break;
    record = record.parent;
  }
  return false;
}
