// Restricts walks to some entries of the root, as `composefs-info --filter` does (docs/spec/tools-c.md, 2). The whole image is
// validated all the same.

import { equalBytes } from "../erofs/bytes";
import { refuseMemory } from "../erofs/failure";
import { Reader } from "./reader";

@unmanaged
class SelectedName {
  next: SelectedName;
  at: usize;
  length: u32;
}

/** Adds a name; as long as there is none, everything is selected. False at the memory limit. */
export function selectName(reader: Reader, name: usize, length: u32): bool {
  const selected = changetype<SelectedName>(reader.arena.alloc(offsetof<SelectedName>()));
  const copy = reader.arena.alloc(length);
  if (changetype<usize>(selected) == 0 || copy == 0) return refuseMemory();
  memory.copy(copy, name, length);
  selected.next = changetype<SelectedName>(reader.selection);
  selected.at = copy;
  selected.length = length;
  reader.selection = changetype<usize>(selected);
  return true;
}

/** Whether an entry of the root is selected. */
export function isSelected(reader: Reader, name: usize, length: u32): bool {
  if (reader.selection == 0) return true;
  let selected = changetype<SelectedName>(reader.selection);
  for (; changetype<usize>(selected) != 0; selected = selected.next) {
    if (selected.length == length && equalBytes(selected.at, name, length)) return true;
  }
  return false;
}
