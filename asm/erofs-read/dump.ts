// The dump text of an image: canonical (docs/spec/erofs.md, 17.7), or as the C tools print it (docs/spec/dumpfile.md, 6). A line
// becomes a list of pieces that point into the image;
// writing a window goes through the pieces and can stop anywhere, so lines of any length need no memory of their own.

import { refuseMemory, storeEscaped } from "../erofs/failure";
import { writeHex } from "../erofs/hex";
import { BLOCK } from "./image";
import {
  BLOCK_DEVICE,
  CHAR,
  CHUNK_BASED,
  DIRECTORY,
  Inode,
  REGULAR,
  SYMLINK,
  TYPE_MASK,
  readInode,
  typeOf,
} from "./inode";
import { keepXattrs, keptCount, keptName, keptNameLength, sortKept, sortKeptLocalFirst } from "./kept-xattrs";
import { OPAQUE_MARKERS, digestOf, redirectLength, redirectOf, targetOf } from "./leaf";
import { Named, Reader } from "./reader";
import { Event, Walk, nextEvent } from "./walk";
import { prefixLength, prefixOf } from "./xattr-names";
import { Xattr, readXattrs, xattrIn } from "./xattrs";

/** How the bytes of a piece are written. */
namespace Form {
  export const TEXT: u32 = 0;
  /** Escaped as path, payload or content. */
  export const FIELD: u32 = 1;
  /** Escaped as xattr name or value: `=` too. */
  export const XATTR: u32 = 2;
  export const HEX: u32 = 3;
}

@unmanaged
class Piece {
  form: u32;
  at: usize;
  length: u32;
}

const PIECE_SIZE: usize = 12;
/** More than the numbers and constants of a line take, xattrs left out. */
const TEXT_ROOM: usize = 512;

const MARKS: usize = memory.data<u8>([0x20, 0x2f, 0x3d, 0x0a]);
const SPACE: usize = MARKS;
const SLASH: usize = MARKS + 1;
const EQUALS: usize = MARKS + 2;
const NEWLINE: usize = MARKS + 3;

/** A dump in progress. */
@unmanaged
export class Dump {
  walk: Walk;
  /**
   * As the C tools print it: the stored size of directories, all fields of the file on the lines of its further names, shared
   * xattrs last, and the opaque markers of directories with whiteouts.
   */
  isC: bool;
  pieces: usize;
  pieceRoom: u32;
  pieceCount: u32;
  /** The piece that is being written, and how far. */
  current: u32;
  offset: u32;
  /** Numbers and constants of the line. */
  text: usize;
  /** Where the text begins that is not a piece yet, and where it ends. */
  textStart: usize;
  textEnd: usize;
}

/** A dump from the start; none at the memory limit. */
export function newDump(reader: Reader): Dump {
  const dump = changetype<Dump>(reader.arena.alloc(offsetof<Dump>()));
  const walk = changetype<Walk>(reader.arena.alloc(offsetof<Walk>()));
  const text = reader.arena.alloc(TEXT_ROOM);
  if (changetype<usize>(dump) == 0 || changetype<usize>(walk) == 0 || text == 0) return changetype<Dump>(0);
  dump.walk = walk;
  dump.text = text;
  return dump;
}

/** Starts again. */
export function resetDump(dump: Dump, isC: bool): void {
  dump.isC = isC;
  dump.walk.started = false;
  dump.pieceCount = 0;
  dump.current = 0;
  dump.offset = 0;
}

/** Fills `window`; answers the length, 0 at the end, or -1 after a refusal. */
export function writeDump(reader: Reader, dump: Dump, window: usize, room: u32): i32 {
  let at = window;
  const end = window + room;
  while (true) {
    while (dump.current < dump.pieceCount) {
      const current = dump.current;
      at = writePiece(dump, at, end);
      if (dump.current == current) return <i32>(at - window);
    }
    const event = nextEvent(reader, dump.walk);
    if (event == Event.END) return <i32>(at - window);
    if (event == Event.REFUSED || !makeLine(reader, dump, event)) return -1;
  }
}

/** Writes what fits of the current piece, and goes on to the next one if that is all of it. */
function writePiece(dump: Dump, to: usize, end: usize): usize {
  const piece = changetype<Piece>(dump.pieces + <usize>dump.current * PIECE_SIZE);
  let from = piece.at + dump.offset;
  const last = piece.at + piece.length;
  if (piece.form == Form.TEXT) {
    const length = min(last - from, end - to);
    memory.copy(to, from, length);
    from += length;
    to += length;
  } else if (piece.form == Form.HEX) {
    // Digests are multiples of 8 bytes long, and what is left of one stays so.
    const length = min(last - from, ((end - to) >> 1) & ~7);
    writeHex(from, <u32>length, to);
    from += length;
    to += length << 1;
  } else {
    const equals: u8 = piece.form == Form.XATTR ? EQUALS_SIGN : BACKSLASH;
    while (from < last && to + 16 <= end) {
      if (from + 16 <= last && isPlain(v128.load(from), equals)) {
        v128.store(to, v128.load(from));
        from += 16;
        to += 16;
        continue;
      }
      to = writeByte(load<u8>(from++), equals, to);
    }
    while (from < last && to + 4 <= end) to = writeByte(load<u8>(from++), equals, to);
  }
  if (from == last) {
    dump.current++;
    dump.offset = 0;
  } else dump.offset = <u32>(from - piece.at);
  return to;
}

