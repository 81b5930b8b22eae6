// The walk over an image that `load` has found valid, in the order of dumps: depth first, each directory before its
// entries, names in byte order, stubs left out (docs/spec/erofs.md, 17.6 and 17.7).

import { refuseMemory } from "../erofs/failure";
import { DIRECTORY_ENTRY, Step } from "./directory";
import { hasStubs } from "./image";
import { VISITED, foundInode } from "./inode-table";
import { readInode } from "./inode";
import { WHITEOUT_MARKERS, directoryMarkers, isNativeWhiteout, looksLikeWhiteout } from "./leaf";
import { DirectoryFlag, DirectoryRecord, Frame, LinkRecord, Named, Reader, frameAt, topFrame } from "./reader";
import { isSelected } from "./selection";
import { readXattrs } from "./xattrs";

/** What the walk has come to. */
export namespace Event {
  export const END: i32 = 0;
  /** A directory: its inode and xattrs are read, `record` is its record. */
  export const DIRECTORY: i32 = 1;
  /** The first name of a leaf: inode and xattrs are read; `record` is its LinkRecord if it has several names. */
  export const LEAF: i32 = 2;
  /** Another name of the leaf of `record`. */
  export const LINK: i32 = 3;
  /** Memory is exhausted, or the image is not what it was; the refusal is made. */
  export const REFUSED: i32 = -1;
}

/** A walk in progress. The path is that of the entry it has come to, without escapes. */
@unmanaged
export class Walk {
  path: usize;
  pathLength: u32;
  pathRoom: u32;
  /** The directory of the entry; none for the root. */
  parent: DirectoryRecord;
  name: usize;
  nameLength: u32;
  record: Named;
  /** The leaf is an escaped whiteout: a character device 0:0. */
  isWhiteout: bool;
  /** Meanings, as a bit set, of marker xattrs that are the writer's; one of each is no part of the tree. */
  removed: u32;
  started: bool;
}

/** Goes to the next entry. */
export function nextEvent(reader: Reader, walk: Walk): i32 {
  if (!walk.started) return startWalk(reader, walk);
  while (reader.depth != 0) {
    const frame = topFrame(reader);
    const step = frame.next();
    if (step == Step.REFUSED) return Event.REFUSED;
    if (step == Step.END) {
      reader.depth--;
      continue;
    }
    const event = visit(reader, walk, frame);
    // A stub is no entry of the tree, and what is not selected none of the walk.
    if (event != Event.END) return event;
  }
  return Event.END;
}

function startWalk(reader: Reader, walk: Walk): i32 {
  walk.started = true;
  reader.walks++;
  reader.depth = 0;
  if (!readInode(reader.image, reader.image.root, reader.inode)) return Event.REFUSED;
  walk.name = 0;
  walk.nameLength = 0;
  walk.pathLength = 0;
  walk.parent = changetype<DirectoryRecord>(0);
  return enter(reader, walk, reader.root);
}

function visit(reader: Reader, walk: Walk, frame: Frame): i32 {
  if (reader.depth == 1 && !isSelected(reader, frame.name, frame.nameLength)) return Event.END;
  const found = foundInode(reader, frame.child);
  const inode = reader.inode;
  walk.parent = frame.record;
  walk.name = frame.name;
  walk.nameLength = frame.nameLength;
  walk.record = changetype<Named>(found == VISITED ? <usize>0 : <usize>found);
  if (frame.type != DIRECTORY_ENTRY && found != VISITED && !isFirstName(reader, changetype<LinkRecord>(walk.record), frame)) {
    return appendName(reader, walk, frame.pathLength) ? Event.LINK : Event.REFUSED;
  }
  if (!readInode(reader.image, frame.child, inode)) return Event.REFUSED;
  if (hasStubs(reader.image) && isNativeWhiteout(inode)) return Event.END;
  if (!appendName(reader, walk, frame.pathLength)) return Event.REFUSED;
  if (frame.type == DIRECTORY_ENTRY) return enter(reader, walk, changetype<DirectoryRecord>(<usize>found));
  if (!readXattrs(reader.image, inode, reader.xattrs)) return Event.REFUSED;
  walk.isWhiteout =
    (frame.record.flags & DirectoryFlag.MARKED) != 0 && looksLikeWhiteout(reader.image, inode, reader.xattrs);
  walk.removed = walk.isWhiteout ? WHITEOUT_MARKERS : 0;
  return Event.LEAF;
}

/** Whether the walk has come to no other name of the leaf; if so, this is the first from now on. */
function isFirstName(reader: Reader, record: LinkRecord, frame: Frame): bool {
  if (record.walk == reader.walks) return false;
  record.walk = reader.walks;
  record.parent = frame.record;
  record.name = frame.name;
  record.nameLength = frame.nameLength;
  return true;
}

function enter(reader: Reader, walk: Walk, record: DirectoryRecord): i32 {
  const inode = reader.inode;
  if (!readXattrs(reader.image, inode, reader.xattrs)) return Event.REFUSED;
  const frame = frameAt(reader, reader.depth++);
  frame.start(inode, reader.depth == 1 ? inode.nid : walk.parent.nid);
  frame.record = record;
  frame.pathLength = walk.pathLength;
  walk.record = record;
  walk.isWhiteout = false;
  walk.removed = (record.flags & DirectoryFlag.HAS_WHITEOUTS) != 0 ? directoryMarkers(reader.image) : 0;
  return Event.DIRECTORY;
}

/** Makes the path that of the entry. */
function appendName(reader: Reader, walk: Walk, parentLength: u32): bool {
  const length = parentLength + 1 + walk.nameLength;
  if (length > walk.pathRoom) {
    const room = max<u32>(4096, length << 1);
    const grown = reader.arena.alloc(room);
    if (grown == 0) return refuseMemory();
    memory.copy(grown, walk.path, parentLength);
    walk.path = grown;
    walk.pathRoom = room;
  }
  const at = walk.path + parentLength;
  store<u8>(at, 0x2f);
  memory.copy(at + 1, walk.name, walk.nameLength);
  walk.pathLength = length;
  return true;
}
