// The xattrs of the tree in the record stream (records.ts): each xattr is written once, as a pair, however many inodes share
// it, and each set of them once. So the host's memory stays linear in the size of the image.

import { Arena } from "../erofs/arena";
import { equalBytes, hashBytes } from "../erofs/bytes";
import { refuseMemory } from "../erofs/failure";
import { keepXattrs, keptCount, keptName, keptNameLength } from "./kept-xattrs";
import { appendBytes, fits, startRecord } from "./record-window";
import { prefixLength, prefixOf } from "./xattr-names";
import { Xattr, XattrList, xattrIn } from "./xattrs";

/** Kinds and sizes of heads of the two records. */
const PAIR: u32 = 1;
const SET: u32 = 2;
const PAIR_HEAD: u32 = 16;
const SET_HEAD: u32 = 12;

/** Sets are looked for in so many slots; then the set is written again, as a table must not be slow for made-up sets. */
const SET_PROBES: u32 = 32;

/** A set that was written; the pair numbers lie behind the object. */
@unmanaged
export class WrittenSet {
  hash: u32;
  count: u32;
  number: u32;
}

/** What was written, and what is to be written of the inode at hand. */
@unmanaged
export class RecordXattrs {
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
  /** The set of the last inode that had one. */
  lastSet: WrittenSet;
}

/** Tables without anything written. None at the memory limit. */
export function newRecordXattrs(arena: Arena): RecordXattrs {
  const xattrs = changetype<RecordXattrs>(arena.alloc(offsetof<RecordXattrs>()));
  if (changetype<usize>(xattrs) == 0) return xattrs;
  xattrs.pairMask = 255;
  xattrs.pairs = arena.alloc(256 << 3);
  xattrs.setMask = 255;
  xattrs.sets = arena.alloc(256 << 2);
  return xattrs.pairs == 0 || xattrs.sets == 0 ? changetype<RecordXattrs>(0) : xattrs;
}

/** Forgets what was written. */
export function resetRecordXattrs(xattrs: RecordXattrs): void {
  xattrs.pairCount = 0;
  xattrs.setsInTable = 0;
  xattrs.setCount = 0;
  xattrs.lastSet = changetype<WrittenSet>(0);
  memory.fill(xattrs.pairs, 0, (<usize>xattrs.pairMask + 1) << 3);
  memory.fill(xattrs.sets, 0, (<usize>xattrs.setMask + 1) << 2);
}

/** Starts the xattrs of an inode; `removed` as for `keepXattrs`. False at the memory limit. */
export function startXattrs(arena: Arena, xattrs: RecordXattrs, list: XattrList, removed: u32): bool {
  xattrs.done = 0;
  xattrs.keptCount = 0;
  if (list.count == 0) return true;
  xattrs.kept = keepXattrs(list, removed);
  if (xattrs.kept == 0) return false;
  xattrs.keptCount = keptCount;
  if (keptCount <= xattrs.numberRoom) return true;
  xattrs.numberRoom = list.sortRoom;
  xattrs.numbers = arena.alloc(<usize>list.sortRoom << 2);
  return xattrs.numbers != 0 ? true : refuseMemory();
}

/** The number of the inode's set, which is written; 0 for none. */
export function setNumber(xattrs: RecordXattrs): u32 {
  return xattrs.keptCount == 0 ? 0 : xattrs.lastSet.number;
}

@inline
function pairSlot(xattrs: RecordXattrs, i: u32): usize {
  return xattrs.pairs + (<usize>(i & xattrs.pairMask) << 3);
}

@inline
function hashAddress(entry: usize): u32 {
  return <u32>((<u64>entry * 0x9e3779b97f4a7c15) >> 32);
}

/** Writes the pairs of the inode that are new. 1 when all are written, 0 when the window is full, -1 after a refusal. */
export function writePairs(arena: Arena, xattrs: RecordXattrs): i32 {
  for (; xattrs.done < xattrs.keptCount; xattrs.done++) {
    const xattr = xattrIn(xattrs.kept, xattrs.done);
    let i = hashAddress(xattr.entry);
    while (load<u32>(pairSlot(xattrs, i)) != 0 && load<u32>(pairSlot(xattrs, i)) != <u32>xattr.entry) i++;
    if (load<u32>(pairSlot(xattrs, i)) == 0) {
      if (xattrs.pairCount * 4 >= xattrs.pairMask * 3) {
        if (!growPairs(arena, xattrs)) return -1;
        i = hashAddress(xattr.entry);
        while (load<u32>(pairSlot(xattrs, i)) != 0) i++;
      }
      if (!writePair(xattr)) return 0;
      store<u32>(pairSlot(xattrs, i), <u32>xattr.entry);
      store<u32>(pairSlot(xattrs, i), xattrs.pairCount++, 4);
    }
    store<u32>(xattrs.numbers + (<usize>xattrs.done << 2), load<u32>(pairSlot(xattrs, i), 4));
  }
  return 1;
}

