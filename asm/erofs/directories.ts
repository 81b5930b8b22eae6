// Finding a directory by its parent and name: an open-addressing table that holds directories only.

import { Arena } from "./arena";
import { equalBytes, hashBytes } from "./bytes";
import { Directory, entryName } from "./tree";

const INITIAL_SLOTS: u32 = 256;

@unmanaged
export class DirectoryTable {
  private slots: usize;
  private mask: u32;
  private count: u32;

  /** False at the memory limit. */
  init(arena: Arena): bool {
    this.mask = INITIAL_SLOTS - 1;
    this.slots = arena.alloc(INITIAL_SLOTS << 2);
    return this.slots != 0;
  }

  /** The subdirectory of that name, or none. */
  find(parent: Directory, name: usize, nameLength: u32): Directory {
    return changetype<Directory>(<usize>load<u32>(this.slotOf(parent, name, nameLength)));
  }

  /** Adds a directory that has its entry and parent. False at the memory limit. */
  add(arena: Arena, directory: Directory): bool {
    if (this.count * 4 >= this.mask * 3 && !this.grow(arena)) return false;
    this.put(directory);
    this.count++;
    return true;
  }

  private put(directory: Directory): void {
    const entry = directory.entry;
    store<u32>(this.slotOf(directory.parent, entryName(entry), entry.nameLength), <u32>changetype<usize>(directory));
  }

  /** The slot that holds the directory, or the free one where it belongs. */
  private slotOf(parent: Directory, name: usize, nameLength: u32): usize {
    let index = hashBytes(name, nameLength, <u32>changetype<usize>(parent));
    while (true) {
      const slot = this.slots + (<usize>(index & this.mask) << 2);
      const at = <usize>load<u32>(slot);
      if (at == 0) return slot;
      const directory = changetype<Directory>(at);
      if (
        changetype<usize>(directory.parent) == changetype<usize>(parent) &&
        directory.entry.nameLength == nameLength &&
        equalBytes(entryName(directory.entry), name, nameLength)
      ) {
        return slot;
      }
      index++;
    }
  }

  private grow(arena: Arena): bool {
    const oldSlots = this.slots;
    const oldCount = this.mask + 1;
    const slots = arena.alloc(<usize>oldCount << 3);
    if (slots == 0) return false;
    this.slots = slots;
    this.mask = (oldCount << 1) - 1;
    for (let i: u32 = 0; i < oldCount; i++) {
      const at = <usize>load<u32>(oldSlots + (<usize>i << 2));
      if (at != 0) this.put(changetype<Directory>(at));
    }
    return true;
  }
}
