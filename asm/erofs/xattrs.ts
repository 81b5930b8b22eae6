// Xattrs are interned twice: a Pair is a stored name with a value, an XattrSet is the list of pairs of an inode. A
// whole distribution has a few dozen sets, so counting for the shared table (docs/spec/erofs.md, 10.4) goes over sets.

import { Arena } from "./arena";
import { compareBytes, equalBytes, hashBytes } from "./bytes";

/** A stored xattr: name as in the image (escaped, prefix uncut), then value, behind the object. */
@unmanaged
export class Pair {
  private hash: u32;
  /** Uses over all inodes. */
  count: u32;
  /** Offset in the shared table. */
  offset: u32;
  valueLength: u32;
  nameLength: u16;
  /** Length of the prefix that the index stands for (10.1), in the version that is written. */
  prefixLength: u8;
  index: u8;
  /** Bit number in the name filter. */
  bit: u8;
}

const PAIR_SIZE: usize = 24;

@inline
export function pairName(pair: Pair): usize {
  return changetype<usize>(pair) + PAIR_SIZE;
}

@inline
export function pairValue(pair: Pair): usize {
  return changetype<usize>(pair) + PAIR_SIZE + pair.nameLength;
}

/** By stored name. */
export function comparePairNames(a: usize, b: usize): i32 {
  const x = changetype<Pair>(a);
  const y = changetype<Pair>(b);
  return compareBytes(pairName(x), x.nameLength, pairName(y), y.nameLength);
}

/** By stored name, value length, value. */
export function comparePairs(a: usize, b: usize): i32 {
  const byName = comparePairNames(a, b);
  if (byName != 0) return byName;
  const x = changetype<Pair>(a);
  const y = changetype<Pair>(b);
  if (x.valueLength != y.valueLength) return x.valueLength < y.valueLength ? -1 : 1;
  return compareBytes(pairValue(x), x.valueLength, pairValue(y), y.valueLength);
}

/** The pairs of an inode, in the order of docs/spec/erofs.md 10.3. The addresses lie behind the object. */
@unmanaged
export class XattrSet {
  /** The next of all sets of the writer. */
  next: XattrSet;
  hash: u32;
  count: u32;
  /** Inodes that have it. */
  uses: u32;
  /** The sets with marker xattrs that were derived from this one, or none (overlay.ts). */
  asWhiteout: XattrSet;
  asParent: XattrSet;
  /** From here on for used sets, once the shared table is known (share.ts). */
  sharedCount: u32;
  /** Size of the entries that are not shared. */
  localSize: u32;
  /** Bits of the name filter. */
  filter: u32;
  /** Number of pairs before a metacopy and before a redirect xattr. */
  beforeMetacopy: u32;
  beforeRedirect: u32;
}

@inline
export function pairAt(set: XattrSet, index: u32): Pair {
  return changetype<Pair>(<usize>load<u32>(changetype<usize>(set) + offsetof<XattrSet>() + (<usize>index << 2)));
}

/** Where the addresses of the pairs are. */
@inline
export function pairsOf(set: XattrSet): usize {
  return changetype<usize>(set) + offsetof<XattrSet>();
}

/** The tables of one writer. */
@unmanaged
export class XattrTables {
  /** The set without pairs. */
  empty: XattrSet;
  /** All sets, the newest first. */
  first: XattrSet;
  /** The list that is being read (xattr-list.ts): `itemRoom` addresses, and as much room again for sorting. */
  items: usize;
  itemRoom: u32;
  itemCount: u32;
  private pairSlots: usize;
  private pairMask: u32;
  private pairCount: u32;
  private setSlots: usize;
  private setMask: u32;
  private setCount: u32;

  /** False at the memory limit. */
  init(arena: Arena): bool {
    this.pairMask = 63;
    this.pairSlots = arena.alloc(64 << 2);
    this.setMask = 63;
    this.setSlots = arena.alloc(64 << 2);
    if (this.pairSlots == 0 || this.setSlots == 0) return false;
    this.empty = this.set(arena, 0, 0);
    return changetype<usize>(this.empty) != 0;
  }

