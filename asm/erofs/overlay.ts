// Rewriting the tree for overlayfs (docs/spec/erofs.md, 7): whiteouts become marked files, the root becomes opaque and
// gets the 256 stubs. Escaping of xattr names happens when they are read (xattr-list.ts).

import { compareBytes } from "./bytes";
import { refuseMemory } from "./failure";
import { sortAddresses } from "./sort";
import {
  CHAR,
  Directory,
  Entry,
  InodeFlag,
  Leaf,
  REGULAR,
  TYPE_MASK,
  allocEntry,
  behindEntry,
  entryName,
  isNone,
  leafSize,
} from "./tree";
import { Writer } from "./writer";
import { Pair, XattrSet, comparePairNames, comparePairs, pairAt, pairsOf } from "./xattrs";

/** A character device 0 of the input. */
@unmanaged
export class Whiteout {
  next: Whiteout;
  entry: Entry;
  directory: Directory;
}

/** Notes a whiteout. */
export function addWhiteout(writer: Writer, directory: Directory, entry: Entry): bool {
  const at = writer.arena.alloc(offsetof<Whiteout>());
  if (at == 0) return refuseMemory();
  const whiteout = changetype<Whiteout>(at);
  whiteout.entry = entry;
  whiteout.directory = directory;
  whiteout.next = writer.whiteouts;
  writer.whiteouts = whiteout;
  return true;
}

const NAME: usize = memory.data(64, 8);

/** The pair of a name and a value that are given as text. */
function textPair(writer: Writer, name: string, value: string): Pair {
  for (let i = 0; i < name.length; i++) store<u8>(NAME + i, <u8>name.charCodeAt(i));
  const at = NAME + name.length;
  for (let i = 0; i < value.length; i++) store<u8>(at + i, <u8>value.charCodeAt(i));
  return writer.xattrs.pair(writer.arena, NAME, name.length, at, value.length);
}

/** Up to four pairs that are being put into sets. */
const MARKERS: usize = memory.data(16, 4);
let markerCount: u32 = 0;

function addMarker(writer: Writer, name: string, value: string): bool {
  const pair = textPair(writer, name, value);
  if (isNone(changetype<usize>(pair))) return refuseMemory();
  store<u32>(MARKERS + (<usize>markerCount << 2), <u32>changetype<usize>(pair));
  markerCount++;
  return true;
}

function isReplaced(pair: Pair): bool {
  for (let i: u32 = 0; i < markerCount; i++) {
    const marker = <usize>load<u32>(MARKERS + (<usize>i << 2));
    if (comparePairNames(marker, changetype<usize>(pair)) == 0) return true;
  }
  return false;
}

/** The set with the markers: they replace pairs of their name in dialect `c`, and are added in `rs` (16, item 5). */
function withMarkers(writer: Writer, base: XattrSet): XattrSet {
  const room = base.count + markerCount;
  const items = writer.arena.alloc(<usize>room << 3);
  if (items == 0) {
    refuseMemory();
    return changetype<XattrSet>(0);
  }
  let count: u32 = 0;
  for (let i: u32 = 0; i < base.count; i++) {
    const pair = pairAt(base, i);
    if (writer.dialectC && isReplaced(pair)) continue;
    store<u32>(items + (<usize>count << 2), <u32>changetype<usize>(pair));
    count++;
  }
  memory.copy(items + (<usize>count << 2), MARKERS, <usize>markerCount << 2);
  count += markerCount;
  sortAddresses(items, count, items + (<usize>room << 2), comparePairs);
  const set = writer.xattrs.set(writer.arena, items, count);
  if (isNone(changetype<usize>(set))) refuseMemory();
  return set;
}

/** Does all rewriting for versions 0 and 1. The directories are sorted. */
export function rewriteForOverlay(writer: Writer): bool {
  const stubXattrs = xattrsOfStubs(writer);
  if (isNone(changetype<usize>(stubXattrs))) return refuseMemory();
  return (
    escapeWhiteouts(writer, stubXattrs) && markParents(writer) && makeRootOpaque(writer) && addStubs(writer, stubXattrs)
  );
}

/** The root's `security.selinux`, if it has one. */
function xattrsOfStubs(writer: Writer): XattrSet {
  const label = textPair(writer, "security.selinux", "");
  if (isNone(changetype<usize>(label))) return changetype<XattrSet>(0);
  const set = writer.root.xattrs;
  for (let i: u32 = 0; i < set.count; i++) {
    if (comparePairNames(changetype<usize>(pairAt(set, i)), changetype<usize>(label)) == 0) {
      return writer.xattrs.set(writer.arena, pairsOf(set) + (<usize>i << 2), 1);
    }
  }
  return writer.xattrs.empty;
}

