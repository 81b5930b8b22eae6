// Hard links of dump text: link lines name their target by path, before or after its own line. All are resolved at the
// end, in one pass over the directories that hold targets (docs/spec/dumpfile.md, 2.1).

import { hashBytes, equalBytes } from "./bytes";
import { FailureCode, refuse, refuseMemory, sayBytes } from "./failure";
import { refuseAtEntry } from "./locate";
import {
  CHAR,
  Directory,
  Entry,
  EntryFlag,
  Inode,
  InodeFlag,
  Leaf,
  TYPE_MASK,
  allocEntry,
  appendEntry,
  behindEntry,
  entryName,
  isNone,
} from "./tree";
import { Writer } from "./writer";

/** A link line. The target path lies behind the object. */
@unmanaged
export class Link {
  next: Link;
  /** The name that the line gives, and the directory it is in. */
  entry: Entry;
  parent: Directory;
  /** The entry that the target path names. */
  target: Entry;
  /** Directory of the target. */
  directory: Directory;
  /** The next that looks for the same target. */
  sameTarget: Link;
  /** The link whose chain is being followed, to notice cycles. */
  visitor: Link;
  pathLength: u32;
  /** Where the last component of the path begins. */
  nameStart: u32;
}

@inline
function linkPath(link: Link): usize {
  return changetype<usize>(link) + offsetof<Link>();
}

/** Adds the name of a link line. The path is that of another entry: absolute, its components checked. */
export function addLink(
  writer: Writer,
  parent: Directory,
  name: usize,
  nameLength: u32,
  path: usize,
  pathLength: u32,
): bool {
  const entry = allocEntry(writer, name, nameLength, offsetof<Link>() + pathLength);
  if (isNone(changetype<usize>(entry))) return false;
  const link = changetype<Link>(behindEntry(entry));
  link.entry = entry;
  link.parent = parent;
  link.pathLength = pathLength;
  memory.copy(linkPath(link), path, pathLength);
  entry.flags = EntryFlag.LINK | EntryFlag.UNRESOLVED;
  entry.inode = changetype<Inode>(link);
  if (isNone(changetype<usize>(writer.links))) writer.links = link;
  else writer.lastLink.next = link;
  writer.lastLink = link;
  return appendEntry(parent, entry);
}

function refuseLink(writer: Writer, link: Link, message: string): bool {
  refuse(FailureCode.HARDLINK, "PAYLOAD", message);
  sayBytes(linkPath(link), link.pathLength);
  return refuseAtEntry(writer, link.parent, link.entry);
}

/** Gives the entries of all link lines their inodes. */
export function resolveLinks(writer: Writer): bool {
  const first = writer.links;
  if (isNone(changetype<usize>(first))) return true;
  if (!findTargets(writer)) return false;
  for (let link = first; !isNone(changetype<usize>(link)); link = link.next) {
    if (isNone(changetype<usize>(link.target)))
      return refuseLink(writer, link, "there is no entry for the link target ");
    if (!writer.dialectC && link.target.line >= link.entry.line) {
      return refuseLink(writer, link, "dialect rs wants the link target on an earlier line: ");
    }
  }
  for (let link = first; !isNone(changetype<usize>(link)); link = link.next) {
    if (!followChain(writer, link)) return false;
  }
  return true;
}

/** Finds the entries that link lines name: a table of what is wanted, then one pass over the entries. */
function findTargets(writer: Writer): bool {
  let count: u32 = 0;
  for (let link = writer.links; !isNone(changetype<usize>(link)); link = link.next) {
    if (!findDirectory(writer, link)) return false;
    count++;
  }
  let slotCount: u32 = 64;
  while (slotCount < count << 1) slotCount <<= 1;
  const slots = writer.arena.alloc(<usize>slotCount << 2);
  if (slots == 0) return refuseMemory();
  const mask = slotCount - 1;
  for (let link = writer.links; !isNone(changetype<usize>(link)); link = link.next) {
    const name = linkPath(link) + link.nameStart;
    const slot = wantedSlot(slots, mask, link.directory, name, link.pathLength - link.nameStart);
    link.sameTarget = changetype<Link>(<usize>load<u32>(slot));
    store<u32>(slot, <u32>changetype<usize>(link));
  }
  let directory = writer.root;
  for (; !isNone(changetype<usize>(directory)); directory = directory.nextDirectory) {
    if ((directory.flags & InodeFlag.LINK_TARGETS) == 0) continue;
    for (let entry = directory.first; !isNone(changetype<usize>(entry)); entry = entry.next) {
      const slot = wantedSlot(slots, mask, directory, entryName(entry), entry.nameLength);
      let link = changetype<Link>(<usize>load<u32>(slot));
      for (; !isNone(changetype<usize>(link)); link = link.sameTarget) link.target = entry;
    }
  }
  return true;
}

function wantedSlot(slots: usize, mask: u32, directory: Directory, name: usize, nameLength: u32): usize {
  let index = hashBytes(name, nameLength, <u32>changetype<usize>(directory));
  while (true) {
    const slot = slots + (<usize>(index & mask) << 2);
    const at = <usize>load<u32>(slot);
    if (at == 0) return slot;
    const link = changetype<Link>(at);
    if (
      changetype<usize>(link.directory) == changetype<usize>(directory) &&
      link.pathLength - link.nameStart == nameLength &&
      equalBytes(linkPath(link) + link.nameStart, name, nameLength)
    ) {
      return slot;
    }
    index++;
  }
}

/** Finds the directory of the link's target; refuses targets that are directories themselves. */
function findDirectory(writer: Writer, link: Link): bool {
  const path = linkPath(link);
  const length = link.pathLength;
  let directory = writer.root;
  let start: u32 = 1;
  while (true) {
    if (start >= length) return refuseLink(writer, link, "a directory cannot have a second name: ");
    let end = start;
    while (end < length && load<u8>(path + end) != 0x2f) end++;
    const child = writer.directories.find(directory, path + start, end - start);
    if (end == length) {
      if (!isNone(changetype<usize>(child))) return refuseLink(writer, link, "a directory cannot have a second name: ");
      link.directory = directory;
      link.nameStart = start;
      directory.flags |= InodeFlag.LINK_TARGETS;
      return true;
    }
    if (isNone(changetype<usize>(child))) return refuseLink(writer, link, "there is no entry for the link target ");
    directory = child;
    start = end + 1;
  }
}

function followChain(writer: Writer, link: Link): bool {
  let last = link;
  while ((last.target.flags & EntryFlag.UNRESOLVED) != 0) {
    if (changetype<usize>(last.visitor) == changetype<usize>(link)) {
      return refuseLink(writer, link, "the link leads back to itself: ");
    }
    last.visitor = link;
    last = changetype<Link>(last.target.inode);
  }
  const leaf = changetype<Leaf>(last.target.inode);
  if ((leaf.mode & TYPE_MASK) == CHAR && leaf.rdev == 0) {
    return refuseLink(writer, link, "a whiteout (character device 0) has exactly one name: ");
  }
  leaf.flags |= InodeFlag.LINKED;
  let at = link;
  while (true) {
    const resolved = (at.target.flags & EntryFlag.UNRESOLVED) == 0;
    const next = changetype<Link>(at.target.inode);
    if ((at.entry.flags & EntryFlag.UNRESOLVED) != 0) {
      at.entry.flags &= ~EntryFlag.UNRESOLVED;
      at.entry.inode = leaf;
      if (!writer.dialectC) leaf.nlink++;
    }
    if (resolved) return true;
    at = next;
  }
}