const BACKSLASH: u8 = 0x5c;
const EQUALS_SIGN: u8 = 0x3d;
/** `\x3d` */
const EQUALS_ESCAPE: u32 = 0x6433785c;

/** Whether none of 16 bytes needs an escape. `escaped` is a byte that does beside the backslash. */
@inline
function isPlain(bytes: v128, escaped: u8): bool {
  const isPrintable = i8x16.lt_u(i8x16.sub(bytes, i8x16.splat(0x21)), i8x16.splat(0x5e));
  const isEscaped = v128.or(i8x16.eq(bytes, i8x16.splat(BACKSLASH)), i8x16.eq(bytes, i8x16.splat(escaped)));
  return i8x16.all_true(v128.andnot(isPrintable, isEscaped));
}

/** Writes one byte, escaped if it needs it: up to 4 bytes. Answers where the next one goes. */
@inline
function writeByte(byte: u8, escaped: u8, to: usize): usize {
  if (<u8>(byte - 0x21) < 0x5e && byte != BACKSLASH && byte != escaped) {
    store<u8>(to, byte);
    return to + 1;
  }
  if (byte == EQUALS_SIGN) {
    store<u32>(to, EQUALS_ESCAPE);
    return to + 4;
  }
  return to + storeEscaped(to, byte);
}

/** Appends a piece. False at the memory limit. */
function add(reader: Reader, dump: Dump, form: u32, at: usize, length: u32): bool {
  if (dump.pieceCount == dump.pieceRoom) {
    const room = max<u32>(64, dump.pieceRoom << 1);
    const grown = reader.arena.alloc(<usize>room * PIECE_SIZE);
    if (grown == 0) return refuseMemory();
    memory.copy(grown, dump.pieces, <usize>dump.pieceCount * PIECE_SIZE);
    dump.pieces = grown;
    dump.pieceRoom = room;
  }
  const piece = changetype<Piece>(dump.pieces + <usize>(dump.pieceCount++) * PIECE_SIZE);
  piece.form = form;
  piece.at = at;
  piece.length = length;
  return true;
}

function put(dump: Dump, text: string): void {
  for (let i = 0; i < text.length; i++) store<u8>(dump.textEnd++, <u8>text.charCodeAt(i));
}

function putNumber(dump: Dump, value: u64, base: u64): void {
  let digits: usize = 1;
  for (let rest = value / base; rest != 0; rest /= base) digits++;
  let at = dump.textEnd + digits;
  dump.textEnd = at;
  for (let rest = value; digits != 0; digits--) {
    store<u8>(--at, <u8>(0x30 + (rest % base)));
    rest /= base;
  }
}

function putField(dump: Dump, value: u64): void {
  putNumber(dump, value, 10);
  store<u8>(dump.textEnd++, 0x20);
}

/** Makes a piece of what was put since the last one. False at the memory limit. */
function addText(reader: Reader, dump: Dump): bool {
  const start = dump.textStart;
  dump.textStart = dump.textEnd;
  return add(reader, dump, Form.TEXT, start, <u32>(dump.textEnd - start));
}

/** Starts the line of an event. False at the memory limit. */
function makeLine(reader: Reader, dump: Dump, event: i32): bool {
  dump.pieceCount = 0;
  dump.current = 0;
  dump.offset = 0;
  dump.textStart = dump.text;
  dump.textEnd = dump.text;
  const walk = dump.walk;
  if (walk.pathLength == 0) put(dump, "/");
  else if (!add(reader, dump, Form.FIELD, walk.path, walk.pathLength)) return false;
  if (event != Event.LINK) return addNode(reader, dump, false) && addXattrs(reader, dump);
  if (!dump.isC) return addLink(reader, dump, walk.record);
  if (!readInode(reader.image, walk.record.nid, reader.inode)) return false;
  if (!readXattrs(reader.image, reader.inode, reader.xattrs)) return false;
  walk.isWhiteout = false;
  walk.removed = 0;
  return addNode(reader, dump, true) && addXattrs(reader, dump);
}

/** ` 0 @120000 - - - - 0.0 FIRSTPATH - -` */
function addLink(reader: Reader, dump: Dump, first: Named): bool {
  put(dump, " 0 @120000 - - - - 0.0 ");
  if (!addPath(reader, dump, first)) return false;
  put(dump, " - -\n");
  return addText(reader, dump);
}

/** The path of a first name. */
function addPath(reader: Reader, dump: Dump, first: Named): bool {
  if (!addText(reader, dump)) return false;
  let components: u32 = 0;
  for (let name = first; changetype<usize>(name.parent) != 0; name = name.parent) components++;
  for (let i: u32 = 0; i < components; i++) {
    if (!add(reader, dump, Form.TEXT, SLASH, 1) || !add(reader, dump, Form.FIELD, 0, 0)) return false;
  }
  // The path is told from its end, so the pieces are filled from the last one.
  let piece = dump.pieces + <usize>dump.pieceCount * PIECE_SIZE;
  for (let name = first; changetype<usize>(name.parent) != 0; name = name.parent) {
    piece -= PIECE_SIZE;
    changetype<Piece>(piece).at = name.name;
    changetype<Piece>(piece).length = name.nameLength;
    piece -= PIECE_SIZE;
  }
  return true;
}

