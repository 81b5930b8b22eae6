// The objects that an image needs (docs/spec/erofs.md, 17.8): digests from metacopy xattrs, and object ids that redirects
// name. Collected as addresses of raw digests and sorted; a hash table would be slow for digests made to collide.

import { compareBytes, equalBytes } from "../erofs/bytes";
import { refuseMemory } from "../erofs/failure";
import { readHex, writeHex } from "../erofs/hex";
import { sortAddresses } from "../erofs/sort";
import { CHUNK_BASED, Inode } from "./inode";
import { digestOf } from "./leaf";
import { Reader } from "./reader";
import { Meaning } from "./xattr-names";
import { Xattr, hasMeaning, xattrAt } from "./xattrs";

export function resetObjects(reader: Reader): void {
  reader.digests = 0;
  reader.digestRoom = 0;
  reader.digestCount = 0;
  reader.digestsGiven = 0;
}

const DIGITS: usize = memory.data(128, 16);
const PARSED: usize = memory.data(64, 16);

/** Adds the objects of an inode whose xattrs are in the reader's list. False at the memory limit. */
export function collectObjects(reader: Reader, inode: Inode): bool {
  if (inode.layout != CHUNK_BASED) return true;
  const list = reader.xattrs;
  const digest = digestOf(list);
  if (digest != 0 && !addDigest(reader, digest)) return false;
  if (!hasMeaning(list, Meaning.REDIRECT)) return true;
  if (!parseRedirect(xattrAt(list, list.redirect), reader.digestSize)) return true;
  if (digest != 0 && equalBytes(digest, PARSED, reader.digestSize)) return true;
  const copy = reader.found.alloc(reader.digestSize);
  if (copy == 0) return refuseMemory();
  memory.copy(copy, PARSED, reader.digestSize);
  return addDigest(reader, copy);
}

/** Whether the redirect ends in an object path `hh/hex...`, whose raw digest is then at PARSED. */
function parseRedirect(redirect: Xattr, digestSize: u32): bool {
  const digits = digestSize << 1;
  if (redirect.valueLength < digits + 1) return false;
  const path = redirect.value + (redirect.valueLength - digits - 1);
  if (load<u8>(path, 2) != 0x2f) return false;
  store<u16>(DIGITS, load<u16>(path));
  memory.copy(DIGITS + 2, path + 3, digits - 2);
  return readHex(DIGITS, digits, PARSED, false);
}

/** Bytes of the smallest inode that needs an object: with an xattr area that holds an empty metacopy. */
const MIN_EXTERNAL: u32 = 64;

function addDigest(reader: Reader, digest: usize): bool {
  if (reader.digestCount == reader.digestRoom) {
    // The number of inodes that the image claims saves growing, which leaves the smaller lists behind. It may be a lie.
    const claimed = <u32>min<u64>(reader.image.inodes, reader.image.size / MIN_EXTERNAL);
    const room = reader.digestRoom == 0 ? max<u32>(256, claimed) : reader.digestRoom << 1;
    const grown = reader.found.alloc(<usize>room << 2);
    if (grown == 0) return refuseMemory();
    memory.copy(grown, reader.digests, <usize>reader.digestCount << 2);
    reader.digests = grown;
    reader.digestRoom = room;
  }
  store<u32>(reader.digests + (<usize>(reader.digestCount++) << 2), <u32>digest);
  return true;
}

const BUCKETS: u32 = 65536;
let comparedLength: u32 = 0;

function compareDigests(a: usize, b: usize): i32 {
  return compareBytes(a, comparedLength, b, comparedLength);
}

@inline
function bucketOf(digest: usize): u32 {
  return bswap<u16>(load<u16>(digest));
}

/** Sorts the digests and drops those that are there twice: by their first two bytes, then each bucket on its own. */
export function sortObjects(reader: Reader): bool {
  const count = reader.digestCount;
  if (count < 2) return true;
  const ends = reader.found.alloc(<usize>BUCKETS << 2);
  const sorted = reader.found.alloc(<usize>count << 2);
  if (ends == 0 || sorted == 0) return refuseMemory();
  const digests = reader.digests;
  for (let i: u32 = 0; i < count; i++) {
    const counter = ends + (<usize>bucketOf(digestAt(digests, i)) << 2);
    store<u32>(counter, load<u32>(counter) + 1);
  }
  let start: u32 = 0;
  for (let bucket: u32 = 0; bucket < BUCKETS; bucket++) {
    const counter = ends + (<usize>bucket << 2);
    const size = load<u32>(counter);
    store<u32>(counter, start);
    start += size;
  }
  // The counters go from the starts of the buckets to their ends.
  for (let i: u32 = 0; i < count; i++) {
    const digest = digestAt(digests, i);
    const counter = ends + (<usize>bucketOf(digest) << 2);
    const position = load<u32>(counter);
    store<u32>(sorted + (<usize>position << 2), <u32>digest);
    store<u32>(counter, position + 1);
  }
  comparedLength = reader.digestSize;
  start = 0;
  for (let bucket: u32 = 0; bucket < BUCKETS; bucket++) {
    const end = load<u32>(ends + (<usize>bucket << 2));
    if (end - start > 1) {
      sortAddresses(sorted + (<usize>start << 2), end - start, digests + (<usize>start << 2), compareDigests);
    }
    start = end;
  }
  dropRepeated(reader, sorted);
  return true;
}

@inline
function digestAt(digests: usize, i: u32): usize {
  return <usize>load<u32>(digests + (<usize>i << 2));
}

function dropRepeated(reader: Reader, sorted: usize): void {
  let kept: u32 = 1;
  for (let i: u32 = 1; i < reader.digestCount; i++) {
    const digest = digestAt(sorted, i);
    if (equalBytes(digestAt(sorted, kept - 1), digest, reader.digestSize)) continue;
    store<u32>(sorted + (<usize>(kept++) << 2), <u32>digest);
  }
  reader.digests = sorted;
  reader.digestCount = kept;
}

/** Fills `window` with lines of hex digits; answers the length, 0 at the end. */
export function writeObjects(reader: Reader, window: usize, room: u32): u32 {
  const line = (reader.digestSize << 1) + 1;
  let length: u32 = 0;
  while (reader.digestsGiven < reader.digestCount && length + line <= room) {
    writeHex(digestAt(reader.digests, reader.digestsGiven++), reader.digestSize, window + length);
    length += line;
    store<u8>(window + length - 1, 0x0a);
  }
  return length;
}
