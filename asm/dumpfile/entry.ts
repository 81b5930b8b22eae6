// One line of a dump becomes one node of the tree (docs/spec/dumpfile.md, 1 to 4). Where the tools differ, the column
// NEW of that document rules, except for the points that its first table gives to the dialects.

import { FailureCode, atPath, refuse, say, sayNumber } from "../erofs/failure";
import { readHex } from "../erofs/hex";
import { addLink } from "../erofs/links";
import { addDirectory, addExternal, addRoot, addSpecial, addWithBytes, node } from "../erofs/nodes";
import {
  BLOCK,
  CHAR,
  DIRECTORY,
  Directory,
  FIFO,
  REGULAR,
  SOCKET,
  SYMLINK,
  TYPE_MASK,
  checkName,
  isNone,
} from "../erofs/tree";
import { Writer } from "../erofs/writer";
import { unescape, unescapedLength } from "./escapes";
import { LineState } from "./line";
import { number, readDecimal, readOctal } from "./numbers";
import { MAX_PATH, findParent } from "./paths";
import { readXattrs } from "./xattr-text";

/** Fields in front of the xattrs. */
const FIELDS: u32 = 11;
const MAX_MODE: u64 = 0o177777;
/** Limits of 2.2 in docs/spec/erofs.md; the smaller ones are those of dialect `rs`. */
const MAX_CONTENT: u32 = 5000;
const MAX_CONTENT_RS: u32 = 512;
const MAX_TARGET: u32 = 4095;
const MAX_TARGET_RS: u32 = 1024;
const MAX_PAYLOAD: u32 = 4096;

// The line: its address, its length, and where its fields are.
let line: usize = 0;
let lineLength: u32 = 0;
let fields: LineState = changetype<LineState>(0);

// Room for unescaped fields. No escape is longer than four bytes, and a field of more is refused before.
const PATH_ROOM: usize = memory.data(4096, 16);
const PAYLOAD_ROOM: usize = memory.data(4096, 16);
const CONTENT_ROOM: usize = memory.data(5008, 16);
const DIGEST_ROOM: usize = memory.data(64, 16);

// The field that was read last, as bytes.
let bytes: usize = 0;
let bytesLength: u32 = 0;

let path: usize = 0;
let pathLength: u32 = 0;
let size: u64 = 0;

// The optional fields: address 0 for "not set".
let payload: usize = 0;
let payloadLength: u32 = 0;
let content: usize = 0;
let contentLength: u32 = 0;
let digest: usize = 0;

@inline
function fieldStart(index: u32): usize {
  return index == 0 ? line : line + fields.position(index - 1) + 1;
}

@inline
function fieldEnd(index: u32): usize {
  return line + (index < fields.spaces ? fields.position(index) : lineLength);
}

function fieldName(index: u32): string {
  if (index == 0) return "PATH";
  if (index == 1) return "SIZE";
  if (index == 2) return "MODE";
  if (index == 3) return "NLINK";
  if (index == 4) return "UID";
  if (index == 5) return "GID";
  if (index == 6) return "RDEV";
  if (index == 7) return "MTIME";
  if (index == 8) return "PAYLOAD";
  return index == 9 ? "CONTENT" : "DIGEST";
}

/** Adds the node of a line. A refusal gets the path, as far as it is known; the line number is the caller's. */
export function readEntry(writer: Writer, address: usize, length: u32, state: LineState): bool {
  line = address;
  lineLength = length;
  fields = state;
  path = 0;
  if (state.hasForbidden) return refuseForbidden();
  if (readPath() && readNode(writer)) return true;
  return path == 0 ? false : atPath(path, pathLength);
}

function refuseForbidden(): bool {
  let index: u32 = 0;
  for (let i: u32 = 0; i < lineLength; i++) {
    const byte = load<u8>(line + i);
    if (byte == 0x20 && index < FIELDS) index++;
    if (byte != 0 && byte != 0x0d) continue;
    const field = index < FIELDS ? fieldName(index) : "XATTR";
    return refuse(
      FailureCode.SYNTAX,
      field,
      byte == 0
        ? "the line holds a raw NUL byte"
        : "the line holds a raw carriage return; lines end in a line feed only",
    );
  }
  return false;
}

