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

import { Arena } from "../erofs/arena";
import { equalBytes, hashBytes } from "../erofs/bytes";
import { refuseMemory } from "../erofs/failure";
import { BLOCK } from "./image";
import { BLOCK_DEVICE, CHAR, CHUNK_BASED, DIRECTORY, Inode, REGULAR, SYMLINK, TYPE_MASK, typeOf } from "./inode";
import { keepXattrs, keptCount, keptName, keptNameLength } from "./kept-xattrs";
import { digestOf, redirectLength, redirectOf, targetOf } from "./leaf";
import { DirectoryRecord, LinkRecord, Reader } from "./reader";
import { Event, Walk, nextEvent } from "./walk";
import { prefixLength, prefixOf } from "./xattr-names";
import { Xattr, xattrIn } from "./xattrs";

namespace Kind {
  export const PAIR: u32 = 1;
  export const SET: u32 = 2;
  export const DIRECTORY: u32 = 3;
  export const LEAF: u32 = 4;
  export const LINK: u32 = 5;
}

namespace LeafFlag {
  /** Content is in the object store. */
  export const EXTERNAL: u32 = 1;
}

const NO_PARENT: u32 = u32.MAX_VALUE;
const PAIR_HEAD: u32 = 16;
const SET_HEAD: u32 = 12;
const DIRECTORY_HEAD: u32 = 52;
const LEAF_HEAD: u32 = 76;
const LINK_HEAD: u32 = 20;

/** A window of this size has room for any one record: the longest is a set of 65535 pairs. */
export const RECORD_ROOM: u32 = 1 << 19;

/** Sets are looked for in so many slots; then the set is written again, as a table must not be slow for made-up sets. */
const SET_PROBES: u32 = 32;

/** What is to be written for the event that the walk has come to. */
namespace Stage {
  export const NEXT: u32 = 0;
  export const PAIRS: u32 = 1;
  export const NODE: u32 = 2;
  export const LINK: u32 = 3;
  export const END: u32 = 4;
}

/** A set that was written; the pair numbers lie behind the object. */
@unmanaged
class WrittenSet {
  hash: u32;
  count: u32;
  number: u32;
}

/** Records in progress. */
@unmanaged
export class Records {
  walk: Walk;
  stage: u32;
  /** Xattrs of the inode that belong to the tree, the number of them, and how many have a pair number. */
  kept: usize;
  keptCount: u32;
  done: u32;
  /** Pair numbers of the inode. */
  numbers: usize;
  numberRoom: u32;
  /** Table of written pairs: entry address u32, number u32. */
  pairs: usize;
  pairMask: u32;
  pairCount: u32;
  /** Table of written sets: addresses. */
  sets: usize;
  setMask: u32;
  setsInTable: u32;
  setCount: u32;
  /** The set of the last inode. */
  lastSet: WrittenSet;
  directories: u32;
  leaves: u32;
}

/** Records from the start, in memory of their own walk. None at the memory limit. */
export function newRecords(reader: Reader): Records {
  const arena = reader.arena;
  const records = changetype<Records>(arena.alloc(offsetof<Records>()));
  const walk = changetype<Walk>(arena.alloc(offsetof<Walk>()));
  if (changetype<usize>(records) == 0 || changetype<usize>(walk) == 0) return changetype<Records>(0);
  records.walk = walk;
  records.pairMask = 255;
  records.pairs = arena.alloc(256 << 3);
  records.setMask = 255;
  records.sets = arena.alloc(256 << 2);
  return records.pairs == 0 || records.sets == 0 ? changetype<Records>(0) : records;
}

/** Starts again, without what was written. */
export function resetRecords(records: Records): void {
  records.walk.started = false;
  records.stage = Stage.NEXT;
  records.pairCount = 0;
  records.setsInTable = 0;
  records.setCount = 0;
  records.lastSet = changetype<WrittenSet>(0);
  records.directories = 0;
  records.leaves = 0;
  memory.fill(records.pairs, 0, (<usize>records.pairMask + 1) << 3);
  memory.fill(records.sets, 0, (<usize>records.setMask + 1) << 2);
}

let at: usize = 0;
let end: usize = 0;

/** Whether a record of that length still fits into the window. */
@inline
function fits(length: u32): bool {
  return length <= <u32>(end - at);
}

