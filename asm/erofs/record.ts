// The binary record stream: how a host that holds the tree sends it. Parents come before their children; directories
// are numbered from 0 (the root) and leaves from 0 in the order they are sent, xattr sets from 1 (0 is the empty set).
// Numbers are little-endian; a record is padded with zeros to a multiple of 8.
//
//   offset size
//    0     4    length of the record, padding included
//    4     1    kind: 1 directory, 2 leaf, 3 link, 4 xattr set
//    5     1    flags of a leaf (below)
//    6     2    length of the name; 0 for the root
//    8     4    number of the parent directory; 0xffffffff for the root, which is the first record (xattr sets aside)
//   12     4    mode, with type
//   16     4    uid
//   20     4    gid
//   24     8    mtime, seconds (signed)
//   32     4    mtime, nanoseconds
//   36     4    number of the xattr set
//   40     8    external file: size; device: device number; link: number of the leaf
//   48     4    length of the payload
//   52     4    0
//   56          name, payload (content, link target, or redirect path without leading slash), raw digest if flagged
//
// A link has no mode and what follows up to 40. An xattr set has its number of xattrs at 8, and from 16 on for each:
// length of the name (4), length of the value (4), name, value. Names are as the user sees them, not escaped.

import { Arena } from "./arena";
import { findByte } from "./bytes";
import { FailureCode, refuse, refuseMemory, say, sayNumber } from "./failure";
import { MAX_PIECE } from "./input";
import { refuseBelow } from "./locate";
import {
  addDirectory,
  addExternal,
  addName,
  addRoot,
  addSpecial,
  addWithBytes,
  lastLeaf,
  node,
  useObjectRedirect,
} from "./nodes";
import {
  BLOCK,
  CHAR,
  DIRECTORY,
  Directory,
  FIFO,
  Leaf,
  REGULAR,
  SOCKET,
  SYMLINK,
  TYPE_MASK,
  checkName,
  isNone,
} from "./tree";
import { Writer } from "./writer";
import { addXattr, endXattrs, startXattrs } from "./xattr-list";
import { XattrSet } from "./xattrs";

const HEAD: u32 = 56;
const XATTR_HEAD: u32 = 16;
const ROOT_PARENT: u32 = 0xffffffff;

namespace Kind {
  export const DIRECTORY: u32 = 1;
  export const LEAF: u32 = 2;
  export const LINK: u32 = 3;
  export const XATTRS: u32 = 4;
}

namespace Flag {
  /** A regular file whose content is elsewhere. */
  export const EXTERNAL: u32 = 1;
  /** The digest follows the payload. */
  export const DIGEST: u32 = 2;
  /** The redirect path is the object path of the digest. */
  export const OBJECT_PATH: u32 = 4;
}

/** Limits of docs/spec/erofs.md, 2.2. */
const MAX_CONTENT: u32 = 5000;
const MAX_CONTENT_V2: u32 = 512;
const MAX_TARGET: u32 = 4095;
const MAX_TARGET_V2: u32 = 1024;
const MAX_PATH: u32 = 4096;

/** A growing array of addresses. */
@unmanaged
export class AddressList {
  private items: usize;
  private room: u32;
  count: u32;

  @inline
  at(number: u32): usize {
    return <usize>load<u32>(this.items + (<usize>number << 2));
  }

  /** False at the memory limit. */
  add(arena: Arena, address: usize): bool {
    if (this.count == this.room) {
      const room = max<u32>(256, this.room << 1);
      const grown = arena.alloc(<usize>room << 2);
      if (grown == 0) return false;
      memory.copy(grown, this.items, <usize>this.count << 2);
      this.items = grown;
      this.room = room;
    }
    store<u32>(this.items + (<usize>this.count << 2), <u32>address);
    this.count++;
    return true;
  }
}

// The record that is read.
let record: usize = 0;
let recordLength: u32 = 0;

/** Consumes all complete records of the input window; with `last` nothing may be left. */
export function readRecords(writer: Writer, last: bool): bool {
  const input = writer.input;
  while (true) {
    const available = input.length;
    if (available == 0) return true;
    if (available < 4) return !last || refuseRecord("the last record is cut off");
    record = input.data;
    recordLength = load<u32>(record);
    if (recordLength < XATTR_HEAD || (recordLength & 7) != 0) return refuseRecord("a record has a wrong length");
    if (recordLength > MAX_PIECE) return refuse(FailureCode.LIMIT, "", "a record is longer than 64 MiB");
    if (available < recordLength) return !last || refuseRecord("the last record is cut off");
    if (!readRecord(writer)) return false;
    input.start += recordLength;
  }
}

