// The shared xattr table (docs/spec/erofs.md, 10.4): counting name-value pairs over all inodes, choosing those used at
// least twice, and what every xattr set then takes in an inode.

import { equalBytes, hashBytes, compareBytes } from "./bytes";
import { Digest, digestBytes } from "./digests";
import { refuseMemory } from "./failure";
import {
  METACOPY_FILTER,
  METACOPY_NAME,
  METACOPY_NAME_LENGTH,
  REDIRECT_FILTER,
  REDIRECT_NAME,
  REDIRECT_NAME_LENGTH,
} from "./overlay-names";
import { storeMetacopy, storeRedirect } from "./overlay-values";
import { prefixIndex, prefixLength } from "./prefixes";
import { sortAddresses } from "./sort";
import { Inode, InodeFlag, Leaf, isNone } from "./tree";
import { Writer } from "./writer";
import { Pair, XattrSet, comparePairNames, comparePairs, newPair, pairAt, pairName, pairValue } from "./xattrs";
import { xxh32 } from "./xxh32";

const FILTER_SEED: u32 = 0x25bbe08f;

/** Pairs that were found to be shared while external files were counted; linked through `offset`. */
let sharedDigests: usize = 0;
let sharedDigestCount: u32 = 0;

/** Builds the table for the inodes in order, whose sets have their uses counted. */
export function buildSharedTable(writer: Writer): bool {
  sharedDigests = 0;
  sharedDigestCount = 0;
  if (!countExternal(writer)) return false;
  for (let set = writer.xattrs.first; !isNone(changetype<usize>(set)); set = set.next) {
    for (let i: u32 = 0; i < set.count; i++) pairAt(set, i).count += set.uses;
  }
  preparePairs(writer);
  if (!collect(writer)) return false;
  for (let set = writer.xattrs.first; !isNone(changetype<usize>(set)); set = set.next) {
    if (set.uses != 0) measureSet(writer, set);
  }
  return true;
}

/** Counts metacopy and redirect xattrs; equal digests become one object. */
function countExternal(writer: Writer): bool {
  let digests: u32 = 0;
  for (let inode = writer.firstInode; !isNone(changetype<usize>(inode)); inode = inode.next) {
    if ((inode.flags & InodeFlag.EXTERNAL) == 0) continue;
    const leaf = changetype<Leaf>(inode);
    if (leaf.data != 0) digests++;
    if ((leaf.flags & InodeFlag.REDIRECT_OBJECT) != 0 && leaf.redirect != leaf.data) digests++;
  }
  let slotCount: u32 = 64;
  while (slotCount < digests + (digests >> 1)) slotCount <<= 1;
  const slots = writer.arena.alloc(<usize>slotCount << 2);
  if (slots == 0) return refuseMemory();
  const empty = writer.xattrs.pair(writer.arena, METACOPY_NAME, METACOPY_NAME_LENGTH, 0, 0);
  if (isNone(changetype<usize>(empty))) return refuseMemory();
  writer.emptyMetacopy = empty;
  for (let inode = writer.firstInode; !isNone(changetype<usize>(inode)); inode = inode.next) {
    if ((inode.flags & InodeFlag.EXTERNAL) == 0) continue;
    if (!countLeaf(writer, changetype<Leaf>(inode), slots, slotCount - 1)) return refuseMemory();
  }
  return true;
}

