// The xattrs of the tree, out of those of the image (docs/spec/erofs.md, 17.6): what the writer put in is dropped, what it
// escaped is unescaped.

import { Inode } from "./inode";
import { compareNames, Meaning, OVERLAY_LENGTH, TRUSTED_INDEX } from "./xattr-names";
import { Xattr, XattrList, hasMarkerValue, makeSortRoom, sortXattrs, xattrAt } from "./xattrs";

/** Number of xattrs that the last `keepXattrs` kept. */
export let keptCount: u32 = 0;

/**
 * Addresses of the xattrs that belong to the tree (u32 each, in the order of the image); valid until the next call with this
 * list. `removed` are the meanings, as a bit set, of which one marker with the writer's value is dropped.
 * 0 after a refusal; that is only at the memory limit.
 */
export function keepXattrs(list: XattrList, removed: u32): usize {
  if (!makeSortRoom(list)) return 0;
  const kept = list.sorted;
  keptCount = 0;
  for (let i: u32 = 0; i < list.count; i++) {
    const xattr = xattrAt(list, i);
    const meaning = xattr.meaning;
    if (meaning >= Meaning.METACOPY && meaning <= Meaning.OVERLAY) continue;
    if (((removed >> meaning) & 1) != 0 && hasMarkerValue(xattr)) {
      removed ^= 1 << meaning;
      continue;
    }
    store<u32>(kept + (<usize>(keptCount++) << 2), <u32>changetype<usize>(xattr));
  }
  return kept;
}

/** Sorts what `keepXattrs` answered as the C tools print them: those that only this inode has by name, then the shared ones. */
export function sortKeptLocalFirst(list: XattrList, inode: Inode): void {
  localStart = inode.xattrs;
  localEnd = inode.xattrs + inode.xattrSize;
  sortXattrs(list, keptCount, compareLocalFirst);
}

let localStart: usize = 0;
let localEnd: usize = 0;

@inline
function isShared(xattr: Xattr): bool {
  return xattr.entry < localStart || xattr.entry >= localEnd;
}

function compareLocalFirst(a: usize, b: usize): i32 {
  const first = isShared(changetype<Xattr>(a));
  const second = isShared(changetype<Xattr>(b));
  if (first != second) return first ? 1 : -1;
  return compareUnescaped(a, b);
}

/** Sorts what `keepXattrs` answered by name. */
export function sortKept(list: XattrList): void {
  sortXattrs(list, keptCount, compareUnescaped);
}

function compareUnescaped(a: usize, b: usize): i32 {
  const x = changetype<Xattr>(a);
  const y = changetype<Xattr>(b);
  return compareNames(x.index, keptName(x), keptNameLength(x), y.index, keptName(y), keptNameLength(y));
}

/** Length of the `overlay.` that the writer put in. */
@inline
function escapeLength(xattr: Xattr): u32 {
  const isEscaped = xattr.index == TRUSTED_INDEX && xattr.meaning >= Meaning.ESCAPED;
  return isEscaped ? OVERLAY_LENGTH : 0;
}

/** Where the name without escape is, behind the prefix of the index. */
@inline
export function keptName(xattr: Xattr): usize {
  return xattr.name + escapeLength(xattr);
}

@inline
export function keptNameLength(xattr: Xattr): u32 {
  return xattr.nameLength - escapeLength(xattr);
}
