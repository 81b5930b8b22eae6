// The same tree with the digests of another algorithm: one scan gives the images of all variants.

import type { ObjectId } from "../bytes/algorithm.ts";
import { type Content, Directory, Leaf, type Node } from "./node.ts";

/**
 * A copy of the tree in which external files have other digests; metadata and all other content are shared, hard links stay.
 *
 * @param digest the digest of a file; undefined leaves it as it is
 */
export function withDigests(root: Directory, digest: (content: Content) => ObjectId | undefined): Directory {
  const leaves = new Map<Leaf, Leaf>();
  const copyLeaf = (leaf: Leaf): Leaf => {
    const { content } = leaf;
    if (content.kind !== "external") return leaf;
    let copy = leaves.get(leaf);
    if (copy === undefined) {
      copy = new Leaf(leaf.stat, { ...content, digest: digest(content) ?? content.digest });
      leaves.set(leaf, copy);
    }
    return copy;
  };
  const result = new Directory(root.stat);
  const pending: [Directory, Directory][] = [[root, result]];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const [from, to] = next;
    for (const [name, node] of from.entries as Iterable<[string, Node]>) {
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
