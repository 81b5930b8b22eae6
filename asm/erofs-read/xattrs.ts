// The xattrs of an inode (docs/spec/erofs.md, 10 and 17.3): read into a list that the next inode overwrites. Names and
// values stay where they are in the image, so a value that many inodes share costs nothing.

import { Arena } from "../erofs/arena";
import { equalBytes } from "../erofs/bytes";
import { refuseMemory, sayBytes } from "../erofs/failure";
import { Comparison, sortAddresses } from "../erofs/sort";
import { Image, hasNul, hasStubs, refuseImage, refuseValue, slice } from "./image";
import { DIRECTORY, Inode, REGULAR, typeOf } from "./inode";
import { INDEXES, Meaning, compareNames, indexOfName, meaningOf, prefixLength, prefixOf } from "./xattr-names";

/** One xattr. The full name is the prefix of `index`, then `name`. */
@unmanaged
export class Xattr {
  /** The entry in the image; equal for all inodes that share it. */
  entry: usize;
  name: usize;
  value: usize;
  nameLength: u32;
  valueLength: u32;
  index: u32;
  meaning: u32;
}

const XATTR_SIZE: usize = 28;
/** Up to this many xattrs are compared each with each. */
const FEW: u32 = 12;

/** The list, and what is known about it. */
@unmanaged
export class XattrList {
  arena: Arena;
  count: u32;
  room: u32;
  items: usize;
  /** Positions of metacopy and redirect; they are there if `meanings` says so. */
  metacopy: u32;
  redirect: u32;
  /** How often each marker name is there, and how often with the value that the writer gives it (u16 each). */
  found: usize;
  exact: usize;
  /** Bit set of the meanings that occur. */
  meanings: u32;
  /** Room for addresses in another order, and as much again for sorting. */
  sorted: usize;
  sortRoom: u32;
}

export function newXattrList(arena: Arena): XattrList {
  const list = changetype<XattrList>(arena.alloc(offsetof<XattrList>()));
  if (changetype<usize>(list) == 0) return list;
  list.arena = arena;
  list.found = arena.alloc(<usize>Meaning.COUNT << 1);
  list.exact = arena.alloc(<usize>Meaning.COUNT << 1);
  if (list.found == 0 || list.exact == 0) return changetype<XattrList>(0);
  return list;
}

@inline
export function xattrAt(list: XattrList, i: u32): Xattr {
  return changetype<Xattr>(list.items + <usize>i * XATTR_SIZE);
}

/** Whether a name of that meaning is there. */
@inline
export function hasMeaning(list: XattrList, meaning: u32): bool {
  return (list.meanings & (1 << meaning)) != 0;
}

/** Whether the marker is there with the value that the writer gives it. */
@inline
export function hasMarker(list: XattrList, meaning: u32): bool {
  return load<u16>(list.exact + (<usize>meaning << 1)) != 0;
}

/** Reads the xattrs of an inode. */
export function readXattrs(image: Image, inode: Inode, list: XattrList): bool {
  list.count = 0;
  if (list.meanings != 0) {
    list.meanings = 0;
    memory.fill(list.found, 0, <usize>Meaning.COUNT << 1);
    memory.fill(list.exact, 0, <usize>Meaning.COUNT << 1);
  }
  if (inode.xattrSize == 0) return true;
  const area = inode.xattrs;
  const shared = <u32>load<u8>(area, 4);
  if ((shared << 2) + 12 > inode.xattrSize) {
    return refuseValue("shared_count", "more shared xattrs than the xattr area has room for: ", shared);
  }
  for (let i: u32 = 0; i < shared; i++) {
    const id = load<u32>(area + 12 + (<usize>i << 2));
    const offset = <u64>image.sharedXattrs + (<u64>id << 2);
    if (slice(image, offset, 4) == 0) {
      return refuseValue("xattr bounds", "there is no shared xattr of the id ", id);
    }
    if (!addXattr(list, image.base + <usize>offset, <u64>image.size - offset)) return false;
  }
  let at = area + 12 + (<usize>shared << 2);
  const end = area + inode.xattrSize;
  while (at < end) {
    // All sizes are multiples of 4, so 4 bytes are there.
    if (!addXattr(list, at, <u64>(end - at))) return false;
    at += (entrySize(at) + 3) & ~3;
  }
  return checkNames(image, inode, list);
}

@inline
function entrySize(entry: usize): usize {
  return 4 + <usize>load<u8>(entry) + <usize>load<u16>(entry, 2);
}

/** Appends the entry at `at`, of which `room` bytes (at least 4) may be used. */
function addXattr(list: XattrList, at: usize, room: u64): bool {
  let nameLength = <u32>load<u8>(at);
  let index = <u32>load<u8>(at, 1);
  const valueLength = <u32>load<u16>(at, 2);
  if (<u64>entrySize(at) > room) return refuseImage("xattr bounds", "an xattr reaches behind its area");
  if (index >= INDEXES) return refuseValue("xattr name index", "unknown xattr name index ", index);
  let name = at + 4;
  if (index == 0 && nameLength == 0) return refuseImage("xattr name", "an xattr without a name");
  if (hasNul(name, nameLength)) return refuseImage("xattr name", "an xattr name holds a NUL byte");
  const value = name + nameLength;
  if (index == 0) {
    // A known prefix spelled out is the same name: two spellings must not count as two names.
    index = indexOfName(name, nameLength);
    name += prefixLength(index);
    nameLength -= prefixLength(index);
  }
  if (list.count == list.room && !growList(list)) return false;
  const xattr = xattrAt(list, list.count++);
  xattr.entry = at;
  xattr.name = name;
  xattr.value = value;
  xattr.nameLength = nameLength;
  xattr.valueLength = valueLength;
  xattr.index = index;
  xattr.meaning = meaningOf(index, name, nameLength);
  if (xattr.meaning != Meaning.NONE) note(list, xattr);
  return true;
}

