// From the path of a line to its directory. Dumps go depth first, so the directories of the last path are kept as a
// stack and only what differs is looked up (docs/spec/dumpfile.md, 2).

import { Arena } from "../erofs/arena";
import { commonPrefix, equalBytes } from "../erofs/bytes";
import { FailureCode, refuse, say, sayBytes } from "../erofs/failure";
import { Directory, EntryFlag, checkName, entryName, isDirectory, isNone, sayType } from "../erofs/tree";
import { Writer } from "../erofs/writer";

/** The longest path, unescaped. */
export const MAX_PATH: u32 = 4096;
/** Every component takes two bytes at least. */
const MAX_DEPTH: u32 = 2048;

/** The directory of the last line, and those above it. */
@unmanaged
export class PathStack {
  /** Path of the top directory: `/a/b`, empty for the root. */
  text: usize;
  /** Per component: the end of its path in `text`, and the directory. */
  ends: usize;
  directories: usize;
  length: u32;
  depth: u32;

  /** False at the memory limit. */
  init(arena: Arena): bool {
    this.text = arena.alloc(MAX_PATH);
    this.ends = arena.alloc(MAX_DEPTH << 2);
    this.directories = arena.alloc(MAX_DEPTH << 2);
    return this.text != 0 && this.ends != 0 && this.directories != 0;
  }

  @inline
  endAt(depth: u32): u32 {
    return load<u32>(this.ends + (<usize>depth << 2));
  }

  @inline
  directoryAt(depth: u32): Directory {
    return changetype<Directory>(<usize>load<u32>(this.directories + (<usize>depth << 2)));
  }
}

/** The directory of that path (`/a/b`, empty for the root), or none after a refusal. */
export function findParent(writer: Writer, path: usize, length: u32): Directory {
  const stack = writer.paths;
  const common = commonPrefix(path, length, stack.text, stack.length);
  let depth = stack.depth;
  while (depth != 0) {
    const end = stack.endAt(depth - 1);
    if (end <= common && (end == length || load<u8>(path + end) == 0x2f)) break;
    depth--;
  }
  let at: u32 = depth == 0 ? 0 : stack.endAt(depth - 1);
  let directory = depth == 0 ? writer.root : stack.directoryAt(depth - 1);
  while (at < length) {
    const start = at + 1;
    let end = start;
    while (end < length && load<u8>(path + end) != 0x2f) end++;
    if (!checkName(path + start, end - start)) return changetype<Directory>(0);
    const child = findChild(writer, directory, path, start, end);
    if (isNone(changetype<usize>(child))) return child;
    directory = child;
    memory.copy(stack.text + at, path + at, end - at);
    store<u32>(stack.ends + (<usize>depth << 2), end);
    store<u32>(stack.directories + (<usize>depth << 2), <u32>changetype<usize>(child));
    depth++;
    at = end;
    stack.depth = depth;
    stack.length = end;
  }
  stack.depth = depth;
  stack.length = at;
  return directory;
}

function findChild(writer: Writer, directory: Directory, path: usize, start: u32, end: u32): Directory {
  const child = writer.directories.find(directory, path + start, end - start);
  if (!isNone(changetype<usize>(child))) return child;
  const nameLength = end - start;
  for (let entry = directory.first; !isNone(changetype<usize>(entry)); entry = entry.next) {
    if (entry.nameLength != nameLength || !equalBytes(entryName(entry), path + start, nameLength)) continue;
    refuse(FailureCode.TYPE_CONFLICT, "PATH", "the parent ");
    sayBytes(path, end);
    say(" is a ");
    if ((entry.flags & EntryFlag.UNRESOLVED) != 0) say("hard link");
    else if (!isDirectory(entry.inode)) sayType(entry.inode.mode);
    say(", not a directory");
    return changetype<Directory>(0);
  }
  refuse(FailureCode.MISSING_PARENT, "PATH", "there is no line before this one for the parent directory ");
  sayBytes(path, end);
  return changetype<Directory>(0);
}