  /** The pair of a stored name and a value, which are copied if it is new. None at the memory limit. */
  pair(arena: Arena, name: usize, nameLength: u32, value: usize, valueLength: u32): Pair {
    const hash = hashBytes(value, valueLength, hashBytes(name, nameLength, 0));
    let index = hash;
    while (true) {
      const slot = this.pairSlots + (<usize>(index & this.pairMask) << 2);
      const at = <usize>load<u32>(slot);
      if (at == 0) break;
      const pair = changetype<Pair>(at);
      if (
        pair.hash == hash &&
        pair.nameLength == nameLength &&
        pair.valueLength == valueLength &&
        equalBytes(pairName(pair), name, nameLength) &&
        equalBytes(pairValue(pair), value, valueLength)
      ) {
        return pair;
      }
      index++;
    }
    if (this.pairCount * 4 >= this.pairMask * 3 && !this.growPairs(arena)) return changetype<Pair>(0);
    const pair = newPair(arena, name, nameLength, valueLength);
    if (changetype<usize>(pair) == 0) return pair;
    memory.copy(pairValue(pair), value, valueLength);
    pair.hash = hash;
    this.putPair(pair);
    this.pairCount++;
    return pair;
  }

  /** The set of these pairs (addresses at `pairs`, in their final order). None at the memory limit. */
  set(arena: Arena, pairs: usize, count: u32): XattrSet {
    const hash = hashBytes(pairs, count << 2, count);
    let index = hash;
    while (true) {
      const slot = this.setSlots + (<usize>(index & this.setMask) << 2);
      const at = <usize>load<u32>(slot);
      if (at == 0) break;
      const set = changetype<XattrSet>(at);
      if (set.hash == hash && set.count == count && equalBytes(pairsOf(set), pairs, count << 2)) return set;
      index++;
    }
    if (this.setCount * 4 >= this.setMask * 3 && !this.growSets(arena)) return changetype<XattrSet>(0);
    const at = arena.alloc(offsetof<XattrSet>() + (<usize>count << 2));
    if (at == 0) return changetype<XattrSet>(0);
    const set = changetype<XattrSet>(at);
    set.hash = hash;
    set.count = count;
    memory.copy(pairsOf(set), pairs, <usize>count << 2);
    set.next = this.first;
    this.first = set;
    this.putSet(set);
    this.setCount++;
    return set;
  }

  /** Number of slots that {@link pairInSlot} goes over. */
  get pairSlotCount(): u32 {
    return this.pairMask + 1;
  }

  /** The pair in the slot, or none. */
  @inline
  pairInSlot(index: u32): Pair {
    return changetype<Pair>(<usize>load<u32>(this.pairSlots + (<usize>index << 2)));
  }

  /** Makes room for more items. False at the memory limit. */
  growItems(arena: Arena): bool {
    const room = max<u32>(64, this.itemRoom << 1);
    const grown = arena.alloc(<usize>room << 3);
    if (grown == 0) return false;
    memory.copy(grown, this.items, <usize>this.itemCount << 2);
    this.items = grown;
    this.itemRoom = room;
    return true;
  }

  private putPair(pair: Pair): void {
    let index = pair.hash;
    while (load<u32>(this.pairSlots + (<usize>(index & this.pairMask) << 2)) != 0) index++;
    store<u32>(this.pairSlots + (<usize>(index & this.pairMask) << 2), <u32>changetype<usize>(pair));
  }

  private putSet(set: XattrSet): void {
    let index = set.hash;
    while (load<u32>(this.setSlots + (<usize>(index & this.setMask) << 2)) != 0) index++;
    store<u32>(this.setSlots + (<usize>(index & this.setMask) << 2), <u32>changetype<usize>(set));
  }

  private growPairs(arena: Arena): bool {
    const old = this.pairSlots;
    const count = this.pairMask + 1;
    const slots = arena.alloc(<usize>count << 3);
    if (slots == 0) return false;
    this.pairSlots = slots;
    this.pairMask = (count << 1) - 1;
    for (let i: u32 = 0; i < count; i++) {
      const at = <usize>load<u32>(old + (<usize>i << 2));
      if (at != 0) this.putPair(changetype<Pair>(at));
    }
    return true;
  }

  private growSets(arena: Arena): bool {
    const old = this.setSlots;
    const count = this.setMask + 1;
    const slots = arena.alloc(<usize>count << 3);
    if (slots == 0) return false;
    this.setSlots = slots;
    this.setMask = (count << 1) - 1;
    for (let i: u32 = 0; i < count; i++) {
      const at = <usize>load<u32>(old + (<usize>i << 2));
      if (at != 0) this.putSet(changetype<XattrSet>(at));
    }
    return true;
  }
}

/** A pair outside of the table, with room for the value. None at the memory limit. */
export function newPair(arena: Arena, name: usize, nameLength: u32, valueLength: u32): Pair {
  const at = arena.alloc(PAIR_SIZE + nameLength + valueLength);
  if (at == 0) return changetype<Pair>(0);
  const pair = changetype<Pair>(at);
  pair.nameLength = <u16>nameLength;
  pair.valueLength = valueLength;
  memory.copy(pairName(pair), name, nameLength);
  return pair;
}