function growPairs(arena: Arena, xattrs: RecordXattrs): bool {
  const old = xattrs.pairs;
  const count = xattrs.pairMask + 1;
  const grown = arena.alloc(<usize>count << 4);
  if (grown == 0) return refuseMemory();
  xattrs.pairs = grown;
  xattrs.pairMask = (count << 1) - 1;
  for (let slot = old; slot < old + (<usize>count << 3); slot += 8) {
    if (load<u32>(slot) == 0) continue;
    let i = hashAddress(<usize>load<u32>(slot));
    while (load<u32>(pairSlot(xattrs, i)) != 0) i++;
    store<u64>(pairSlot(xattrs, i), load<u64>(slot));
  }
  return true;
}

function writePair(xattr: Xattr): bool {
  const prefix = prefixLength(xattr.index);
  const nameLength = prefix + keptNameLength(xattr);
  const length = PAIR_HEAD + nameLength + xattr.valueLength;
  if (!fits(length)) return false;
  const record = startRecord(length, PAIR, PAIR_HEAD);
  store<u32>(record, nameLength, 8);
  store<u32>(record, xattr.valueLength, 12);
  appendBytes(prefixOf(xattr.index), prefix);
  appendBytes(keptName(xattr), keptNameLength(xattr));
  appendBytes(xattr.value, xattr.valueLength);
  return true;
}

@inline
function setNumbers(set: WrittenSet): usize {
  return changetype<usize>(set) + offsetof<WrittenSet>();
}

function isSame(set: WrittenSet, xattrs: RecordXattrs): bool {
  return set.count == xattrs.keptCount && equalBytes(setNumbers(set), xattrs.numbers, xattrs.keptCount << 2);
}

/** Makes `lastSet` the set of the inode, whose pairs are written, and writes it if it is new. Answers as `writePairs`. */
export function writeSet(arena: Arena, xattrs: RecordXattrs): i32 {
  const count = xattrs.keptCount;
  if (count == 0) return 1;
  if (changetype<usize>(xattrs.lastSet) != 0 && isSame(xattrs.lastSet, xattrs)) return 1;
  const hash = hashBytes(xattrs.numbers, count << 2, count);
  let free: usize = 0;
  for (let probe: u32 = 0; probe < SET_PROBES; probe++) {
    const slot = xattrs.sets + (<usize>((hash + probe) & xattrs.setMask) << 2);
    const found = changetype<WrittenSet>(<usize>load<u32>(slot));
    if (changetype<usize>(found) == 0) {
      free = slot;
      break;
    }
    if (found.hash == hash && isSame(found, xattrs)) {
      xattrs.lastSet = found;
      return 1;
    }
  }
  const length = SET_HEAD + (count << 2);
  if (!fits(length)) return 0;
  const made = arena.alloc(offsetof<WrittenSet>() + (<usize>count << 2));
  if (made == 0) {
    refuseMemory();
    return -1;
  }
  const set = changetype<WrittenSet>(made);
  set.hash = hash;
  set.count = count;
  set.number = ++xattrs.setCount;
  memory.copy(setNumbers(set), xattrs.numbers, <usize>count << 2);
  xattrs.lastSet = set;
  const record = startRecord(length, SET, SET_HEAD);
  store<u32>(record, count, 8);
  appendBytes(xattrs.numbers, count << 2);
  if (free == 0) return 1;
  store<u32>(free, <u32>made);
  return ++xattrs.setsInTable * 2 <= xattrs.setMask || growSets(arena, xattrs) ? 1 : -1;
}

function growSets(arena: Arena, xattrs: RecordXattrs): bool {
  const old = xattrs.sets;
  const count = xattrs.setMask + 1;
  const grown = arena.alloc(<usize>count << 3);
  if (grown == 0) return refuseMemory();
  xattrs.sets = grown;
  xattrs.setMask = (count << 1) - 1;
  xattrs.setsInTable = 0;
  for (let slot = old; slot < old + (<usize>count << 2); slot += 4) {
    const found = load<u32>(slot);
    if (found == 0) continue;
    const hash = changetype<WrittenSet>(<usize>found).hash;
    for (let probe: u32 = 0; probe < SET_PROBES; probe++) {
      const place = grown + (<usize>((hash + probe) & xattrs.setMask) << 2);
      if (load<u32>(place) != 0) continue;
      store<u32>(place, found);
      xattrs.setsInTable++;
      break;
    }
  }
  return true;
}
