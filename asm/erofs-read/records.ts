// The tree of an image as binary records for a host that builds nodes of its own. Little-endian; each begins with its total
// length (u32) and its kind (u32). Pairs, sets, directories and leaves are numbered in the order in which they come, from 0
// (sets from 1: set 0 has no xattrs); others name them by number, always later ones earlier ones.
//   PAIR       8 name length u32, 12 value length u32, name, value           an xattr without the writer's escapes
//   SET        8 count u32, pair numbers u32...                              the xattrs of an inode, in any order
//   DIRECTORY  8 parent u32, 12 set u32, 16 mode u32, 20 uid u32, 24 gid u32, 28 nanoseconds u32, 32 seconds i64,
//              40 link count u32, 44 nid u32, 48 name length u32, 52 name
//   LEAF       the same up to 52, then 52 rdev u32, 56 size u64, 64 flags u32, 68 length of the bytes u32,
//              72 digest length u32, 76 name, bytes, digest. Bytes: link target, inline content, or redirect path.
//   LINK       8 parent u32, 12 leaf u32, 16 name length u32, 20 name        another name of a leaf
// The parent of the root is NO_PARENT, as is that of a node that was looked up.

import { BLOCK } from "./image";
import { BLOCK_DEVICE, CHAR, CHUNK_BASED, DIRECTORY, Inode, REGULAR, SYMLINK, TYPE_MASK, typeOf } from "./inode";
import { digestOf, redirectLength, redirectOf, targetOf } from "./leaf";
import { DirectoryRecord, LinkRecord, Reader } from "./reader";
import {
  RecordXattrs,
  newRecordXattrs,
  resetRecordXattrs,
  setNumber,
  startXattrs,
  writePairs,
  writeSet,
} from "./record-xattrs";
import { appendBytes, fits, startRecord, startWindow, writtenSince } from "./record-window";
import { Event, Walk, nextEvent } from "./walk";

/** Kinds of records; those of xattrs are in record-xattrs.ts. */
namespace Kind {
  export const DIRECTORY: u32 = 3;
  export const LEAF: u32 = 4;
  export const LINK: u32 = 5;
}

namespace LeafFlag {
  /** Content is in the object store. */
  export const EXTERNAL: u32 = 1;
}

const NO_PARENT: u32 = u32.MAX_VALUE;
const DIRECTORY_HEAD: u32 = 52;
const LEAF_HEAD: u32 = 76;
const LINK_HEAD: u32 = 20;

/** What is to be written for the event that the walk has come to. */
namespace Stage {
  export const NEXT: u32 = 0;
  export const PAIRS: u32 = 1;
  export const NODE: u32 = 2;
  export const LINK: u32 = 3;
  export const END: u32 = 4;
}

/** Records in progress. */
@unmanaged
export class Records {
  walk: Walk;
  xattrs: RecordXattrs;
  stage: u32;
  directories: u32;
  leaves: u32;
}

/** Records from the start, with a walk of their own. None at the memory limit. */
export function newRecords(reader: Reader): Records {
  const records = changetype<Records>(reader.arena.alloc(offsetof<Records>()));
  const walk = changetype<Walk>(reader.arena.alloc(offsetof<Walk>()));
  const xattrs = newRecordXattrs(reader.arena);
  if (changetype<usize>(records) == 0 || changetype<usize>(walk) == 0 || changetype<usize>(xattrs) == 0) {
    return changetype<Records>(0);
  }
  records.walk = walk;
  records.xattrs = xattrs;
  return records;
}

/** Starts again. */
export function resetRecords(records: Records): void {
  records.walk.started = false;
  records.stage = Stage.NEXT;
  records.directories = 0;
  records.leaves = 0;
  resetRecordXattrs(records.xattrs);
}

/** Fills `window`; answers the length, 0 at the end, or -1 after a refusal. */
export function writeRecords(reader: Reader, records: Records, window: usize, room: u32): i32 {
  startWindow(window, room);
  while (records.stage != Stage.END) {
    if (records.stage == Stage.NEXT) {
      const event = nextEvent(reader, records.walk);
      if (event == Event.REFUSED || !startEvent(reader, records, event)) return -1;
      if (event == Event.END) break;
    }
    const written = writeStages(reader, records);
    if (written < 0) return -1;
    if (written == 0) break;
  }
  return <i32>writtenSince(window);
}

function startEvent(reader: Reader, records: Records, event: i32): bool {
  if (event == Event.END) {
    records.stage = Stage.END;
    return true;
  }
  if (event == Event.LINK) {
    records.stage = Stage.LINK;
    return true;
  }
  return startNode(reader, records);
}

/** Starts the node whose inode and xattrs the reader has read. */
export function startNode(reader: Reader, records: Records): bool {
  records.stage = Stage.PAIRS;
  return startXattrs(reader.arena, records.xattrs, reader.xattrs, records.walk.removed);
}