function escapeWhiteouts(writer: Writer, stubXattrs: XattrSet): bool {
  markerCount = 0;
  if (!addMarker(writer, "trusted.overlay.overlay.whiteout", "")) return false;
  if (!addMarker(writer, "user.overlay.whiteout", "")) return false;
  for (let at = writer.whiteouts; !isNone(changetype<usize>(at)); at = at.next) {
    const leaf = changetype<Leaf>(at.entry.inode);
    if (!writer.dialectC && looksLikeStub(writer, at, stubXattrs)) continue;
    const base = leaf.xattrs;
    if (isNone(changetype<usize>(base.asWhiteout))) {
      const marked = withMarkers(writer, base);
      if (isNone(changetype<usize>(marked))) return false;
      base.asWhiteout = marked;
    }
    leaf.xattrs = base.asWhiteout;
    leaf.mode = <u16>((leaf.mode & ~TYPE_MASK) | REGULAR);
    leaf.flags &= ~InodeFlag.FORCE_EXTENDED;
    at.directory.flags |= InodeFlag.WHITEOUT_PARENT;
  }
  return true;
}

/** Dialect `rs`, item 4 of section 16: such a whiteout counts as a stub. */
function looksLikeStub(writer: Writer, whiteout: Whiteout, stubXattrs: XattrSet): bool {
  const root = writer.root;
  const leaf = changetype<Leaf>(whiteout.entry.inode);
  return (
    changetype<usize>(whiteout.directory) == changetype<usize>(root) &&
    isStubName(whiteout.entry) &&
    (leaf.mode & 0o7777) == 0o644 &&
    leaf.uid == root.uid &&
    leaf.gid == root.gid &&
    leaf.mtimeSec == root.mtimeSec &&
    leaf.nsec == root.nsec &&
    changetype<usize>(leaf.xattrs) == changetype<usize>(stubXattrs)
  );
}

function isLowerHex(byte: u32): bool {
  return byte - 0x30 <= 9 || byte - 0x61 <= 5;
}

function isStubName(entry: Entry): bool {
  const name = entryName(entry);
  return entry.nameLength == 2 && isLowerHex(load<u8>(name)) && isLowerHex(load<u8>(name + 1));
}

function markParents(writer: Writer): bool {
  if (isNone(changetype<usize>(writer.whiteouts))) return true;
  markerCount = 0;
  if (!addMarker(writer, "trusted.overlay.overlay.whiteouts", "")) return false;
  if (!addMarker(writer, "user.overlay.whiteouts", "")) return false;
  if (writer.version == 1) {
    if (!addMarker(writer, "trusted.overlay.overlay.opaque", "x")) return false;
    if (!addMarker(writer, "user.overlay.opaque", "x")) return false;
  }
  for (let at = writer.whiteouts; !isNone(changetype<usize>(at)); at = at.next) {
    const directory = at.directory;
    // Whiteouts that count as stubs do not mark; a directory is marked once.
    if ((directory.flags & InodeFlag.WHITEOUT_PARENT) == 0) continue;
    directory.flags &= ~InodeFlag.WHITEOUT_PARENT;
    const base = directory.xattrs;
    if (isNone(changetype<usize>(base.asParent))) {
      const marked = withMarkers(writer, base);
      if (isNone(changetype<usize>(marked))) return false;
      base.asParent = marked;
    }
    directory.xattrs = base.asParent;
  }
  return true;
}

function makeRootOpaque(writer: Writer): bool {
  markerCount = 0;
  if (!addMarker(writer, "trusted.overlay.opaque", "y")) return false;
  const set = withMarkers(writer, writer.root.xattrs);
  if (isNone(changetype<usize>(set))) return false;
  writer.root.xattrs = set;
  return true;
}

/** Merges the stubs whose names are free into the sorted root. */
function addStubs(writer: Writer, xattrs: XattrSet): bool {
  const root = writer.root;
  let before = changetype<Entry>(0);
  let after = root.first;
  for (let i: u32 = 0; i < 256; i++) {
    store<u8>(NAME, hexDigit(i >> 4));
    store<u8>(NAME + 1, hexDigit(i & 15));
    let order: i32 = 1;
    while (!isNone(changetype<usize>(after))) {
      order = compareBytes(entryName(after), after.nameLength, NAME, 2);
      if (order >= 0) break;
      before = after;
      after = after.next;
    }
    if (!isNone(changetype<usize>(after)) && order == 0) continue;
    const stub = newStub(writer, xattrs);
    if (isNone(changetype<usize>(stub))) return false;
    stub.next = after;
    if (isNone(changetype<usize>(before))) root.first = stub;
    else before.next = stub;
    before = stub;
  }
  return true;
}

function hexDigit(value: u32): u8 {
  return <u8>(value < 10 ? 0x30 + value : 0x57 + value);
}

/** A stub of the name at NAME. */
function newStub(writer: Writer, xattrs: XattrSet): Entry {
  const entry = allocEntry(writer, NAME, 2, leafSize(0));
  if (isNone(changetype<usize>(entry))) return entry;
  const leaf = changetype<Leaf>(behindEntry(entry));
  const root = writer.root;
  leaf.mode = <u16>(CHAR | 0o644);
  leaf.nlink = 1;
  leaf.uid = root.uid;
  leaf.gid = root.gid;
  leaf.mtimeSec = root.mtimeSec;
  leaf.nsec = root.nsec;
  leaf.xattrs = xattrs;
  entry.inode = leaf;
  return entry;
}
