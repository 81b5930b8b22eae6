// Where a refusal of the layout is: the line and path of an entry. Only walked after something was refused.

import { atLine, atPath, prependToPath } from "./failure";
import { Directory, Entry, EntryFlag, Inode, entryName, isNone } from "./tree";
import { Writer } from "./writer";

/** Adds line and path of the entry to the refusal. Answers false. */
export function refuseAtEntry(writer: Writer, directory: Directory, entry: Entry): bool {
  atLine(entry.line);
  return refuseBelow(writer, directory, entryName(entry), entry.nameLength);
}

/** Adds the path of a name in the directory to the refusal. Answers false. */
export function refuseBelow(writer: Writer, directory: Directory, name: usize, nameLength: u32): bool {
  atPath(0, 0);
  // Names that are too long are refused; their beginning is enough.
  prependToPath(name, min<u32>(nameLength, 256));
  for (; changetype<usize>(directory) != changetype<usize>(writer.root); directory = directory.parent) {
    prependToPath(entryName(directory.entry), directory.entry.nameLength);
  }
  return false;
}

/** Adds line and path of the inode's first name to the refusal. Answers false. */
export function refuseAtInode(writer: Writer, inode: Inode): bool {
  let directory = writer.root;
  if (changetype<usize>(inode) == changetype<usize>(directory)) {
    atLine(1);
    return atPath(ROOT, 1);
  }
  for (; !isNone(changetype<usize>(directory)); directory = directory.nextDirectory) {
    for (let entry = directory.first; !isNone(changetype<usize>(entry)); entry = entry.next) {
      if ((entry.flags & EntryFlag.DOT) == 0 && changetype<usize>(entry.inode) == changetype<usize>(inode)) {
        return refuseAtEntry(writer, directory, entry);
      }
    }
  }
  return false;
}

const ROOT: usize = memory.data<u8>([0x2f]);