/** SIZE to DIGEST of the inode that was read. On the line of a further name the first one is the payload. */
function addNode(reader: Reader, dump: Dump, isLink: bool): bool {
  const inode = reader.inode;
  const isWhiteout = dump.walk.isWhiteout;
  const type = isWhiteout ? CHAR : typeOf(inode);
  put(dump, " ");
  putField(dump, type == DIRECTORY && !dump.isC ? 0 : inode.size);
  if (isLink) put(dump, "@");
  putNumber(dump, type | (inode.mode & ~TYPE_MASK), 8);
  put(dump, " ");
  putField(dump, inode.nlink);
  putField(dump, inode.uid);
  putField(dump, inode.gid);
  putField(dump, !isWhiteout && (type == CHAR || type == BLOCK_DEVICE) ? inode.union : 0);
  if (inode.mtimeSec < 0) put(dump, "-");
  putNumber(dump, inode.mtimeSec < 0 ? 0 - <u64>inode.mtimeSec : <u64>inode.mtimeSec, 10);
  put(dump, ".");
  putField(dump, inode.nsec);
  if (isLink) {
    if (!addPath(reader, dump, dump.walk.record)) return false;
    if (type != REGULAR) put(dump, " - -");
    else if (!(inode.layout == CHUNK_BASED ? addDigest(reader, dump) : addContent(reader, dump, inode))) return false;
  } else if (type == SYMLINK) {
    if (!addField(reader, dump, targetOf(inode), <u32>inode.size)) return false;
    put(dump, " - -");
  } else if (type == REGULAR) {
    if (!(inode.layout == CHUNK_BASED ? addExternal(reader, dump) : addInline(reader, dump, inode))) return false;
  } else put(dump, "- - -");
  return addText(reader, dump);
}

/** An optional field that is not empty: `-` alone would mean none. */
function addField(reader: Reader, dump: Dump, at: usize, length: u32): bool {
  if (length == 1 && load<u8>(at) == 0x2d) {
    put(dump, "\\x2d");
    return true;
  }
  return addText(reader, dump) && add(reader, dump, Form.FIELD, at, length);
}

function addExternal(reader: Reader, dump: Dump): bool {
  const redirect = redirectOf(reader.xattrs);
  if (redirect == 0) put(dump, "-");
  else if (!addField(reader, dump, redirect, redirectLength)) return false;
  return addDigest(reader, dump);
}

/** No content, and the digest. */
function addDigest(reader: Reader, dump: Dump): bool {
  put(dump, " - ");
  const digest = digestOf(reader.xattrs);
  if (digest == 0) {
    put(dump, "-");
    return true;
  }
  return addText(reader, dump) && add(reader, dump, Form.HEX, digest, reader.digestSize);
}

function addInline(reader: Reader, dump: Dump, inode: Inode): bool {
  put(dump, "-");
  return addContent(reader, dump, inode);
}

/** The content, and no digest. */
function addContent(reader: Reader, dump: Dump, inode: Inode): bool {
  put(dump, " ");
  const size = <u32>inode.size;
  if (size == 0) put(dump, "-");
  else if (inode.blockCount == 0) {
    if (!addField(reader, dump, inode.tail, size)) return false;
  } else {
    const head = min(size, inode.blockCount * BLOCK);
    if (!addField(reader, dump, inode.blocks, head)) return false;
    if (size > head && !add(reader, dump, Form.FIELD, inode.tail, size - head)) return false;
  }
  put(dump, " -");
  return true;
}

function addXattrs(reader: Reader, dump: Dump): bool {
  if (reader.xattrs.count != 0) {
    const removed = dump.isC ? dump.walk.removed & ~OPAQUE_MARKERS : dump.walk.removed;
    const kept = keepXattrs(reader.xattrs, removed);
    if (kept == 0) return false;
    if (keptCount > 1 && dump.isC) sortKeptLocalFirst(reader.xattrs, reader.inode);
    else if (keptCount > 1) sortKept(reader.xattrs);
    for (let i: u32 = 0; i < keptCount; i++) if (!addXattr(reader, dump, xattrIn(kept, i))) return false;
  }
  return add(reader, dump, Form.TEXT, NEWLINE, 1);
}

function addXattr(reader: Reader, dump: Dump, xattr: Xattr): bool {
  return (
    add(reader, dump, Form.TEXT, SPACE, 1) &&
    add(reader, dump, Form.TEXT, prefixOf(xattr.index), prefixLength(xattr.index)) &&
    add(reader, dump, Form.XATTR, keptName(xattr), keptNameLength(xattr)) &&
    add(reader, dump, Form.TEXT, EQUALS, 1) &&
    add(reader, dump, Form.XATTR, xattr.value, xattr.valueLength)
  );
}
