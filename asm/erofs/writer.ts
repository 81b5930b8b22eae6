// The state of one image writer. Input goes into the tree (../dumpfile, record.ts), `finish` lays it out (layout.ts),
// the emitter streams the image (emit.ts).

import { Arena } from "./arena";
import { DirectoryTable } from "./directories";
import { FailureCode, refuse } from "./failure";
import { Input } from "./input";
import { LineState } from "../dumpfile/line";
import { PathStack } from "../dumpfile/paths";
import { newXattrCache } from "../dumpfile/xattr-text";
import { Link } from "./links";
import { AddressList } from "./record";
import { Whiteout } from "./overlay";
import { Directory, Inode } from "./tree";
import { Pair, XattrTables } from "./xattrs";
import { Emitter } from "./emit";

/** What a writer takes next. */
export namespace Phase {
  export const EMPTY: u8 = 0;
  export const DUMP: u8 = 1;
  export const RECORDS: u8 = 2;
  export const FINISHED: u8 = 3;
  export const FAILED: u8 = 4;
}

@unmanaged
export class Writer {
  arena: Arena;
  /** Line of the dump that is being read, 0 outside of dumps. */
  line: u64;
  /** Seconds of the smallest mtime. */
  minSec: i64;
  inodeCount: u64;
  inodesEnd: u64;
  dataStart: u64;
  dataBlocks: u64;
  minVersion: u32;
  maxVersion: u32;
  /** Size of an object digest: 32 or 64. */
  digestSize: u32;
  /** composefs_version that is written, once laid out. */
  version: u32;
  /** Dialect `c`; never with version 2. */
  dialectC: bool;
  phase: u8;
  /** The header flag. */
  hasAcl: bool;
  input: Input;
  lineState: LineState;
  paths: PathStack;
  root: Directory;
  lastDirectory: Directory;
  directories: DirectoryTable;
  xattrs: XattrTables;
  /** Of the dump parser: see ../dumpfile/xattr-text.ts. */
  xattrCache: usize;
  links: Link;
  lastLink: Link;
  whiteouts: Whiteout;
  minNsec: u32;
  /** Inode order. */
  firstInode: Inode;
  /** Shared table: addresses of pairs in table order. */
  shared: usize;
  sharedCount: u32;
  sharedSize: u32;
  /** What records refer to by number. */
  sentDirectories: AddressList;
  sentLeaves: AddressList;
  sentSets: AddressList;
  /** The metacopy xattr of files without a digest. */
  emptyMetacopy: Pair;
  emitter: Emitter;
}

/** Where the next part may begin. */
@inline
function behind<T>(part: usize): usize {
  return (part + offsetof<T>() + 7) & ~7;
}

/** A new writer, or 0 at the memory limit. */
export function newWriter(minVersion: u32, maxVersion: u32, dialect: i32, objects: i32): usize {
  const arena = changetype<Arena>(heap.alloc(offsetof<Arena>()));
  memory.fill(changetype<usize>(arena), 0, offsetof<Arena>());
  const at = arena.alloc(offsetof<Writer>());
  if (at == 0) return 0;
  const writer = changetype<Writer>(at);
  writer.arena = arena;
  writer.minVersion = minVersion;
  writer.maxVersion = maxVersion;
  writer.digestSize = objects == 0 ? 32 : 64;
  writer.dialectC = dialect == 0 && maxVersion < 2;
  const parts =
    offsetof<Input>() +
    offsetof<LineState>() +
    offsetof<PathStack>() +
    offsetof<DirectoryTable>() +
    offsetof<XattrTables>() +
    3 * offsetof<AddressList>();
  // Each part is rounded up to 8.
  let part = arena.alloc(parts + 8 * 8);
  if (part == 0) {
    freeWriter(writer);
    return 0;
  }
  writer.input = changetype<Input>(part);
  part = behind<Input>(part);
  writer.lineState = changetype<LineState>(part);
  part = behind<LineState>(part);
  writer.paths = changetype<PathStack>(part);
  part = behind<PathStack>(part);
  writer.directories = changetype<DirectoryTable>(part);
  part = behind<DirectoryTable>(part);
  writer.xattrs = changetype<XattrTables>(part);
  part = behind<XattrTables>(part);
  writer.sentDirectories = changetype<AddressList>(part);
  part = behind<AddressList>(part);
  writer.sentLeaves = changetype<AddressList>(part);
  writer.sentSets = changetype<AddressList>(behind<AddressList>(part));
  writer.xattrCache = newXattrCache(arena);
  if (
    writer.xattrCache == 0 ||
    !writer.paths.init(arena) ||
    !writer.xattrs.init(arena) ||
    !writer.directories.init(arena)
  ) {
    freeWriter(writer);
    return 0;
  }
  return at;
}

/** Gives back all memory of the writer. */
export function freeWriter(writer: Writer): void {
  const arena = writer.arena;
  arena.release();
  heap.free(changetype<usize>(arena));
}

/** Checks that the writer takes input of that phase, and that its options make sense. */
export function enterPhase(writer: Writer, phase: u8): bool {
  const minVersion = writer.minVersion;
  const maxVersion = writer.maxVersion;
  if (
    maxVersion > 2 ||
    minVersion > maxVersion ||
    (minVersion != maxVersion && (maxVersion != 1 || !writer.dialectC))
  ) {
    return refuse(FailureCode.STATE, "", "versions must be one of 0, 1, 2, or 0 to 1 in dialect c");
  }
  if (writer.phase == Phase.EMPTY) writer.phase = phase;
  if (writer.phase == phase) return true;
  if (writer.phase == Phase.FAILED) return refuse(FailureCode.STATE, "", "the writer has failed before");
  if (writer.phase == Phase.FINISHED) return refuse(FailureCode.STATE, "", "the writer is finished");
  return refuse(FailureCode.STATE, "", "the writer takes dump text or records, not both");
}
