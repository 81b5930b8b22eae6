// A copy of a tree that can be changed without changing the first: what tries one transform after another works on copies.

import { Directory, Leaf } from "./node.ts";

/** Copies directories and leaves; hard links stay, metadata and content, which are immutable, are shared. */
export function cloneTree(root: Directory): Directory {
  const leaves: Leaf[] = [];
  const copies: Leaf[] = [];
  const copyLeaf = (leaf: Leaf): Leaf => {
    const place = leaf.placeIn(leaves);
    if (place !== undefined) return copies[place] as Leaf;
    leaf.appendTo(leaves);
    const copy = new Leaf(leaf.stat, leaf.content);
    copies.push(copy);
    return copy;
  };
  const result = new Directory(root.stat);
  const pending: [Directory, Directory][] = [[root, result]];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const [from, to] = next;
    for (const [name, node] of from.entries) {
      if (node instanceof Leaf) {
        to.entries.set(name, copyLeaf(node));
        continue;
      }
      const directory = new Directory(node.stat);
      to.entries.set(name, directory);
      pending.push([node, directory]);
    }
  }
  return result;
}
