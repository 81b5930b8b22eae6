// The xattrs of a line (docs/spec/dumpfile.md, 5). Most lines of a dump repeat a few texts, so the texts that were read
// are kept in a small cache together with their sets.

import { equalBytes, hashBytes } from "../erofs/bytes";
import { FailureCode, refuse } from "../erofs/failure";
import { Arena } from "../erofs/arena";
import { node } from "../erofs/nodes";
import { Writer } from "../erofs/writer";
import { addXattr, endXattrs, startXattrs } from "../erofs/xattr-list";
import { XattrSet } from "../erofs/xattrs";
import { unescape, unescapedLength } from "./escapes";

const CACHE_LINES: u32 = 64;
/** Longer texts are not kept. */
const CACHED_TEXT: u32 = 496;

/** One text and its set. The text lies behind the object. */
@unmanaged
class CacheLine {
  set: XattrSet;
  length: u32;
}

const CACHE_LINE_SIZE: usize = 512;

/** Memory of the cache; none at the memory limit. */
export function newXattrCache(arena: Arena): usize {
  return arena.alloc(<usize>CACHE_LINES * CACHE_LINE_SIZE);
}

/** Reads the xattrs from `at` to `end` into `node`. Without the space before them there are none. */
export function readXattrs(writer: Writer, at: usize, end: usize, present: bool, hasEscape: bool): bool {
  if (!present) {
    node.xattrs = writer.xattrs.empty;
    return true;
  }
  const length = <u32>(end - at);
  const hash = length > CACHED_TEXT ? 0 : hashBytes(at, length, 0);
  const line = changetype<CacheLine>(writer.xattrCache + <usize>(hash & (CACHE_LINES - 1)) * CACHE_LINE_SIZE);
  const text = changetype<usize>(line) + offsetof<CacheLine>();
  if (line.length == length && length != 0 && equalBytes(text, at, length)) {
    node.xattrs = line.set;
    return true;
  }
  // Kept before it is parsed, which unescapes the text in its place.
  const kept = length <= CACHED_TEXT;
  if (kept) {
    line.length = 0;
    memory.copy(text, at, length);
  }
  const set = parse(writer, at, end, hasEscape);
  if (changetype<usize>(set) == 0) return false;
  if (kept) {
    line.set = set;
    line.length = length;
  }
  node.xattrs = set;
  return true;
}

function parse(writer: Writer, at: usize, end: usize, hasEscape: bool): XattrSet {
  startXattrs(writer);
  while (true) {
    let equals: usize = 0;
    let stop = at;
    for (; stop < end; stop++) {
      const byte = load<u8>(stop);
      if (byte == 0x20) break;
      if (byte == 0x3d && equals == 0) equals = stop;
    }
    if (equals == 0) {
      refuse(
        FailureCode.SYNTAX,
        "XATTR",
        stop == at ? "two spaces, or a space at the end of the line" : "expected NAME=VALUE",
      );
      return changetype<XattrSet>(0);
    }
    if (!addText(writer, at, equals, stop, hasEscape)) return changetype<XattrSet>(0);
    if (stop == end) return endXattrs(writer, true);
    at = stop + 1;
  }
}

function addText(writer: Writer, name: usize, equals: usize, end: usize, hasEscape: bool): bool {
  const nameLength = <u32>(equals - name);
  const valueLength = <u32>(end - equals - 1);
  if (!hasEscape) return addXattr(writer, name, nameLength, equals + 1, valueLength);
  // Unescaping never makes text longer, and the line is not needed any more: decode in place.
  if (!unescape(name, equals, name, "XATTR")) return false;
  const decodedName = unescapedLength;
  if (!unescape(equals + 1, end, equals + 1, "XATTR")) return false;
  return addXattr(writer, name, decodedName, equals + 1, unescapedLength);
}
