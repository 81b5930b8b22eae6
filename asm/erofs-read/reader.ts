// What one reader holds: the image, what the walk over it has found out, and the lists and windows that are reused.

import { Arena } from "../erofs/arena";
import { DirectoryCursor } from "./directory";
import { Image } from "./image";
import { Inode } from "./inode";
import { XattrList, newXattrList } from "./xattrs";

/** Deeper directories are refused (17.4). The root is at depth 0. */
export const MAX_DEPTH: u32 = 2048;

/** A name that leads to an inode; enough to tell the path again. */
@unmanaged
export class Named {
  /** The directory that has the name; none for the root. */
  parent: DirectoryRecord;
  /** The name, in the image. */
  name: usize;
  nameLength: u32;
  nid: u32;
  /** Type of the directory entry. */
  type: u32;
}

/** Flags of a {@link DirectoryRecord}. */
export namespace DirectoryFlag {
  /** It has the marker xattrs of a directory with whiteouts. */
  export const MARKED: u32 = 1;
  /** It is marked and has at least one escaped whiteout, so the markers are the writer's (17.6). */
  export const HAS_WHITEOUTS: u32 = 2;
}

/** A directory that the walk has entered. */
@unmanaged
export class DirectoryRecord extends Named {
  flags: u32;
  /** Position among the directories in the order of the tree, set by the walk that writes records. */
  number: u32;
}

/** A leaf with several names; `Named` is the first of them. */
@unmanaged
export class LinkRecord extends Named {
  nlink: u32;
  /** Names found so far. */
  count: u32;
  /** Position among the leaves in the order of the tree, set by the walk that writes records. */
  number: u32;
  /** The last walk that came to it; to that walk `Named` is the first name, also if it leaves some out. */
  walk: u32;
  next: LinkRecord;
}

/** One level of a walk. */
@unmanaged
export class Frame extends DirectoryCursor {
  record: DirectoryRecord;
  nlink: u32;
  /** A marker name is there twice, if the markers are (not) taken away. */
  repeats: bool;
  repeatsStripped: bool;
  /** Length of the directory's path, for walks that keep it. */
  pathLength: u32;
}

/** A multiple of 8. */
export const FRAME_SIZE: usize = (offsetof<Frame>() + 7) & ~7;

/** How far a reader is. */
export namespace State {
  /** Waits for the size. */
  export const NEW: u32 = 0;
  /** Takes the bytes. */
  export const FILLING: u32 = 1;
  /** The headers are checked. */
  export const OPEN: u32 = 2;
}

/** What can be pulled out. */
export namespace Output {
  export const NOTHING: u32 = 0;
  export const DUMP: u32 = 1;
  export const RECORDS: u32 = 2;
  export const OBJECTS: u32 = 3;
  /** Records of one node, all in the window already. */
  export const NODE: u32 = 4;
}

@unmanaged
export class Reader {
  /** What lives as long as the reader. */
  arena: Arena;
  /** What the last walk of `load` found out. */
  found: Arena;
  image: Image;
  inode: Inode;
  xattrs: XattrList;
  state: u32;
  output: u32;
  /** Length of the digests of objects: as given, or as the first one in the image is; 0 as long as it is not known. */
  digestSize: u32;

  /** The image is valid, and the following holds. */
  loaded: bool;
  /** Places where an inode can be, a bit for each that was visited, and pages of records (inode-table.ts). */
  inodeSlots: u32;
  visited: usize;
  recordPages: usize;
  links: LinkRecord;
  lastLink: LinkRecord;
  root: DirectoryRecord;
  /** Inodes visited, stubs included. */
  inodeCount: u64;
  directoryCount: u64;
  /** Bytes of the image that no visited inode has used. */
  budget: u64;

  /** Levels of the walk, MAX_DEPTH of them once there is one. */
  frames: usize;
  depth: u32;

  /** What the walk does beside validating: look for findings, also by the rule for repositories; collect object ids. */
  check: bool;
  checkRepository: bool;
  collect: bool;
  /** Names of stubs that the root has. */
  stubNames: u32;
  /** Findings of the last check (check.ts): the first and last that are kept, and the number of all. */
  findings: usize;
  lastFinding: usize;
  findingsKept: u32;
  findingCount: u64;
  /** Addresses of raw digests (objects.ts), and how many are sorted and given out. */
  digests: usize;
  digestRoom: u32;
  digestCount: u32;
  digestsGiven: u32;

  /** Names of the root that walks are restricted to (selection.ts), and the number of walks so far. */
  selection: usize;
  walks: u32;

  /** State of lookup.ts, dump.ts and records.ts, made when first needed, and the window that they fill. */
  lookup: usize;
  dump: usize;
  records: usize;
  node: usize;
  nameRoom: usize;
  window: usize;
}

function newArena(): Arena {
  const at = heap.alloc(offsetof<Arena>());
  memory.fill(at, 0, offsetof<Arena>());
  return changetype<Arena>(at);
}

/** A reader. Traps at the memory limit, as a constructor cannot refuse. */
export function newReader(digestSize: u32): Reader {
  const arena = newArena();
  const at = arena.alloc(offsetof<Reader>());
  const image = arena.alloc(offsetof<Image>());
  const inode = arena.alloc(offsetof<Inode>());
  const xattrs = newXattrList(arena);
  if (at == 0 || image == 0 || inode == 0 || changetype<usize>(xattrs) == 0) unreachable();
  const reader = changetype<Reader>(at);
  reader.arena = arena;
  reader.found = newArena();
  reader.image = changetype<Image>(image);
  reader.inode = changetype<Inode>(inode);
  reader.xattrs = xattrs;
  reader.digestSize = digestSize;
  return reader;
}

export function dropReader(reader: Reader): void {
  const arena = reader.arena;
  const found = reader.found;
  found.release();
  arena.release();
  heap.free(changetype<usize>(found));
  heap.free(changetype<usize>(arena));
}

@inline
export function frameAt(reader: Reader, depth: u32): Frame {
  return changetype<Frame>(reader.frames + <usize>depth * FRAME_SIZE);
}

@inline
export function topFrame(reader: Reader): Frame {
  return frameAt(reader, reader.depth - 1);
}
