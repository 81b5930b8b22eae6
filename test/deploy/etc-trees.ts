// Trees of `/etc` as the goldens write them, path by path.

import { Directory, Leaf, type Node, type Stat } from "../../src/tree/node.ts";

/** A node: type, octal mode, owners, extended attributes, content or target. */
export interface GoldenNode {
  readonly t?: "f" | "d" | "l" | "p";
  readonly m?: string;
  readonly u?: number;
  readonly g?: number;
  readonly x?: Record<string, string>;
  readonly c?: string;
}

/** Nodes by path; a parent that is not listed is a plain directory. */
export type GoldenTree = Record<string, GoldenNode>;

function statOf({ t = "f", m, u = 0, g = 0, x = {} }: GoldenNode): Stat {
  const mode = t === "l" ? 0o777 : Number.parseInt(m ?? (t === "d" ? "755" : "644"), 8);
  return { mode, uid: u, gid: g, mtimeSec: 1n, mtimeNsec: 0, xattrs: new Map(Object.entries(x)) };
}

/** The tree of a description. */
export function etcTree(golden: GoldenTree): Directory {
  const root = new Directory(statOf({ t: "d" }));
  for (const path of Object.keys(golden).sort()) {
    const parts = path.split("/");
    const name = parts.pop() as string;
    let directory = root;
    for (const part of parts) {
      const below = directory.entries.get(part) ?? new Directory(statOf({ t: "d" }));
      if (!(below instanceof Directory)) throw new Error(`${path}: ${part} is no directory`);
      directory.entries.set(part, below);
      directory = below;
    }
    directory.entries.set(name, nodeOf(golden[path] as GoldenNode));
  }
  return root;
}

function nodeOf(golden: GoldenNode): Node {
  const stat = statOf(golden);
  switch (golden.t ?? "f") {
    case "d":
      return new Directory(stat);
    case "l":
      return new Leaf(stat, { kind: "symlink", target: golden.c ?? "" });
    case "p":
      return new Leaf(stat, { kind: "fifo" });
    default:
      return new Leaf(stat, { kind: "inline", bytes: Buffer.from(golden.c ?? "") });
  }
}

/** The description of a tree, every node with all its members. */
export function describeTree(root: Directory, prefix = ""): GoldenTree {
  const found: GoldenTree = {};
  for (const [name, node] of root.entries) {
    const path = prefix + name;
    const { mode, uid, gid, xattrs } = node.stat;
    const owner = { u: uid, g: gid, ...(xattrs.size === 0 ? {} : { x: Object.fromEntries(xattrs) }) };
    const m = mode.toString(8);
    if (node instanceof Directory) {
      found[path] = { t: "d", m, ...owner };
      Object.assign(found, describeTree(node, `${path}/`));
    } else if (node.content.kind === "symlink") found[path] = { t: "l", c: node.content.target, ...owner };
    else if (node.content.kind === "inline")
      found[path] = { t: "f", c: Buffer.from(node.content.bytes).toString(), m, ...owner };
    else found[path] = { t: "p", m, ...owner };
  }
  return found;
}