function countLeaf(writer: Writer, leaf: Leaf, slots: usize, mask: u32): bool {
  const own = leaf.data;
  if (own != 0) {
    const digest = unique(changetype<Digest>(own), writer.digestSize, slots, mask);
    leaf.data = changetype<usize>(digest);
    if (digest.metacopy == 0) {
      digest.metacopy = 1;
    } else if (digest.metacopy == 1) {
      const pair = newPair(writer.arena, METACOPY_NAME, METACOPY_NAME_LENGTH, 4 + writer.digestSize);
      if (isNone(changetype<usize>(pair))) return false;
      storeMetacopy(digest, writer.digestSize, pairValue(pair));
      digest.metacopy = share(pair);
    } else {
      changetype<Pair>(digest.metacopy).count++;
    }
  } else {
    writer.emptyMetacopy.count++;
  }
  if ((leaf.flags & InodeFlag.REDIRECT_PAIR) != 0) {
    changetype<Pair>(leaf.redirect).count++;
  } else if ((leaf.flags & InodeFlag.REDIRECT_OBJECT) != 0) {
    const digest =
      leaf.redirect == own
        ? changetype<Digest>(leaf.data)
        : unique(changetype<Digest>(leaf.redirect), writer.digestSize, slots, mask);
    leaf.redirect = changetype<usize>(digest);
    if (digest.redirect == 0) {
      digest.redirect = 1;
    } else if (digest.redirect == 1) {
      const pair = newPair(writer.arena, REDIRECT_NAME, REDIRECT_NAME_LENGTH, 2 + 2 * writer.digestSize);
      if (isNone(changetype<usize>(pair))) return false;
      storeRedirect(digest, writer.digestSize, pairValue(pair));
      digest.redirect = share(pair);
    } else {
      changetype<Pair>(digest.redirect).count++;
    }
  }
  return true;
}

/** Notes a pair that was met for the second time. */
function share(pair: Pair): usize {
  pair.count = 2;
  pair.offset = <u32>sharedDigests;
  sharedDigests = changetype<usize>(pair);
  sharedDigestCount++;
  return changetype<usize>(pair);
}

/** The first digest of these bytes. */
function unique(digest: Digest, digestSize: u32, slots: usize, mask: u32): Digest {
  const bytes = digestBytes(digest);
  // Hashed although digests are as good as random: a dump can hold made-up ones that differ in few bits.
  let index = hashBytes(bytes, digestSize, 0);
  while (true) {
    const slot = slots + (<usize>(index & mask) << 2);
    const at = <usize>load<u32>(slot);
    if (at == 0) {
      store<u32>(slot, <u32>changetype<usize>(digest));
      return digest;
    }
    if (equalBytes(digestBytes(changetype<Digest>(at)), bytes, digestSize)) return changetype<Digest>(at);
    index++;
  }
}

/** Splits the names of all pairs into prefix and suffix, by the version's rules (10.1). */
function preparePairs(writer: Writer): void {
  const withLustre = writer.version == 2;
  const tables = writer.xattrs;
  for (let i: u32 = 0; i < tables.pairSlotCount; i++) {
    const pair = tables.pairInSlot(i);
    if (!isNone(changetype<usize>(pair))) preparePair(pair, withLustre);
  }
  let at = sharedDigests;
  while (at != 0) {
    const pair = changetype<Pair>(at);
    preparePair(pair, withLustre);
    at = pair.offset;
  }
}

function preparePair(pair: Pair, withLustre: bool): void {
  const name = pairName(pair);
  pair.index = prefixIndex(name, pair.nameLength, withLustre);
  pair.prefixLength = prefixLength(pair.index);
  const suffixLength = pair.nameLength - pair.prefixLength;
  pair.bit = <u8>(xxh32(name + pair.prefixLength, suffixLength, FILTER_SEED + pair.index) & 31);
}

/** Descending by stored name, value length, value: versions 0 and 1. */
function descending(a: usize, b: usize): i32 {
  return comparePairs(b, a);
}

/** Ascending by prefix index, suffix, value: version 2. */
function ascendingByIndex(a: usize, b: usize): i32 {
  const x = changetype<Pair>(a);
  const y = changetype<Pair>(b);
  if (x.index != y.index) return x.index < y.index ? -1 : 1;
  const bySuffix = comparePairNames(a, b);
  if (bySuffix != 0) return bySuffix;
  return compareBytes(pairValue(x), x.valueLength, pairValue(y), y.valueLength);
}

/** Size of a pair as a local or shared entry. */
@inline
export function entrySize(pair: Pair): u32 {
  return (4 + pair.nameLength - pair.prefixLength + pair.valueLength + 3) & ~3;
}