function refuseRecord(message: string): bool {
  return refuse(FailureCode.SYNTAX, "", message);
}

function readRecord(writer: Writer): bool {
  const kind = <u32>load<u8>(record, 4);
  if (kind == Kind.XATTRS) return readXattrSet(writer);
  if (kind != Kind.DIRECTORY && kind != Kind.LEAF && kind != Kind.LINK)
    return refuseRecord("a record has an unknown kind");
  const nameLength = <u32>load<u16>(record, 6);
  const payloadLength = load<u32>(record, 48);
  const digestSize = (load<u8>(record, 5) & Flag.DIGEST) != 0 ? writer.digestSize : 0;
  if (recordLength < HEAD || <u64>HEAD + nameLength + payloadLength + digestSize > recordLength) {
    return refuseRecord("a record is shorter than its fields");
  }
  const parentNumber = load<u32>(record, 8);
  if (parentNumber == ROOT_PARENT) return readRoot(writer, kind);
  if (parentNumber >= writer.sentDirectories.count) {
    return refuse(FailureCode.MISSING_PARENT, "", "a record names a parent directory that was not sent");
  }
  const parent = changetype<Directory>(writer.sentDirectories.at(parentNumber));
  const name = record + HEAD;
  if (readNamed(writer, kind, parent, name, nameLength, payloadLength)) return true;
  return refuseBelow(writer, parent, name, nameLength);
}

function readRoot(writer: Writer, kind: u32): bool {
  if (!isNone(changetype<usize>(writer.root))) return refuse(FailureCode.DUPLICATE, "", "the root was sent twice");
  if (kind != Kind.DIRECTORY || !readMetadata(writer)) {
    return refuse(FailureCode.TYPE_CONFLICT, "MODE", "the root must be a directory");
  }
  return addRoot(writer) && numberLast(writer);
}

function numberLast(writer: Writer): bool {
  return writer.sentDirectories.add(writer.arena, changetype<usize>(writer.lastDirectory)) || refuseMemory();
}

function readNamed(
  writer: Writer,
  kind: u32,
  parent: Directory,
  name: usize,
  nameLength: u32,
  payloadLength: u32,
): bool {
  if (!checkName(name, nameLength)) return false;
  if (kind == Kind.LINK) {
    const number = load<u64>(record, 40);
    if (number >= writer.sentLeaves.count) {
      return refuse(FailureCode.HARDLINK, "", "a link names a leaf that was not sent");
    }
    return addName(writer, parent, name, nameLength, changetype<Leaf>(writer.sentLeaves.at(<u32>number)));
  }
  if (!readMetadata(writer)) return false;
  const type = node.mode & TYPE_MASK;
  if ((kind == Kind.DIRECTORY) != (type == DIRECTORY)) {
    return refuse(FailureCode.TYPE_CONFLICT, "MODE", "the file type does not fit the kind of the record");
  }
  if (kind == Kind.DIRECTORY) return addDirectory(writer, parent, name, nameLength) && numberLast(writer);
  if (!readLeaf(writer, type, parent, name, nameLength, name + nameLength, payloadLength)) return false;
  return writer.sentLeaves.add(writer.arena, changetype<usize>(lastLeaf)) || refuseMemory();
}

function readMetadata(writer: Writer): bool {
  node.mode = load<u32>(record, 12);
  node.uid = load<u32>(record, 16);
  node.gid = load<u32>(record, 20);
  node.mtimeSec = load<i64>(record, 24);
  node.nsec = load<u32>(record, 32);
  node.nlink = 1;
  node.rdev = 0;
  const set = load<u32>(record, 36);
  if (node.mode > 0o177777) return refuse(FailureCode.SYNTAX, "MODE", "the mode is larger than 177777");
  if (node.nsec > 999999999) return refuse(FailureCode.SYNTAX, "MTIME", "the nanoseconds are not below 1000000000");
  if (set > writer.sentSets.count) return refuse(FailureCode.SYNTAX, "XATTR", "an xattr set was not sent");
  node.xattrs = set == 0 ? writer.xattrs.empty : changetype<XattrSet>(writer.sentSets.at(set - 1));
  return true;
}

