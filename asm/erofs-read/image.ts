// The image in memory, and its two headers (docs/spec/erofs.md, 4, 5 and 17.1). Nothing in an image is trusted: every
// address in this folder comes out of `slice`, which checks it, or lies inside a slice whose length was asked for.

import { FailureCode, refuse, say, sayNumber } from "../erofs/failure";

export const BLOCK: u32 = 4096;
export const SLOT: u32 = 32;
const SUPERBLOCK: usize = 1024;
const HEADER_MAGIC: u32 = 0xd078629a;
const EROFS_MAGIC: u32 = 0xe0f5e1e2;
/** Offset of the first inode that can be. */
export const FIRST_INODE: u32 = 1152;
export const NSEC_END: u32 = 1000000000;

@unmanaged
export class Image {
  /** Where the bytes are; all offsets count from here. */
  base: usize;
  /** Bytes that are there. */
  size: u32;
  /** Bytes that were announced. */
  room: u32;
  /** composefs_version, 0..2. */
  version: u32;
  flags: u32;
  root: u32;
  /** Offset that shared xattr ids count from. */
  sharedXattrs: u32;
  blocks: u32;
  buildNsec: u32;
  inodes: u64;
  buildSec: i64;
}

/** The address of `length` bytes at `offset`, or 0 if they are not all inside the image. */
@inline
export function slice(image: Image, offset: u64, length: u64): usize {
  const size = <u64>image.size;
  if (offset > size || length > size - offset) return 0;
  return image.base + <usize>offset;
}

/** Whether one of the bytes is 0. They are inside a slice. */
export function hasNul(at: usize, length: u32): bool {
  const end = at + length;
  for (; at + 16 <= end; at += 16) if (!i8x16.all_true(v128.load(at))) return true;
  for (; at < end; at++) if (load<u8>(at) == 0) return true;
  return false;
}

/** Starts the refusal of an image: `rule` is the short name of the rule, which goes into the field. Answers false. */
export function refuseImage(rule: string, message: string): bool {
  return refuse(FailureCode.SYNTAX, rule, message);
}

/** A refusal whose message ends in a number. Answers false. */
export function refuseValue(rule: string, message: string, value: u64): bool {
  refuse(FailureCode.SYNTAX, rule, message);
  return sayNumber(value);
}

/** Whether the image is version 0 or 1, whose whiteouts are rewritten for overlayfs. */
@inline
export function hasStubs(image: Image): bool {
  return image.version < 2;
}

/** Reads both headers (17.1). */
export function openImage(image: Image): bool {
  if (image.size < BLOCK) {
    refuseValue("size", "an image has at least 4096 bytes, not ", image.size);
    return false;
  }
  const header = image.base;
  if (load<u32>(header) != HEADER_MAGIC) return refuseImage("composefs magic", "the composefs magic is missing");
  if (load<u32>(header, 4) != 1) return refuseValue("header version", "the header version is not 1 but ", load<u32>(header, 4));
  image.flags = load<u32>(header, 8);
  image.version = load<u32>(header, 12);
  if (image.version > 2) {
    return refuseValue("composefs_version", "composefs_version is not 0, 1 or 2 but ", image.version);
  }
  return openSuperblock(image, image.base + SUPERBLOCK);
}

function openSuperblock(image: Image, at: usize): bool {
  if (load<u32>(at) != EROFS_MAGIC) return refuseImage("erofs magic", "the EROFS magic is missing");
  const compatible = load<u32>(at, 8);
  if ((compatible & ~7) != 0) return refuseValue("feature_compat", "unknown compatible features ", compatible);
  const incompatible = load<u32>(at, 80);
  if ((incompatible & ~4) != 0) return refuseValue("feature_incompat", "unsupported features ", incompatible);
  if (load<u8>(at, 12) != 12) return refuseValue("blkszbits", "the block size is not 2^12 but 2^", load<u8>(at, 12));
  const unused =
    load<u8>(at, 13) | load<u32>(at, 40) | load<u16>(at, 84) | load<u16>(at, 86) | load<u8>(at, 90) | load<u8>(at, 91);
  if (unused != 0 || load<u64>(at, 96) != 0) {
    return refuseImage(
      "superblock features",
      "one of extslots, meta_blkaddr, compression algorithms, extra devices, dirblkbits, xattr prefixes, packed inode is not 0",
    );
  }
  image.root = load<u16>(at, 14);
  image.inodes = load<u64>(at, 16);
  image.buildSec = load<i64>(at, 24);
  image.buildNsec = load<u32>(at, 32);
  if (image.buildNsec >= NSEC_END) {
    return refuseValue("build_time", "the build time has too many nanoseconds: ", image.buildNsec);
  }
  image.blocks = load<u32>(at, 36);
  const sharedBlock = <u64>load<u32>(at, 44);
  if (sharedBlock * BLOCK > image.size) {
    return refuseValue("xattr_blkaddr", "the shared xattrs begin behind the end of the image, in block ", sharedBlock);
  }
  image.sharedXattrs = <u32>(sharedBlock * BLOCK);
  return true;
}

/** Appends " (inode N)" to the refusal. Answers false. */
export function atInode(nid: u64): bool {
  say(" (inode ");
  sayNumber(nid);
  return say(")");
}