/** Reads an escaped field of at most `limit` bytes into `bytes`; the room is for `limit` bytes. */
function readBytes(index: u32, room: usize, limit: u32): bool {
  const start = fieldStart(index);
  const end = fieldEnd(index);
  const raw = <u32>(end - start);
  if (!fields.hasEscape) {
    bytes = start;
    bytesLength = raw;
    return raw <= limit || refuseLength(index, limit);
  }
  if (raw > 4 * limit) return refuseLength(index, limit);
  if (raw > limit) {
    // Only now the bytes must be counted before they are written.
    let count = raw;
    for (let at = start; at < end; at++) {
      if (load<u8>(at) != 0x5c) continue;
      const skipped: u32 = at + 1 < end && load<u8>(at + 1) == 0x78 ? 3 : 1;
      count -= skipped;
      at += skipped;
    }
    if (<i32>count > <i32>limit) return refuseLength(index, limit);
  }
  if (!unescape(start, end, room, fieldName(index))) return false;
  bytes = room;
  bytesLength = unescapedLength;
  return true;
}

function refuseLength(index: u32, limit: u32): bool {
  refuse(FailureCode.LIMIT, fieldName(index), "the field is longer than ");
  sayNumber(limit);
  return say(" bytes");
}

function readPath(): bool {
  if (!readBytes(0, PATH_ROOM, MAX_PATH)) return false;
  path = bytes;
  pathLength = bytesLength;
  if (pathLength == 0) return refuse(FailureCode.PATH, "PATH", "the path is empty; lines begin with the path");
  if (load<u8>(path) != 0x2f) return refuse(FailureCode.PATH, "PATH", "the path does not begin with a slash");
  return true;
}

/** Reads a number of the field into `number`. */
function readNumber(index: u32, limit: u64): bool {
  if (index > fields.spaces) return refuseMissing(index);
  if (readDecimal(fieldStart(index), fieldEnd(index), limit)) return true;
  refuse(FailureCode.SYNTAX, fieldName(index), "expected decimal digits of a number up to ");
  return sayNumber(limit);
}

function refuseMissing(index: u32): bool {
  refuse(
    FailureCode.SYNTAX,
    fieldName(index),
    "the field is missing; a line has 11 fields and then xattrs, and this one ",
  );
  sayNumber(fields.spaces + 1);
  return say(fields.spaces == 0 ? " field" : " fields");
}

function readNode(writer: Writer): bool {
  const isRoot = pathLength == 1;
  if (isNone(changetype<usize>(writer.root)) != isRoot) {
    return isRoot
      ? refuse(FailureCode.DUPLICATE, "PATH", "the root directory is there already")
      : refuse(FailureCode.MISSING_PARENT, "PATH", "the first line must be that of the root directory, /");
  }
  if (fields.spaces < 2) return refuseMissing(fields.spaces + 1);
  const isLink = load<u8>(fieldStart(2)) == 0x40 && fieldStart(2) != fieldEnd(2);
  if (!readMode(isLink)) return false;
  if (isRoot) {
    if (isLink || (node.mode & TYPE_MASK) != DIRECTORY) {
      return refuse(FailureCode.TYPE_CONFLICT, "MODE", "the root must be a directory (mode 4....)");
    }
    return readMetadata(writer) && readOptional() && refuseData(DIRECTORY) && addRoot(writer);
  }
  let slash = pathLength - 1;
  while (load<u8>(path + slash) != 0x2f) slash--;
  const name = path + slash + 1;
  const nameLength = pathLength - slash - 1;
  if (!checkName(name, nameLength)) return false;
  const parent = findParent(writer, path, slash);
  if (isNone(changetype<usize>(parent))) return false;
  if (isLink) return readLink(writer, parent, name, nameLength);
  return readMetadata(writer) && readOptional() && addNode(writer, parent, name, nameLength);
}

function readMode(isLink: bool): bool {
  const start = fieldStart(2) + <usize>isLink;
  if (!readOctal(start, fieldEnd(2), MAX_MODE)) {
    return refuse(FailureCode.SYNTAX, "MODE", "expected octal digits of a mode up to 177777");
  }
  const mode = <u32>number;
  const type = mode & TYPE_MASK;
  node.mode = mode;
  if (isLink && type == DIRECTORY) {
    return refuse(FailureCode.HARDLINK, "MODE", "a directory cannot be a hard link");
  }
  if (
    type == REGULAR ||
    type == DIRECTORY ||
    type == SYMLINK ||
    type == CHAR ||
    type == BLOCK ||
    type == FIFO ||
    type == SOCKET ||
    (isLink && mode == 0)
  ) {
    return true;
  }
  return refuse(FailureCode.SYNTAX, "MODE", "the mode has no file type that exists (such as 100644, 40755, 120777)");
}