function readLeaf(
  writer: Writer,
  type: u32,
  parent: Directory,
  name: usize,
  nameLength: u32,
  payload: usize,
  payloadLength: u32,
): bool {
  const v2 = writer.maxVersion == 2;
  if (type == REGULAR) {
    if ((load<u8>(record, 5) & Flag.EXTERNAL) != 0) {
      return readExternal(writer, parent, name, nameLength, payload, payloadLength);
    }
    const limit = v2 ? MAX_CONTENT_V2 : MAX_CONTENT;
    if (payloadLength > limit) return refuseLength("CONTENT", "the content inside the image is longer than ", limit);
    return addWithBytes(writer, parent, name, nameLength, payload, payloadLength);
  }
  if (type == SYMLINK) {
    const limit = v2 ? MAX_TARGET_V2 : MAX_TARGET;
    if (payloadLength == 0) return refuse(FailureCode.SYNTAX, "PAYLOAD", "the target of the symlink is empty");
    if (payloadLength > limit) return refuseLength("PAYLOAD", "the target of the symlink is longer than ", limit);
    if (findByte(payload, payloadLength, 0) != payloadLength) {
      return refuse(FailureCode.SYNTAX, "PAYLOAD", "the target of the symlink holds a NUL byte");
    }
    return addWithBytes(writer, parent, name, nameLength, payload, payloadLength);
  }
  if (type == CHAR || type == BLOCK) {
    const rdev = load<u64>(record, 40);
    if (rdev > u32.MAX_VALUE) return refuse(FailureCode.LIMIT, "RDEV", "the device number is larger than 32 bits");
    node.rdev = <u32>rdev;
    return addSpecial(writer, parent, name, nameLength, false);
  }
  if (type == FIFO || type == SOCKET) return addSpecial(writer, parent, name, nameLength, false);
  return refuse(FailureCode.SYNTAX, "MODE", "the mode has no file type that exists");
}

function readExternal(
  writer: Writer,
  parent: Directory,
  name: usize,
  nameLength: u32,
  payload: usize,
  payloadLength: u32,
): bool {
  const size = load<u64>(record, 40);
  const flags = <u32>load<u8>(record, 5);
  const digest: usize = (flags & Flag.DIGEST) != 0 ? payload + payloadLength : 0;
  if (payloadLength > MAX_PATH) return refuseLength("PAYLOAD", "the path of the object is longer than ", MAX_PATH);
  if (findByte(payload, payloadLength, 0) != payloadLength)
    return refuse(FailureCode.SYNTAX, "PAYLOAD", "the path holds a NUL byte");
  // Dialect `c` stores nothing of an empty file but its metadata (docs/spec/erofs.md, 16 item 8).
  if (size == 0 && writer.dialectC) return addWithBytes(writer, parent, name, nameLength, 0, 0);
  const path: usize = payloadLength == 0 ? 0 : payload;
  if ((flags & Flag.OBJECT_PATH) == 0) {
    return addExternal(writer, parent, name, nameLength, size, digest, path, payloadLength);
  }
  if (digest == 0 || path != 0) return refuseRecord("an object path needs a digest and no path");
  if (!addExternal(writer, parent, name, nameLength, size, digest, 0, 0)) return false;
  useObjectRedirect(lastLeaf, lastLeaf.data);
  return true;
}

function refuseLength(field: string, message: string, limit: u32): bool {
  refuse(FailureCode.LIMIT, field, message);
  sayNumber(limit);
  return say(" bytes, the most that this version of the image format takes");
}

function readXattrSet(writer: Writer): bool {
  const count = load<u32>(record, 8);
  const end = record + recordLength;
  let at = record + XATTR_HEAD;
  startXattrs(writer);
  for (let i: u32 = 0; i < count; i++) {
    if (end - at < 8) return refuseRecord("an xattr set is cut off");
    const nameLength = load<u32>(at);
    const valueLength = load<u32>(at, 4);
    at += 8;
    if (<u64>nameLength + valueLength > <u64>(end - at)) return refuseRecord("an xattr set is cut off");
    if (!addXattr(writer, at, nameLength, at + nameLength, valueLength)) return false;
    at += nameLength + valueLength;
  }
  const set = endXattrs(writer, false);
  if (isNone(changetype<usize>(set))) return false;
  return writer.sentSets.add(writer.arena, changetype<usize>(set)) || refuseMemory();
}
