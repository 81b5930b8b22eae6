// Putting a node into a directory the way layers do (docs/spec/tree.md, section 1).

import type { ByteString } from "../bytes/byte-string.ts";
import { Directory, type Node } from "./node.ts";

/**
 * A directory over a directory replaces only its metadata, as a whole; everything else replaces what was there,
 * subtrees included. Other names of a replaced leaf keep it.
 */
export function mergeNode(parent: Directory, name: ByteString, node: Node): void {
  if (node instanceof Directory) {
    const existing = parent.entries.get(name);
    if (existing instanceof Directory) {
      existing.stat = node.stat;
      return;
    }
  }
  parent.entries.set(name, node);
}