function readMetadata(writer: Writer): bool {
  if (!readNumber(1, u64.MAX_VALUE)) return false;
  size = number;
  if (!readNumber(3, u32.MAX_VALUE)) return false;
  const type = node.mode & TYPE_MASK;
  node.nlink = <u32>number;
  if (!readNumber(4, u32.MAX_VALUE)) return false;
  node.uid = <u32>number;
  if (!readNumber(5, u32.MAX_VALUE)) return false;
  node.gid = <u32>number;
  if (!readNumber(6, u32.MAX_VALUE)) return false;
  node.rdev = <u32>number;
  if (node.rdev != 0 && type != CHAR && type != BLOCK) {
    return refuse(FailureCode.TYPE_CONFLICT, "RDEV", "only devices have a device number; expected 0");
  }
  if (!writer.dialectC && !countNames(type)) return false;
  if (!readTime()) return false;
  if (fields.spaces < FIELDS - 1) return refuseMissing(fields.spaces + 1);
  return readXattrs(writer, fieldStart(FIELDS), line + lineLength, fields.spaces >= FIELDS, fields.hasEscape);
}

/** Dialect `rs` counts the names of a leaf itself; of the column it only looks at that of whiteouts. */
function countNames(type: u32): bool {
  if (type == CHAR && node.rdev == 0 && node.nlink > 1) {
    return refuse(FailureCode.HARDLINK, "NLINK", "a whiteout (character device 0) has exactly one name");
  }
  node.nlink = 1;
  return true;
}

/** `sec.nsec`; seconds may be negative, also written as 2^64 - n (docs/spec/dumpfile.md, 4). */
function readTime(): bool {
  if (fields.spaces < 7) return refuseMissing(7);
  let start = fieldStart(7);
  const end = fieldEnd(7);
  let dot = start;
  while (dot < end && load<u8>(dot) != 0x2e) dot++;
  if (dot == end) return refuse(FailureCode.SYNTAX, "MTIME", "expected seconds, a dot and nanoseconds");
  const negative = start < dot && load<u8>(start) == 0x2d;
  if (negative) start++;
  if (!readDecimal(start, dot, negative ? <u64>1 << 63 : u64.MAX_VALUE)) {
    return refuse(FailureCode.SYNTAX, "MTIME", "the seconds are not a number of 64 bits");
  }
  node.mtimeSec = negative ? -(<i64>number) : <i64>number;
  if (!readDecimal(dot + 1, end, 999999999)) {
    return refuse(FailureCode.SYNTAX, "MTIME", "the nanoseconds are not a number below 1000000000");
  }
  node.nsec = <u32>number;
  return true;
}

/** Whether an optional field has a value. */
@inline
function isSet(index: u32): bool {
  const start = fieldStart(index);
  return fieldEnd(index) - start != 1 || load<u8>(start) != 0x2d;
}

/** Reads PAYLOAD and CONTENT; DIGEST depends on the type. */
function readOptional(): bool {
  payload = 0;
  content = 0;
  if (isSet(8)) {
    if (!readPayload()) return false;
  }
  if (isSet(9)) {
    if (!readBytes(9, CONTENT_ROOM, MAX_CONTENT)) return false;
    if (bytesLength == 0 && size != 0) {
      return refuse(FailureCode.SYNTAX, "CONTENT", "the field is empty; write - for no content");
    }
    content = bytes;
    contentLength = bytesLength;
  }
  return true;
}

function readPayload(): bool {
  if (!readBytes(8, PAYLOAD_ROOM, MAX_PAYLOAD)) return false;
  if (bytesLength == 0) return refuse(FailureCode.SYNTAX, "PAYLOAD", "the field is empty; write - for no payload");
  payload = bytes;
  payloadLength = bytesLength;
  if (!fields.hasEscape) return true;
  for (let i: u32 = 0; i < payloadLength; i++) {
    if (load<u8>(payload + i) == 0) return refuse(FailureCode.SYNTAX, "PAYLOAD", "the field holds a NUL byte");
  }
  return true;
}

