// The same tree with the digests of another algorithm: one scan gives the images of all variants.

import type { ObjectId } from "../bytes/algorithm.ts";
import { copyDirectories } from "./clone.ts";
import { type Content, type Directory, Leaf } from "./node.ts";

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
  return copyDirectories(root, copyLeaf);
}
