// Rules beyond being readable (docs/spec/erofs.md, 17.10): what every image of the writers satisfies. The walk of load.ts
// calls in here for each inode; what does not hold is kept as a finding, with the first ones told in full.

import { equalBytes } from "../erofs/bytes";
import { refuseMemory, say, sayNumber } from "../erofs/failure";
import { writeHex } from "../erofs/hex";
import { BLOCK, Image, SLOT, atInode, hasStubs, refuseImage, refuseValue, slice } from "./image";
import { CHUNK_BASED, FLAT_INLINE, Inode, SYMLINK, typeOf } from "./inode";
import { digestOf } from "./leaf";
import { atName } from "./load";
import { DirectoryRecord, Reader } from "./reader";
import { Meaning } from "./xattr-names";
import { XattrList, hasMeaning, xattrAt } from "./xattrs";

/** Findings beyond this number are only counted. */
const MAX_KEPT: u32 = 1000;

export namespace Rule {
  export const HEADER_PADDING: u32 = 1;
  export const BLOCKS: u32 = 2;
  export const INODES: u32 = 3;
  export const STUBS: u32 = 4;
  export const SYMLINK_BLOCK: u32 = 5;
  export const OVERLAY_XATTR: u32 = 6;
  export const ROOT_OPAQUE: u32 = 7;
  export const CHUNK_BITS: u32 = 8;
  export const CHUNK_ARRAY: u32 = 9;
  export const REPOSITORY: u32 = 10;
}

/** A rule that does not hold, and where. */
@unmanaged
class Finding {
  next: Finding;
  rule: u32;
  nid: u32;
  /** The directory and name; none for the image as a whole. */
  parent: DirectoryRecord;
  name: usize;
  nameLength: u32;
}

export function resetFindings(reader: Reader): void {
  reader.findings = 0;
  reader.lastFinding = 0;
  reader.findingsKept = 0;
  reader.findingCount = 0;
}

/** False at the memory limit. */
function report(
  reader: Reader,
  rule: u32,
  nid: u32,
  parent: DirectoryRecord,
  name: usize,
  nameLength: u32,
): bool {
  reader.findingCount++;
  if (reader.findingsKept == MAX_KEPT) return true;
  const at = reader.found.alloc(offsetof<Finding>());
  if (at == 0) return refuseMemory();
  const finding = changetype<Finding>(at);
  finding.rule = rule;
  finding.nid = nid;
  finding.parent = parent;
  finding.name = name;
  finding.nameLength = nameLength;
  if (reader.findings == 0) reader.findings = at;
  else changetype<Finding>(reader.lastFinding).next = finding;
  reader.lastFinding = at;
  reader.findingsKept++;
  return true;
}

/** Checks an inode whose xattrs are in the reader's list. False at the memory limit. */
export function checkInode(reader: Reader, inode: Inode, parent: DirectoryRecord, name: usize, nameLength: u32): bool {
  const image = reader.image;
  const isExternal = inode.layout == CHUNK_BASED;
  let rule: u32 = 0;
  if (typeOf(inode) == SYMLINK && !isInOneBlock(image, inode)) rule = Rule.SYMLINK_BLOCK;
  if (rule != 0 && !report(reader, rule, inode.nid, parent, name, nameLength)) return false;
  rule = overlayRule(reader, inode, changetype<usize>(parent) == 0);
  if (rule != 0 && !report(reader, rule, inode.nid, parent, name, nameLength)) return false;
  if (!isExternal) return true;
  rule = chunkRule(reader, inode);
  if (rule != 0 && !report(reader, rule, inode.nid, parent, name, nameLength)) return false;
  if (!reader.checkRepository || redirectIsObject(reader)) return true;
  return report(reader, Rule.REPOSITORY, inode.nid, parent, name, nameLength);
}

/** Kernels before 6.12 refuse an inline symlink that crosses a block. */
function isInOneBlock(image: Image, inode: Inode): bool {
  if (!hasStubs(image) || inode.layout != FLAT_INLINE) return true;
  const start = inode.nid * SLOT;
  return (start % BLOCK) + (inode.tailOffset - start) + <u32>inode.size <= BLOCK;
}

/** Unescaped overlay xattrs are only those that the writer makes. */
function overlayRule(reader: Reader, inode: Inode, isRoot: bool): u32 {
  const list = reader.xattrs;
  if (hasMeaning(list, Meaning.OVERLAY)) return Rule.OVERLAY_XATTR;
  const isExternal = inode.layout == CHUNK_BASED;
  if (!isExternal && (hasMeaning(list, Meaning.METACOPY) || hasMeaning(list, Meaning.REDIRECT))) return Rule.OVERLAY_XATTR;
  const isOpaque = hasMeaning(list, Meaning.OPAQUE);
  if (!isRoot || !hasStubs(reader.image)) return isOpaque ? Rule.OVERLAY_XATTR : 0;
  return isOpaque && isYes(list) ? 0 : Rule.ROOT_OPAQUE;
}

/** Whether trusted.overlay.opaque, which is there, has the value `y`. */
function isYes(list: XattrList): bool {
  for (let i: u32 = 0; i < list.count; i++) {
    const xattr = xattrAt(list, i);
    if (xattr.meaning == Meaning.OPAQUE) return xattr.valueLength == 1 && load<u8>(xattr.value) == 0x79;
  }
  return false;
}

