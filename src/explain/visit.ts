// Walking and changing a whole tree: what suspicions are made of.

import type { ByteString } from "../bytes/byte-string.ts";
import { walkDirectory, isLookupFailure } from "../tree/lookup.ts";
import { Directory, Leaf, NO_XATTRS, type Node, type Stat, type Xattrs } from "../tree/node.ts";

/** Gives every node another Stat; answers whether any changed. A function that returns its argument changes nothing. */
export function mapStats(root: Directory, change: (stat: Stat, node: Node) => Stat): boolean {
  let changed = false;
  const apply = (node: Node): void => {
    const stat = change(node.stat, node);
    if (stat === node.stat) return;
    node.stat = stat;
    changed = true;
  };
  const done: Leaf[] = [];
  const pending: Directory[] = [root];
  apply(root);
  for (let directory = pending.pop(); directory !== undefined; directory = pending.pop()) {
    for (const node of directory.entries.values()) {
      if (node instanceof Directory) pending.push(node);
      else if (node.placeIn(done) !== undefined) continue;
      else node.appendTo(done);
      apply(node);
    }
  }
  return changed;
}

/** Removes the entries that a function picks; answers whether there were any. */
export function removeEntries(root: Directory, unwanted: (node: Node, name: ByteString) => boolean): boolean {
  let removed = false;
  const pending: Directory[] = [root];
  for (let directory = pending.pop(); directory !== undefined; directory = pending.pop()) {
    for (const [name, node] of directory.entries) {
      if (unwanted(node, name)) removed = directory.entries.delete(name) || removed;
      else if (node instanceof Directory) pending.push(node);
    }
  }
  return removed;
}

/** The directory at a path; undefined if there is none. */
export function directoryAt(root: Directory, ...path: ByteString[]): Directory | undefined {
  const found = walkDirectory(root, path);
  return isLookupFailure(found) ? undefined : found;
}

/** The xattrs that a function keeps: the same map if it is all of them. */
export function keepXattrs(stat: Stat, keeps: (name: ByteString) => boolean): Stat {
  if (stat.xattrs.size === 0) return stat;
  const kept = [...stat.xattrs].filter(([name]) => keeps(name));
  if (kept.length === stat.xattrs.size) return stat;
  const xattrs: Xattrs = kept.length === 0 ? NO_XATTRS : new Map(kept);
  return { ...stat, xattrs };
}

/** Replaces every further name of a file by a file of its own; answers whether there was one. */
export function splitHardLinks(root: Directory): boolean {
  const seen: Leaf[] = [];
  let split = false;
  const pending: Directory[] = [root];
  for (let directory = pending.pop(); directory !== undefined; directory = pending.pop()) {
    for (const [name, node] of directory.entries) {
      if (node instanceof Directory) pending.push(node);
      else if (node.placeIn(seen) === undefined) node.appendTo(seen);
      else {
        directory.entries.set(name, new Leaf(node.stat, node.content));
        split = true;
      }
    }
  }
  return split;
}
