// The xattr area of an inode (docs/spec/erofs.md, 10.2): its size, and writing it.

import { Digest } from "./digests";
import { FailureCode, refuse, say, sayNumber } from "./failure";
import { METACOPY_NAME, REDIRECT_NAME, TRUSTED_INDEX, TRUSTED_LENGTH } from "./overlay-names";
import { storeMetacopy, storeRedirect } from "./overlay-values";
import {
  MAX_IDS,
  entrySize,
  filterBits,
  idCount,
  isShared,
  localBytes,
  localMetacopySize,
  localRedirectSize,
  measureXattrs,
} from "./share";
import { Inode, InodeFlag, Leaf } from "./tree";
import { Writer } from "./writer";
import { Pair, pairAt, pairName, pairValue } from "./xattrs";

const AREA_HEADER: u32 = 12;
/** From so many shared pairs on the count byte would wrap. */
const TOO_MANY_IDS: u32 = 256;
/** The largest area that xattr_icount can say. */
const MAX_AREA: u32 = 12 + 4 * 65534;

// The walk over one inode's xattrs, in order: either only summing up, or writing.
let writing: bool = false;
let limit: u32 = 0;
let ids: u32 = 0;
let idAt: usize = 0;
let localAt: usize = 0;
let localTotal: u32 = 0;
let firstId: u32 = 0;

/** Sets the size of the inode's area. */
export function measureArea(writer: Writer, inode: Inode): bool {
  if (!measureXattrs(writer, inode)) {
    inode.xattrSize = 0;
    return true;
  }
  if (idCount >= TOO_MANY_IDS) {
    refuse(FailureCode.LIMIT, "XATTR", "the file has ");
    sayNumber(idCount);
    return say(" xattrs in common with other files; an image can hold 255");
  }
  let size = AREA_HEADER + 4 * idCount + localBytes;
  if (idCount > MAX_IDS && writer.dialectC) {
    startWalk(writer, false);
    walk(writer, inode);
    size = AREA_HEADER + 4 * ids + localTotal;
  }
  if (size > MAX_AREA) {
    refuse(FailureCode.LIMIT, "XATTR", "the xattrs take ");
    sayNumber(size);
    return say(" bytes in the image; an inode can hold 262148");
  }
  inode.xattrSize = size;
  return true;
}

/** Writes the inode's area, whose size is known. The memory is zero. */
export function storeArea(writer: Writer, inode: Inode, to: usize): void {
  measureXattrs(writer, inode);
  startWalk(writer, true);
  // The number of ids is what the limit leaves.
  const count = min(idCount, limit);
  store<u32>(to, ~filterBits);
  store<u8>(to, <u8>count, 4);
  idAt = to + AREA_HEADER;
  localAt = idAt + (<usize>count << 2);
  walk(writer, inode);
}

function startWalk(writer: Writer, write: bool): void {
  writing = write;
  limit = writer.dialectC ? MAX_IDS : TOO_MANY_IDS;
  ids = 0;
  localTotal = 0;
  const base = writer.version == 2 ? writer.inodesEnd : writer.inodesEnd & 4095;
  firstId = <u32>(base >> 2);
}

function walk(writer: Writer, inode: Inode): void {
  const set = inode.xattrs;
  const external = (inode.flags & InodeFlag.EXTERNAL) != 0;
  for (let i: u32 = 0; i < set.count; i++) {
    if (external) walkOverlay(writer, changetype<Leaf>(inode), i);
    walkPair(pairAt(set, i));
  }
  if (external) walkOverlay(writer, changetype<Leaf>(inode), set.count);
}

/** The overlay xattrs that come before the set's pair of that index. */
@inline
function walkOverlay(writer: Writer, leaf: Leaf, index: u32): void {
  const set = leaf.xattrs;
  if (index == set.beforeMetacopy) walkMetacopy(writer, leaf);
  if (index == set.beforeRedirect && leaf.redirect != 0) walkRedirect(writer, leaf);
}

function walkPair(pair: Pair): void {
  if (isShared(pair) && ids < limit) return walkId(pair);
  const size = entrySize(pair);
  localTotal += size;
  if (!writing) return;
  storeEntry(pair, localAt);
  localAt += size;
}

function walkId(pair: Pair): void {
  ids++;
  if (!writing) return;
  store<u32>(idAt, firstId + (pair.offset >> 2));
  idAt += 4;
}

/** Writes an entry (10.1); the memory is zero. */
export function storeEntry(pair: Pair, to: usize): void {
  const suffixLength = pair.nameLength - pair.prefixLength;
  store<u8>(to, <u8>suffixLength);
  store<u8>(to, pair.index, 1);
  store<u16>(to, <u16>pair.valueLength, 2);
  memory.copy(to + 4, pairName(pair) + pair.prefixLength, suffixLength);
  memory.copy(to + 4 + suffixLength, pairValue(pair), pair.valueLength);
}

/** The head of an unshared entry of the `trusted.` namespace with a name of 24 bytes. */
@inline
function storeOverlayHead(name: usize, valueLength: u32, to: usize): void {
  store<u8>(to, <u8>(24 - TRUSTED_LENGTH));
  store<u8>(to, TRUSTED_INDEX, 1);
  store<u16>(to, <u16>valueLength, 2);
  v128.store(to + 4, v128.load(name + TRUSTED_LENGTH));
}

function walkMetacopy(writer: Writer, leaf: Leaf): void {
  if (leaf.data == 0) return walkPair(writer.emptyMetacopy);
  const digest = changetype<Digest>(leaf.data);
  if (digest.metacopy > 1) return walkPair(changetype<Pair>(digest.metacopy));
  const size = localMetacopySize(writer.digestSize);
  localTotal += size;
  if (!writing) return;
  storeOverlayHead(METACOPY_NAME, 4 + writer.digestSize, localAt);
  storeMetacopy(digest, writer.digestSize, localAt + 20);
  localAt += size;
}

function walkRedirect(writer: Writer, leaf: Leaf): void {
  if ((leaf.flags & InodeFlag.REDIRECT_PAIR) != 0) return walkPair(changetype<Pair>(leaf.redirect));
  const digest = changetype<Digest>(leaf.redirect);
  if (digest.redirect > 1) return walkPair(changetype<Pair>(digest.redirect));
  const size = localRedirectSize(writer.digestSize);
  localTotal += size;
  if (!writing) return;
  storeOverlayHead(REDIRECT_NAME, 2 + 2 * writer.digestSize, localAt);
  storeRedirect(digest, writer.digestSize, localAt + 20);
  localAt += size;
}