/** Fills `window`; answers the length, 0 at the end, or -1 after a refusal. */
export function writeRecords(reader: Reader, records: Records, window: usize, room: u32): i32 {
  at = window;
  end = window + room;
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
  return <i32>(at - window);
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
  const list = reader.xattrs;
  records.stage = Stage.PAIRS;
  records.done = 0;
  records.keptCount = 0;
  if (list.count == 0) return true;
  records.kept = keepXattrs(list, records.walk.removed);
  if (records.kept == 0) return false;
  records.keptCount = keptCount;
  if (keptCount <= records.numberRoom) return true;
  records.numberRoom = list.sortRoom;
  records.numbers = reader.arena.alloc(<usize>list.sortRoom << 2);
  return records.numbers != 0 ? true : refuseMemory();
}

/** Writes the node of `startNode` alone into a window of RECORD_ROOM; answers the length as `writeRecords`. */
export function writeNode(reader: Reader, records: Records, window: usize, room: u32): i32 {
  if (records.stage == Stage.END) return 0;
  at = window;
  end = window + room;
  const written = writeStages(reader, records);
  if (written < 0) return -1;
  if (written > 0) records.stage = Stage.END;
  return <i32>(at - window);
}

/** 1 when the event is written, 0 when the window is full, -1 after a refusal. */
function writeStages(reader: Reader, records: Records): i32 {
  if (records.stage == Stage.PAIRS) {
    const written = writePairs(reader, records);
    if (written <= 0) return written;
    records.stage = Stage.NODE;
  }
  if (records.stage == Stage.NODE) {
    const written = writeSet(reader, records);
    if (written <= 0) return written;
    if (!writeInode(reader, records, reader.inode)) return 0;
  } else if (records.stage == Stage.LINK && !writeLink(records)) return 0;
  records.stage = Stage.NEXT;
  return 1;
}

@inline
function pairSlot(records: Records, i: u32): usize {
  return records.pairs + (<usize>(i & records.pairMask) << 3);
}

@inline
function hashAddress(entry: usize): u32 {
  return <u32>((<u64>entry * 0x9e3779b97f4a7c15) >> 32);
}

function writePairs(reader: Reader, records: Records): i32 {
  for (; records.done < records.keptCount; records.done++) {
    const xattr = xattrIn(records.kept, records.done);
    let i = hashAddress(xattr.entry);
    while (load<u32>(pairSlot(records, i)) != 0 && load<u32>(pairSlot(records, i)) != <u32>xattr.entry) i++;
    if (load<u32>(pairSlot(records, i)) == 0) {
      if (records.pairCount * 4 >= records.pairMask * 3) {
        if (!growPairs(reader.arena, records)) return -1;
        i = hashAddress(xattr.entry);
        while (load<u32>(pairSlot(records, i)) != 0) i++;
      }
      if (!writePair(xattr)) return 0;
      store<u32>(pairSlot(records, i), <u32>xattr.entry);
      store<u32>(pairSlot(records, i), records.pairCount++, 4);
    }
    store<u32>(records.numbers + (<usize>records.done << 2), load<u32>(pairSlot(records, i), 4));
  }
  return 1;
}

function growPairs(arena: Arena, records: Records): bool {
  const old = records.pairs;
  const count = records.pairMask + 1;
  const grown = arena.alloc(<usize>count << 4);
  if (grown == 0) return refuseMemory();
  records.pairs = grown;
  records.pairMask = (count << 1) - 1;
  for (let slot = old; slot < old + (<usize>count << 3); slot += 8) {
    if (load<u32>(slot) == 0) continue;
    let i = hashAddress(<usize>load<u32>(slot));
    while (load<u32>(pairSlot(records, i)) != 0) i++;
    store<u64>(pairSlot(records, i), load<u64>(slot));
  }
  return true;
}

/** Starts a record; `at` then is behind its head. */
function start(length: u32, kind: u32, head: u32): usize {
  const record = at;
  store<u32>(record, length);
  store<u32>(record, kind, 4);
  at += head;
  return record;
}

function bytes(from: usize, length: u32): void {
  memory.copy(at, from, length);
  at += length;
}

function writePair(xattr: Xattr): bool {
  const prefix = prefixLength(xattr.index);
  const nameLength = prefix + keptNameLength(xattr);
  const length = PAIR_HEAD + nameLength + xattr.valueLength;
  if (!fits(length)) return false;
  const record = start(length, Kind.PAIR, PAIR_HEAD);
  store<u32>(record, nameLength, 8);
  store<u32>(record, xattr.valueLength, 12);
  bytes(prefixOf(xattr.index), prefix);
  bytes(keptName(xattr), keptNameLength(xattr));
  bytes(xattr.value, xattr.valueLength);
  return true;
}