function note(list: XattrList, xattr: Xattr): void {
  const meaning = xattr.meaning;
  list.meanings |= 1 << meaning;
  if (meaning == Meaning.METACOPY) list.metacopy = list.count - 1;
  else if (meaning == Meaning.REDIRECT) list.redirect = list.count - 1;
  else if (meaning >= Meaning.MARKER) {
    const found = list.found + (<usize>meaning << 1);
    store<u16>(found, load<u16>(found) + 1);
    if (!hasMarkerValue(xattr)) return;
    const exact = list.exact + (<usize>meaning << 1);
    store<u16>(exact, load<u16>(exact) + 1);
  }
}

/** Whether a marker has the value that the writer gives it: `x` for opaque, nothing for the others. */
export function hasMarkerValue(xattr: Xattr): bool {
  if (xattr.meaning < Meaning.OPAQUE_TRUSTED) return xattr.valueLength == 0;
  return xattr.valueLength == 1 && load<u8>(xattr.value) == 0x78;
}

function growList(list: XattrList): bool {
  const room = max<u32>(16, list.room << 1);
  const grown = list.arena.alloc(<usize>room * XATTR_SIZE);
  if (grown == 0) return refuseMemory();
  memory.copy(grown, list.items, <usize>list.count * XATTR_SIZE);
  list.items = grown;
  list.room = room;
  return true;
}

@inline
function sameName(a: Xattr, b: Xattr): bool {
  return a.nameLength == b.nameLength && a.index == b.index && equalBytes(a.name, b.name, a.nameLength);
}

/** Refuses a name that is there twice, except the markers that 17.3 names; what is left of those is for the caller. */
function checkNames(image: Image, inode: Inode, list: XattrList): bool {
  if (list.count > FEW) return checkManyNames(image, inode, list);
  for (let i: u32 = 1; i < list.count; i++) {
    const xattr = xattrAt(list, i);
    for (let j: u32 = 0; j < i; j++) {
      if (sameName(xattr, xattrAt(list, j)) && !mayRepeat(image, inode, xattr)) return refuseRepeated(xattr);
    }
  }
  return true;
}

/** By sorting: a hash table would be slow for names that were made to collide. */
function checkManyNames(image: Image, inode: Inode, list: XattrList): bool {
  if (!makeSortRoom(list)) return false;
  const sorted = list.sorted;
  for (let i: u32 = 0; i < list.count; i++) {
    store<u32>(sorted + (<usize>i << 2), <u32>changetype<usize>(xattrAt(list, i)));
  }
  sortXattrs(list, list.count, compareStored);
  for (let i: u32 = 1; i < list.count; i++) {
    const xattr = xattrIn(sorted, i);
    if (sameName(xattrIn(sorted, i - 1), xattr) && !mayRepeat(image, inode, xattr)) return refuseRepeated(xattr);
  }
  return true;
}

function compareStored(a: usize, b: usize): i32 {
  const x = changetype<Xattr>(a);
  const y = changetype<Xattr>(b);
  return compareNames(x.index, x.name, x.nameLength, y.index, y.name, y.nameLength);
}

@inline
export function xattrIn(sorted: usize, i: u32): Xattr {
  return changetype<Xattr>(<usize>load<u32>(sorted + (<usize>i << 2)));
}

/** Makes sure that `sorted` has room for the addresses of all xattrs. */
export function makeSortRoom(list: XattrList): bool {
  if (list.sorted != 0 && list.count <= list.sortRoom) return true;
  const room = max<u32>(16, list.room);
  list.sorted = list.arena.alloc(<usize>room << 3);
  list.sortRoom = list.sorted == 0 ? 0 : room;
  return list.sorted != 0 ? true : refuseMemory();
}

/** Sorts the first addresses at `sorted`. */
export function sortXattrs(list: XattrList, count: u32, compare: Comparison): void {
  sortAddresses(list.sorted, count, list.sorted + (<usize>list.sortRoom << 2), compare);
}

function mayRepeat(image: Image, inode: Inode, xattr: Xattr): bool {
  if (xattr.meaning < Meaning.MARKER || !hasStubs(image)) return false;
  const onDirectory = xattr.meaning >= Meaning.WHITEOUTS_TRUSTED;
  return typeOf(inode) == (onDirectory ? DIRECTORY : REGULAR);
}

/** Whether a marker name is left twice once one of each meaning in the bit set `removed` is taken away. */
export function isRepeated(list: XattrList, removed: u32): bool {
  for (let meaning: u32 = Meaning.MARKER; meaning < Meaning.COUNT; meaning++) {
    const left = <u32>load<u16>(list.found + (<usize>meaning << 1)) - ((removed >> meaning) & 1);
    if (<i32>left > 1) return true;
  }
  return false;
}

function refuseRepeated(xattr: Xattr): bool {
  refuseImage("xattr twice", "an xattr is there twice: ");
  sayBytes(prefixOf(xattr.index), prefixLength(xattr.index));
  return sayBytes(xattr.name, xattr.nameLength);
}