function collect(writer: Writer): bool {
  const tables = writer.xattrs;
  let count = sharedDigestCount;
  for (let i: u32 = 0; i < tables.pairSlotCount; i++) {
    const pair = tables.pairInSlot(i);
    if (!isNone(changetype<usize>(pair)) && pair.count >= 2) count++;
  }
  const items = writer.arena.alloc(<usize>count << 3);
  if (items == 0) return refuseMemory();
  let at = items;
  for (let i: u32 = 0; i < tables.pairSlotCount; i++) {
    const pair = tables.pairInSlot(i);
    if (isNone(changetype<usize>(pair)) || pair.count < 2) continue;
    store<u32>(at, <u32>changetype<usize>(pair));
    at += 4;
  }
  while (sharedDigests != 0) {
    store<u32>(at, <u32>sharedDigests);
    at += 4;
    sharedDigests = <usize>changetype<Pair>(sharedDigests).offset;
  }
  sortAddresses(items, count, items + (<usize>count << 2), writer.version == 2 ? ascendingByIndex : descending);
  let offset: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const pair = changetype<Pair>(<usize>load<u32>(items + (<usize>i << 2)));
    pair.offset = offset;
    offset += entrySize(pair);
  }
  writer.shared = items;
  writer.sharedCount = count;
  writer.sharedSize = offset;
  return true;
}

@inline
export function isShared(pair: Pair): bool {
  return pair.count >= 2;
}

function measureSet(writer: Writer, set: XattrSet): void {
  let sharedCount: u32 = 0;
  let localSize: u32 = 0;
  let filter: u32 = 0;
  let beforeMetacopy: u32 = 0;
  let beforeRedirect: u32 = 0;
  for (let i: u32 = 0; i < set.count; i++) {
    const pair = pairAt(set, i);
    if (isShared(pair)) sharedCount++;
    else localSize += entrySize(pair);
    filter |= 1 << pair.bit;
    if (writer.version == 2) continue;
    if (compareBytes(pairName(pair), pair.nameLength, METACOPY_NAME, METACOPY_NAME_LENGTH) < 0) beforeMetacopy++;
    if (compareBytes(pairName(pair), pair.nameLength, REDIRECT_NAME, REDIRECT_NAME_LENGTH) < 0) beforeRedirect++;
  }
  set.sharedCount = sharedCount;
  set.localSize = localSize;
  set.filter = filter;
  set.beforeMetacopy = beforeMetacopy;
  set.beforeRedirect = beforeRedirect;
}

/** What an inode's xattrs come to; statics, as it is asked once per inode in each pass. */
export let idCount: u32 = 0;
export let localBytes: u32 = 0;
export let filterBits: u32 = 0;

/** No more ids per inode in dialect `c`; what is left stays local (10.4). */
export const MAX_IDS: u32 = 128;

/** Sizes of unshared metacopy and redirect entries. */
@inline
export function localMetacopySize(digestSize: u32): u32 {
  return 4 + METACOPY_NAME_LENGTH - 8 + 4 + digestSize;
}

@inline
export function localRedirectSize(digestSize: u32): u32 {
  return (4 + REDIRECT_NAME_LENGTH - 8 + 2 + 2 * digestSize + 3) & ~3;
}

/** Counts ids, local bytes and filter bits of the inode. False if it has no xattrs. */
export function measureXattrs(writer: Writer, inode: Inode): bool {
  const set = inode.xattrs;
  idCount = set.sharedCount;
  localBytes = set.localSize;
  filterBits = set.filter;
  if ((inode.flags & InodeFlag.EXTERNAL) == 0) return set.count != 0;
  const leaf = changetype<Leaf>(inode);
  filterBits |= METACOPY_FILTER;
  if (leaf.data != 0) {
    if (changetype<Digest>(leaf.data).metacopy > 1) idCount++;
    else localBytes += localMetacopySize(writer.digestSize);
  } else if (isShared(writer.emptyMetacopy)) {
    idCount++;
  } else {
    localBytes += entrySize(writer.emptyMetacopy);
  }
  if (leaf.redirect == 0) return true;
  filterBits |= REDIRECT_FILTER;
  if ((leaf.flags & InodeFlag.REDIRECT_PAIR) != 0) {
    const pair = changetype<Pair>(leaf.redirect);
    if (isShared(pair)) idCount++;
    else localBytes += entrySize(pair);
  } else if (changetype<Digest>(leaf.redirect).redirect > 1) {
    idCount++;
  } else {
    localBytes += localRedirectSize(writer.digestSize);
  }
  return true;
}
