// Inodes as they are stored (docs/spec/erofs.md, 6 and 17.2).

import { BLOCK, FIRST_INODE, Image, NSEC_END, SLOT, atInode, refuseImage, refuseValue, slice } from "./image";

export const TYPE_MASK: u32 = 0o170000;
export const FIFO: u32 = 0o010000;
export const CHAR: u32 = 0o020000;
export const DIRECTORY: u32 = 0o040000;
export const BLOCK_DEVICE: u32 = 0o060000;
export const REGULAR: u32 = 0o100000;
export const SYMLINK: u32 = 0o120000;
export const SOCKET: u32 = 0o140000;

export const FLAT_PLAIN: u32 = 0;
export const FLAT_INLINE: u32 = 2;
export const CHUNK_BASED: u32 = 4;

/** An inode that was read. Addresses are inside the image. */
@unmanaged
export class Inode {
  size: u64;
  mtimeSec: i64;
  nid: u32;
  mode: u32;
  layout: u32;
  nlink: u32;
  uid: u32;
  gid: u32;
  nsec: u32;
  /** First block, device number or chunk format. */
  union: u32;
  /** The xattr area and its size; 0 without xattrs. */
  xattrs: usize;
  xattrSize: u32;
  /** Offset of what follows the xattrs. */
  tailOffset: u32;
  /** Full blocks of data: address (0 if there are none) and number. The last one of FLAT_PLAIN may be cut short. */
  blocks: usize;
  blockCount: u32;
  /** Data behind the xattrs: address (0 if there are none) and length. */
  tail: usize;
  tailLength: u32;
}

@inline
export function typeOf(inode: Inode): u32 {
  return inode.mode & TYPE_MASK;
}

/** A regular file has this entry type. */
export const REGULAR_ENTRY: u32 = 1;

/** Type of a directory entry for an inode of that mode; 0 for modes of no type. */
export function entryType(mode: u32): u32 {
  const type = mode & TYPE_MASK;
  if (type == REGULAR) return REGULAR_ENTRY;
  if (type == DIRECTORY) return 2;
  if (type == CHAR) return 3;
  if (type == BLOCK_DEVICE) return 4;
  if (type == FIFO) return 5;
  if (type == SOCKET) return 6;
  return type == SYMLINK ? 7 : 0;
}

/** Whether data of that type can be in the image: directories, regular files and symlinks. */
@inline
function hasData(type: u32): bool {
  return type == DIRECTORY || type == REGULAR || type == SYMLINK;
}

/** Bytes of the image that belong to the inode, chunk arrays left out. */
export function extentOf(inode: Inode, image: Image): u64 {
  const head = <u64>inode.tailOffset - <u64>inode.nid * SLOT;
  return head + <u64>inode.blockCount * BLOCK + inode.tailLength;
}

/** Reads inode `nid` into `into`. Refusals name the inode. */
export function readInode(image: Image, nid: u64, into: Inode): bool {
  // The caller has checked nid < 2^58, so no product wraps.
  const at: usize = nid * SLOT < FIRST_INODE ? 0 : slice(image, nid * SLOT, 32);
  if (at == 0) return refuseValue("inode position", "the image has no inode ", nid);
  into.nid = <u32>nid;
  return readFields(image, at, into) && readXattrArea(image, into) && readData(image, into) ? true : atInode(nid);
}

function readFields(image: Image, at: usize, into: Inode): bool {
  const format = <u32>load<u16>(at);
  if (format >> 4 != 0) return refuseValue("i_format", "unknown bits in the inode's format ", format);
  into.layout = format >> 1;
  if ((into.layout & 1) != 0 || into.layout > 4) return refuseValue("data layout", "unsupported data layout ", into.layout);
  into.mode = load<u16>(at, 4);
  if (entryType(into.mode) == 0) return refuseValue("mode", "no file has the type of mode ", into.mode);
  into.union = load<u32>(at, 16);
  const xattrCount = <u32>load<u16>(at, 2);
  into.xattrSize = xattrCount == 0 ? 0 : 12 + ((xattrCount - 1) << 2);
  let header: u32 = 32;
  if ((format & 1) == 0) {
    into.nlink = load<u16>(at, 6);
    into.size = load<u32>(at, 8);
    into.uid = load<u16>(at, 24);
    into.gid = load<u16>(at, 26);
    into.mtimeSec = image.buildSec;
    into.nsec = image.buildNsec;
  } else {
    header = 64;
    if (slice(image, <u64>into.nid * SLOT, 64) == 0) {
      return refuseImage("inode position", "the image ends inside an inode");
    }
    into.size = load<u64>(at, 8);
    into.uid = load<u32>(at, 24);
    into.gid = load<u32>(at, 28);
    into.mtimeSec = load<i64>(at, 32);
    into.nsec = load<u32>(at, 40);
    into.nlink = load<u32>(at, 44);
    if (into.nsec >= NSEC_END) return refuseValue("mtime", "the time has too many nanoseconds: ", into.nsec);
  }
  // Fits u32, as the header is inside the image and xattr areas are small.
  into.tailOffset = into.nid * SLOT + header + into.xattrSize;
  return true;
}

function readXattrArea(image: Image, into: Inode): bool {
  into.xattrs = 0;
  if (into.xattrSize == 0) return true;
  into.xattrs = slice(image, <u64>into.tailOffset - into.xattrSize, into.xattrSize);
  if (into.xattrs == 0) return refuseImage("xattr bounds", "the xattrs reach behind the end of the image");
  return true;
}

function readData(image: Image, into: Inode): bool {
  into.blocks = 0;
  into.blockCount = 0;
  into.tail = 0;
  into.tailLength = 0;
  const type = typeOf(into);
  if (!hasData(type)) {
    if (into.layout != FLAT_PLAIN) return refuseValue("special layout", "a device, fifo or socket has data layout ", into.layout);
    if (into.size != 0) return refuseValue("special size", "a device, fifo or socket has size ", into.size);
    return true;
  }
  if (into.layout == CHUNK_BASED) {
    if (type != REGULAR) return refuseImage("chunked type", "only a regular file can be external");
    return true;
  }
  if (into.size > image.size) return refuseValue("data size", "the data are larger than the image: ", into.size);
  const size = <u32>into.size;
  const partial = size % BLOCK;
  into.blockCount = size / BLOCK + <u32>(into.layout == FLAT_PLAIN && partial != 0);
  if (into.blockCount != 0) {
    into.blocks = into.union == 0 ? 0 : slice(image, <u64>into.union * BLOCK, <u64>into.blockCount * BLOCK);
    if (into.blocks == 0) return refuseValue("data blocks", "the data are not inside the image, at block ", into.union);
  }
  if (into.layout == FLAT_INLINE && partial != 0) {
    into.tail = slice(image, into.tailOffset, partial);
    if (into.tail == 0) return refuseImage("inline data", "the inline data reach behind the end of the image");
    into.tailLength = partial;
  }
  return true;
}