@inline
function setNumbers(set: WrittenSet): usize {
  return changetype<usize>(set) + offsetof<WrittenSet>();
}

function isSame(set: WrittenSet, records: Records): bool {
  return set.count == records.keptCount && equalBytes(setNumbers(set), records.numbers, records.keptCount << 2);
}

/** Makes `lastSet` the set of the inode, and writes it if it is new. */
function writeSet(reader: Reader, records: Records): i32 {
  const count = records.keptCount;
  if (count == 0) return 1;
  if (changetype<usize>(records.lastSet) != 0 && isSame(records.lastSet, records)) return 1;
  const hash = hashBytes(records.numbers, count << 2, count);
  let free: usize = 0;
  for (let probe: u32 = 0; probe < SET_PROBES; probe++) {
    const slot = records.sets + (<usize>((hash + probe) & records.setMask) << 2);
    const found = changetype<WrittenSet>(<usize>load<u32>(slot));
    if (changetype<usize>(found) == 0) {
      free = slot;
      break;
    }
    if (found.hash == hash && isSame(found, records)) {
      records.lastSet = found;
      return 1;
    }
  }
  const length = SET_HEAD + (count << 2);
  if (!fits(length)) return 0;
  const made = reader.arena.alloc(offsetof<WrittenSet>() + (<usize>count << 2));
  if (made == 0) {
    refuseMemory();
    return -1;
  }
  const set = changetype<WrittenSet>(made);
  set.hash = hash;
  set.count = count;
  set.number = ++records.setCount;
  memory.copy(setNumbers(set), records.numbers, <usize>count << 2);
  records.lastSet = set;
  const record = start(length, Kind.SET, SET_HEAD);
  store<u32>(record, count, 8);
  bytes(records.numbers, count << 2);
  if (free == 0) return 1;
  store<u32>(free, <u32>made);
  return ++records.setsInTable * 2 <= records.setMask || growSets(reader.arena, records) ? 1 : -1;
}

function growSets(arena: Arena, records: Records): bool {
  const old = records.sets;
  const count = records.setMask + 1;
  const grown = arena.alloc(<usize>count << 3);
  if (grown == 0) return refuseMemory();
  records.sets = grown;
  records.setMask = (count << 1) - 1;
  records.setsInTable = 0;
  for (let slot = old; slot < old + (<usize>count << 2); slot += 4) {
    const found = load<u32>(slot);
    if (found == 0) continue;
    const hash = changetype<WrittenSet>(<usize>found).hash;
    for (let probe: u32 = 0; probe < SET_PROBES; probe++) {
      const place = grown + (<usize>((hash + probe) & records.setMask) << 2);
      if (load<u32>(place) != 0) continue;
      store<u32>(place, found);
      records.setsInTable++;
      break;
    }
  }
  return true;
}

function parentNumber(walk: Walk): u32 {
  return changetype<usize>(walk.parent) == 0 ? NO_PARENT : walk.parent.number;
}

/** Writes what directories and leaves have in common; answers the record. */
function writeHead(records: Records, inode: Inode, type: u32, length: u32, kind: u32, head: u32): usize {
  const walk = records.walk;
  const record = start(length, kind, head);
  store<u32>(record, parentNumber(walk), 8);
  store<u32>(record, records.keptCount == 0 ? 0 : records.lastSet.number, 12);
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
  bytes(walk.name, walk.nameLength);
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
  bytes(walk.name, walk.nameLength);
  bytes(content, contentLength);
  bytes(inode.tail, tailLength);
  bytes(digest, digestLength);
  if (changetype<usize>(walk.record) != 0) changetype<LinkRecord>(walk.record).number = records.leaves;
  records.leaves++;
  return true;
}

function writeLink(records: Records): bool {
  const walk = records.walk;
  const length = LINK_HEAD + walk.nameLength;
  if (!fits(length)) return false;
  const record = start(length, Kind.LINK, LINK_HEAD);
  store<u32>(record, parentNumber(walk), 8);
  store<u32>(record, changetype<LinkRecord>(walk.record).number, 12);
  store<u32>(record, walk.nameLength, 16);
  bytes(walk.name, walk.nameLength);
  return true;
}
