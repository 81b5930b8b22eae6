// What `mkcomposefs` leaves out of the image of a directory (docs/spec/tree.md, section 3). Changes the tree in place.

import { Directory, Leaf, NO_XATTRS, type Node, type Stat, type Xattrs } from "./node.ts";

/** What stays; everything when left out. */
export interface KeptMetadata {
  /** true makes every time 1970-01-01. */
  readonly epoch?: boolean;
  /** false leaves out character and block devices, whiteouts too. */
  readonly devices?: boolean;
  /** `user` keeps those whose names begin with `user.`. */
  readonly xattrs?: "all" | "user" | "none";
  /** false makes every name of a file a file of its own, as the C tool does. */
  readonly hardLinks?: boolean;
}

/** Takes from a tree what is not to be kept. */
export function reduceMetadata(root: Directory, kept: KeptMetadata): void {
  const { epoch = false, devices = true, xattrs = "all", hardLinks = true } = kept;
  const sets = new Map<Xattrs, Xattrs>();
  const set = (before: Xattrs): Xattrs => {
    if (xattrs === "all" || before.size === 0) return before;
    let after = sets.get(before);
    if (after === undefined) {
      const user = xattrs === "none" ? [] : [...before].filter(([name]) => name.startsWith("user."));
      after = user.length === 0 ? NO_XATTRS : new Map(user);
      sets.set(before, after);
    }
    return after;
  };
  const reduced = (stat: Stat): Stat => ({
    ...stat,
    ...(epoch ? { mtimeSec: 0n, mtimeNsec: 0 } : {}),
    xattrs: set(stat.xattrs),
  });
  const seen: Leaf[] = [];
  root.stat = reduced(root.stat);
  const pending = [root];
  for (let directory = pending.pop(); directory !== undefined; directory = pending.pop()) {
    for (const [name, node] of directory.entries as Iterable<[string, Node]>) {
      if (node instanceof Directory) {
        node.stat = reduced(node.stat);
        pending.push(node);
      } else if (!devices && isDevice(node)) {
        directory.entries.delete(name);
      } else if (node.placeIn(seen) === undefined) {
        node.stat = reduced(node.stat);
        node.appendTo(seen);
      } else if (!hardLinks) {
        directory.entries.set(name, new Leaf(node.stat, node.content));
      }
    }
  }
}

function isDevice({ content }: Leaf): boolean {
  return content.kind === "char" || content.kind === "block";
}