/** Refuses CONTENT and DIGEST of anything but regular files. */
function refuseData(type: u32): bool {
  if (content != 0) return refuse(FailureCode.TYPE_CONFLICT, "CONTENT", "only regular files have content; expected -");
  if (isSet(10)) return refuse(FailureCode.TYPE_CONFLICT, "DIGEST", "only regular files have a digest; expected -");
  return true;
}

function addNode(writer: Writer, parent: Directory, name: usize, nameLength: u32): bool {
  const type = node.mode & TYPE_MASK;
  if (type == REGULAR) return addRegular(writer, parent, name, nameLength);
  if (!refuseData(type)) return false;
  if (type == DIRECTORY) return addDirectory(writer, parent, name, nameLength);
  if (type == SYMLINK) {
    if (payload == 0) return refuse(FailureCode.SYNTAX, "PAYLOAD", "a symlink needs its target here");
    const limit = writer.dialectC ? MAX_TARGET : MAX_TARGET_RS;
    if (payloadLength > limit) return refuseLength(8, limit);
    return addWithBytes(writer, parent, name, nameLength, payload, payloadLength);
  }
  // Dialect `c`, item 10 of docs/spec/erofs.md, 16.
  return addSpecial(writer, parent, name, nameLength, writer.dialectC && size > u32.MAX_VALUE);
}

/** Regular files: the tables of docs/spec/dumpfile.md, 3.1. */
function addRegular(writer: Writer, parent: Directory, name: usize, nameLength: u32): bool {
  if (!readDigest(writer)) return false;
  if (content != 0) {
    if (payload != 0) return refuse(FailureCode.TYPE_CONFLICT, "PAYLOAD", "a file has a payload or content, not both");
    if (digest != 0)
      return refuse(FailureCode.TYPE_CONFLICT, "DIGEST", "a file with content has no digest; expected -");
    const limit = writer.dialectC ? MAX_CONTENT : MAX_CONTENT_RS;
    if (contentLength > limit) return refuseLength(9, limit);
    if (contentLength != size) {
      refuse(FailureCode.SYNTAX, "CONTENT", "the content has ");
      sayNumber(contentLength);
      say(" bytes, but SIZE is ");
      return sayNumber(size);
    }
    return addWithBytes(writer, parent, name, nameLength, content, contentLength);
  }
  if (digest != 0 && payload == 0) {
    return refuse(FailureCode.TYPE_CONFLICT, "DIGEST", "a digest needs the path of the object as payload");
  }
  if (size == 0 && (payload == 0 || writer.dialectC)) return addWithBytes(writer, parent, name, nameLength, 0, 0);
  return addExternal(writer, parent, name, nameLength, size, digest, payload, payloadLength);
}

function readDigest(writer: Writer): bool {
  digest = 0;
  if (!isSet(10)) return true;
  const start = fieldStart(10);
  const digits = 2 * writer.digestSize;
  const length = <u32>(fieldEnd(10) - start);
  if (length == digits && readHex(start, digits, DIGEST_ROOM, false)) {
    digest = DIGEST_ROOM;
    return true;
  }
  refuse(FailureCode.DIGEST, "DIGEST", "expected ");
  sayNumber(digits);
  return say(digits == 64 ? " hex digits (sha256) or -" : " hex digits (sha512) or -");
}

/** A link line: only PATH, MODE and PAYLOAD count (docs/spec/dumpfile.md, 2.1). */
function readLink(writer: Writer, parent: Directory, name: usize, nameLength: u32): bool {
  if (fields.spaces < 8) return refuseMissing(fields.spaces + 1);
  if (!isSet(8)) return refuse(FailureCode.HARDLINK, "PAYLOAD", "a hard link needs the path of its target here");
  if (!readPayload()) return false;
  if (load<u8>(payload) != 0x2f) {
    return refuse(FailureCode.HARDLINK, "PAYLOAD", "the target of a hard link is a path that begins with a slash");
  }
  if (payloadLength == 1)
    return refuse(FailureCode.HARDLINK, "PAYLOAD", "the root cannot be the target of a hard link");
  let start: u32 = 1;
  for (let i: u32 = 1; i <= payloadLength; i++) {
    if (i != payloadLength && load<u8>(payload + i) != 0x2f) continue;
    if (!checkName(payload + start, i - start)) {
      return refuse(
        FailureCode.HARDLINK,
        "PAYLOAD",
        "the target is no proper path (empty, . , .. or too long a component)",
      );
    }
    start = i + 1;
  }
  return addLink(writer, parent, name, nameLength, payload, payloadLength);
}
