// Names in order within directories, owner names, and the order of inodes (docs/spec/erofs.md, 2, 9, 11).

import { compareBytes } from "./bytes";
import { refuseMemory } from "./failure";
import { refuseAtEntry } from "./locate";
import {
  Directory,
  Entry,
  EntryFlag,
  Inode,
  InodeFlag,
  allocEntry,
  entryName,
  isDirectory,
  isNone,
  refuseDuplicate,
} from "./tree";
import { Writer } from "./writer";

@inline
function compareEntries(a: Entry, b: Entry): i32 {
  return compareBytes(entryName(a), a.nameLength, entryName(b), b.nameLength);
}

/** Sorts every directory; refuses names that are there twice. */
export function sortDirectories(writer: Writer): bool {
  let directory = writer.root;
  for (; !isNone(changetype<usize>(directory)); directory = directory.nextDirectory) {
    if ((directory.flags & InodeFlag.UNSORTED) == 0) continue;
    directory.first = sortEntries(directory.first);
    for (let entry = directory.first; !isNone(changetype<usize>(entry.next)); entry = entry.next) {
      if (compareEntries(entry, entry.next) != 0) continue;
      refuseDuplicate(entry.next);
      return refuseAtEntry(writer, directory, entry.next);
    }
  }
  return true;
}

/** Runs of 2^i entries that wait for their like. */
const BINS: usize = memory.data(128, 4);

/** Stable merge sort of a list: runs are merged like the digits of a binary counter carry. */
function sortEntries(list: Entry): Entry {
  memory.fill(BINS, 0, 128);
  let used: u32 = 0;
  while (!isNone(changetype<usize>(list))) {
    let run = list;
    list = list.next;
    run.next = changetype<Entry>(0);
    let bin: u32 = 0;
    for (; load<u32>(BINS + (<usize>bin << 2)) != 0; bin++) {
      run = mergeEntries(changetype<Entry>(<usize>load<u32>(BINS + (<usize>bin << 2))), run);
      store<u32>(BINS + (<usize>bin << 2), 0);
    }
    store<u32>(BINS + (<usize>bin << 2), <u32>changetype<usize>(run));
    used = max(used, bin + 1);
  }
  let sorted = changetype<Entry>(0);
  for (let bin: u32 = 0; bin < used; bin++) {
    const run = changetype<Entry>(<usize>load<u32>(BINS + (<usize>bin << 2)));
    if (isNone(changetype<usize>(run))) continue;
    sorted = isNone(changetype<usize>(sorted)) ? run : mergeEntries(run, sorted);
  }
  return sorted;
}

/** Merges two lists; `a` holds what came first. */
function mergeEntries(a: Entry, b: Entry): Entry {
  let first = changetype<Entry>(0);
  let last = changetype<Entry>(0);
  while (!isNone(changetype<usize>(a)) && !isNone(changetype<usize>(b))) {
    let taken = a;
    if (compareEntries(a, b) <= 0) {
      a = a.next;
    } else {
      taken = b;
      b = b.next;
    }
    if (isNone(changetype<usize>(last))) first = taken;
    else last.next = taken;
    last = taken;
  }
  const rest = isNone(changetype<usize>(a)) ? b : a;
  if (isNone(changetype<usize>(last))) return rest;
  last.next = rest;
  return first;
}

/** Makes the first name in a depth-first walk the owner of each inode with several names. */
export function chooseOwners(writer: Writer): void {
  let directory = writer.root;
  let entry = directory.first;
  while (true) {
    while (isNone(changetype<usize>(entry))) {
      if (changetype<usize>(directory) == changetype<usize>(writer.root)) return;
      entry = directory.entry.next;
      directory = directory.parent;
    }
    const inode = entry.inode;
    if (isDirectory(inode)) {
      directory = changetype<Directory>(inode);
      entry = directory.first;
      continue;
    }
    if ((inode.flags & InodeFlag.LINKED) != 0) {
      if ((inode.flags & InodeFlag.PLACED) != 0) {
        entry.flags |= EntryFlag.LINK;
      } else {
        inode.flags |= InodeFlag.PLACED;
        entry.flags &= ~EntryFlag.LINK;
      }
    }
    entry = entry.next;
  }
}

/** Adds `.` and `..` to every directory, at their places among the names, and counts the links that these make. */
export function addDots(writer: Writer): bool {
  let directory = writer.root;
  for (; !isNone(changetype<usize>(directory)); directory = directory.nextDirectory) {
    directory.nlink = 2 + directory.subdirectories;
    if (!addDot(writer, directory, 1, directory) || !addDot(writer, directory, 2, directory.parent)) return false;
  }
  return true;
}

const DOTS: usize = memory.data<u8>([0x2e, 0x2e]);

function addDot(writer: Writer, directory: Directory, length: u32, inode: Inode): bool {
  const dot = allocEntry(writer, DOTS, length, 0);
  if (isNone(changetype<usize>(dot))) return refuseMemory();
  dot.inode = inode;
  dot.flags = EntryFlag.DOT;
  let before = changetype<Entry>(0);
  let after = directory.first;
  while (!isNone(changetype<usize>(after)) && compareEntries(after, dot) < 0) {
    before = after;
    after = after.next;
  }
  dot.next = after;
  if (isNone(changetype<usize>(before))) directory.first = dot;
  else before.next = dot;
  return true;
}

let last: Inode = changetype<Inode>(0);

/** Puts the inode behind the others; counts it and its xattrs, and finds the smallest mtime. */
function append(writer: Writer, inode: Inode): void {
  if (isNone(changetype<usize>(last))) {
    writer.firstInode = inode;
    writer.minSec = inode.mtimeSec;
    writer.minNsec = inode.nsec;
  } else {
    last.next = inode;
    const sec = inode.mtimeSec;
    const min = writer.minSec;
    // Times before 1970 are the smallest in dialect `c`, the largest in `rs` (16, item 1).
    const smaller = writer.dialectC ? sec < min : <u64>sec < <u64>min;
    if (smaller || (sec == min && inode.nsec < writer.minNsec)) {
      writer.minSec = sec;
      writer.minNsec = inode.nsec;
    }
  }
  last = inode;
  writer.inodeCount++;
  inode.xattrs.uses++;
}

function isOwner(entry: Entry): bool {
  return (entry.flags & (EntryFlag.LINK | EntryFlag.DOT)) == 0;
}

/** Breadth first: versions 0 and 1. */
export function orderByBreadth(writer: Writer): void {
  last = changetype<Inode>(0);
  append(writer, writer.root);
  // The order is the queue: directories are met in it again.
  for (let inode: Inode = writer.root; !isNone(changetype<usize>(inode)); inode = inode.next) {
    if (!isDirectory(inode)) continue;
    for (let entry = changetype<Directory>(inode).first; !isNone(changetype<usize>(entry)); entry = entry.next) {
      if (isOwner(entry)) append(writer, entry.inode);
    }
  }
}

/** Depth first, a directory before its content: version 2. */
export function orderByDepth(writer: Writer): void {
  last = changetype<Inode>(0);
  append(writer, writer.root);
  let directory = writer.root;
  let entry = directory.first;
  while (true) {
    while (isNone(changetype<usize>(entry))) {
      if (changetype<usize>(directory) == changetype<usize>(writer.root)) return;
      entry = directory.entry.next;
      directory = directory.parent;
    }
    if (isOwner(entry)) {
      append(writer, entry.inode);
      if (isDirectory(entry.inode)) {
        directory = changetype<Directory>(entry.inode);
        entry = directory.first;
        continue;
      }
    }
    entry = entry.next;
  }
}
