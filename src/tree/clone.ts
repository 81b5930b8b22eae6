// A copy of a tree that can be changed without changing the first: what tries one transform after another works on copies.

import { Directory, Leaf } from "./node.ts";

/** Copies directories and leaves; hard links stay, metadata and content, which are immutable, are shared. */
export function cloneTree(root: Directory): Directory {
  const leaves: Leaf[] = [];
  const copies: Leaf[] = [];
  return copyDirectories(root, (leaf) => {
    const place = leaf.placeIn(leaves);
    if (place !== undefined) return copies[place] as Leaf;
    leaf.appendTo(leaves);
    const copy = new Leaf(leaf.stat, leaf.content);
    copies.push(copy);
    return copy;
  });
}

/**
 * Copies the directories of a tree, and takes its leaves from a function.
 *
 * @param leafFor the leaf in the copy; called for every name, so that hard links stay if it answers the same each time
 */
export function copyDirectories(root: Directory, leafFor: (leaf: Leaf) => Leaf): Directory {
  const result = new Directory(root.stat);
  const pending: [Directory, Directory][] = [[root, result]];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const [from, to] = next;
    for (const [name, node] of from.entries) {
      if (node instanceof Leaf) {
        to.entries.set(name, leafFor(node));
        continue;
      }
      const directory = new Directory(node.stat);
      to.entries.set(name, directory);
      pending.push([node, directory]);
    }
  }
  return result;
}