/** A larger array can be moved to a data block, where readers do not look for it (12.1). */
const MAX_CHECKED_ARRAY: u64 = 4064;

function chunkRule(reader: Reader, inode: Inode): u32 {
  const image = reader.image;
  const format = inode.union & 0xffff;
  let chunks: u64 = 1;
  if (hasStubs(image)) {
    const bits = inode.size == 0 ? 12 : min(max<u64>(64 - clz(inode.size - 1), 12), 43);
    if (<u64>format != bits - 12) return Rule.CHUNK_BITS;
    chunks = inode.size == 0 ? 0 : ((inode.size - 1) >> bits) + 1;
  } else {
    if (format != 31) return Rule.CHUNK_BITS;
    if (digestOf(reader.xattrs) == 0) return 0;
  }
  const length = chunks << 2;
  if (length > MAX_CHECKED_ARRAY) return 0;
  // The arrays count as part of the inodes, so that the time for overlapping ones is bounded too.
  const at: usize = length > reader.budget ? 0 : slice(image, inode.tailOffset, length);
  if (at == 0) return Rule.CHUNK_ARRAY;
  reader.budget -= length;
  for (let i: u32 = 0; i < <u32>length; i += 4) if (load<u32>(at + i) != u32.MAX_VALUE) return Rule.CHUNK_ARRAY;
  return 0;
}

const PATH: usize = memory.data(136, 16);

/** Whether an external file with a digest redirects to the object of that digest. */
function redirectIsObject(reader: Reader): bool {
  const list = reader.xattrs;
  const digest = digestOf(list);
  if (digest == 0) return true;
  if (!hasMeaning(list, Meaning.REDIRECT)) return false;
  const redirect = xattrAt(list, list.redirect);
  const digits = reader.digestSize << 1;
  if (redirect.valueLength != digits + 2) return false;
  // "/", two digits, "/", the rest
  writeHex(digest, reader.digestSize, PATH + 1);
  store<u8>(PATH, load<u8>(PATH + 1));
  store<u8>(PATH + 1, load<u8>(PATH + 2));
  store<u8>(PATH + 2, 0x2f);
  return load<u8>(redirect.value) == 0x2f && equalBytes(redirect.value + 1, PATH, digits + 1);
}

/** Rules about the headers, after the walk. False at the memory limit. */
export function checkHeaders(reader: Reader): bool {
  const image = reader.image;
  let padding: u64 = 0;
  for (let at = image.base + 16; at < image.base + 1024; at += 8) padding |= load<u64>(at);
  const none = changetype<DirectoryRecord>(0);
  if (padding != 0 && !report(reader, Rule.HEADER_PADDING, 0, none, 0, 0)) return false;
  if (<u64>image.blocks * BLOCK != image.size && !report(reader, Rule.BLOCKS, 0, none, 0, 0)) return false;
  return image.inodes == reader.inodeCount ? true : report(reader, Rule.INODES, 0, none, 0, 0);
}

/** Rules about the root, after the walk. False at the memory limit. */
export function checkRoot(reader: Reader): bool {
  if (!hasStubs(reader.image) || reader.stubNames == 256) return true;
  return report(reader, Rule.STUBS, reader.image.root, changetype<DirectoryRecord>(0), 0, 0);
}

/** Makes the next finding the refusal that failure.ts holds, and forgets it. False when there is none left. */
export function takeFinding(reader: Reader): bool {
  if (reader.findings == 0) return false;
  const finding = changetype<Finding>(reader.findings);
  reader.findings = changetype<usize>(finding.next);
  tell(reader, finding.rule);
  if (finding.nid == 0) return true;
  atInode(finding.nid);
  atName(finding.parent, finding.name, finding.nameLength);
  return true;
}

function tell(reader: Reader, rule: u32): bool {
  const image = reader.image;
  switch (rule) {
    case Rule.HEADER_PADDING:
      return refuseImage("header padding", "the bytes between the two headers are not all 0");
    case Rule.BLOCKS:
      refuseValue("blocks", "the number of blocks in the superblock is ", image.blocks);
      say(", but the image has ");
      sayNumber(image.size);
      return say(" bytes");
    case Rule.INODES:
      refuseValue("inos", "the number of inodes in the superblock is ", image.inodes);
      say(", but the tree has ");
      return sayNumber(reader.inodeCount);
    case Rule.STUBS:
      refuseValue("stubs", "the root has not all 256 names 00 to ff but ", reader.stubNames);
      return say(" of them");
    case Rule.SYMLINK_BLOCK:
      return refuseImage("symlink block", "an inline symlink crosses a block, which kernels before 6.12 refuse");
    case Rule.OVERLAY_XATTR:
      return refuseImage("overlay xattr", "a trusted.overlay xattr that no writer puts there");
    case Rule.ROOT_OPAQUE:
      return refuseImage("root opaque", "the root has no trusted.overlay.opaque=y");
    case Rule.CHUNK_BITS:
      return refuseImage("chunk bits", "the chunk size of an external file is not the one for its size");
    case Rule.CHUNK_ARRAY:
      return refuseImage("chunk array", "the chunk array of an external file is missing or names blocks");
    default:
      return refuseImage("redirect", "the redirect of a file is not the object of its digest");
  }
}