/** Writes the node of `startNode` alone into a window of RECORD_ROOM; answers the length as `writeRecords`. */
export function writeNode(reader: Reader, records: Records, window: usize, room: u32): i32 {
  if (records.stage == Stage.END) return 0;
  startWindow(window, room);
  const written = writeStages(reader, records);
  if (written < 0) return -1;
  if (written > 0) records.stage = Stage.END;
  return <i32>writtenSince(window);
}

/** 1 when the event is written, 0 when the window is full, -1 after a refusal. */
function writeStages(reader: Reader, records: Records): i32 {
  if (records.stage == Stage.PAIRS) {
    const written = writePairs(reader.arena, records.xattrs);
    if (written <= 0) return written;
    records.stage = Stage.NODE;
  }
  if (records.stage == Stage.NODE) {
    const written = writeSet(reader.arena, records.xattrs);
    if (written <= 0) return written;
    if (!writeInode(reader, records, reader.inode)) return 0;
  } else if (records.stage == Stage.LINK && !writeLink(records)) return 0;
  records.stage = Stage.NEXT;
  return 1;
}

function parentNumber(walk: Walk): u32 {
  return changetype<usize>(walk.parent) == 0 ? NO_PARENT : walk.parent.number;
}

/** Writes what directories and leaves have in common; answers the record. */
function writeHead(records: Records, inode: Inode, type: u32, length: u32, kind: u32, head: u32): usize {
  const walk = records.walk;
  const record = startRecord(length, kind, head);
  store<u32>(record, parentNumber(walk), 8);
  store<u32>(record, setNumber(records.xattrs), 12);
  store<u32>(record, type | (inode.mode & ~TYPE_MASK), 16);
  store<u32>(record, inode.uid, 20);
  store<u32>(record, inode.gid, 24);
  store<u32>(record, inode.nsec, 28);
  store<i64>(record, inode.mtimeSec, 32);
  store<u32>(record, inode.nlink, 40);
  store<u32>(record, inode.nid, 44);
  store<u32>(record, walk.nameLength, 48);
  return record;
}

/** False when the window is full. */
function writeInode(reader: Reader, records: Records, inode: Inode): bool {
  const walk = records.walk;
  const type = walk.isWhiteout ? CHAR : typeOf(inode);
  if (type != DIRECTORY) return writeLeaf(reader, records, inode, type);
  const length = DIRECTORY_HEAD + walk.nameLength;
  if (!fits(length)) return false;
  writeHead(records, inode, type, length, Kind.DIRECTORY, DIRECTORY_HEAD);
  appendBytes(walk.name, walk.nameLength);
  if (changetype<usize>(walk.record) != 0) changetype<DirectoryRecord>(walk.record).number = records.directories;
  records.directories++;
  return true;
}

function writeLeaf(reader: Reader, records: Records, inode: Inode, type: u32): bool {
  const walk = records.walk;
  const isExternal = type == REGULAR && inode.layout == CHUNK_BASED;
  let content: usize = 0;
  let contentLength: u32 = 0;
  let tailLength: u32 = 0;
  let digest: usize = 0;
  if (type == SYMLINK) {
    content = targetOf(inode);
    contentLength = <u32>inode.size;
  } else if (isExternal) {
    content = redirectOf(reader.xattrs);
    contentLength = redirectLength;
    digest = digestOf(reader.xattrs);
  } else if (type == REGULAR) {
    content = inode.blocks;
    contentLength = min(<u32>inode.size, inode.blockCount * BLOCK);
    tailLength = <u32>inode.size - contentLength;
  }
  const digestLength = digest == 0 ? 0 : reader.digestSize;
  const length = LEAF_HEAD + walk.nameLength + contentLength + tailLength + digestLength;
  if (!fits(length)) return false;
  const record = writeHead(records, inode, type, length, Kind.LEAF, LEAF_HEAD);
  const hasDevice = !walk.isWhiteout && (type == CHAR || type == BLOCK_DEVICE);
  store<u32>(record, hasDevice ? inode.union : 0, 52);
  store<u64>(record, inode.size, 56);
  store<u32>(record, isExternal ? LeafFlag.EXTERNAL : 0, 64);
  store<u32>(record, contentLength + tailLength, 68);
  store<u32>(record, digestLength, 72);
  appendBytes(walk.name, walk.nameLength);
  appendBytes(content, contentLength);
  appendBytes(inode.tail, tailLength);
  appendBytes(digest, digestLength);
  if (changetype<usize>(walk.record) != 0) changetype<LinkRecord>(walk.record).number = records.leaves;
  records.leaves++;
  return true;
}

function writeLink(records: Records): bool {
  const walk = records.walk;
  const length = LINK_HEAD + walk.nameLength;
  if (!fits(length)) return false;
  const record = startRecord(length, Kind.LINK, LINK_HEAD);
  store<u32>(record, parentNumber(walk), 8);
  store<u32>(record, changetype<LinkRecord>(walk.record).number, 12);
  store<u32>(record, walk.nameLength, 16);
  appendBytes(walk.name, walk.nameLength);
  return true;
}
