// The room for xattrs: the last byte that fits, and the first that does not, on any node.

import { expect, it } from "vitest";
import { checkXattrSpace, Directory, Leaf, NO_XATTRS, type Stat, type Xattrs } from "../../src/index.ts";

const stat = (xattrs: Xattrs): Stat => ({ mode: 0o644, uid: 0, gid: 0, mtimeSec: 0n, mtimeNsec: 0, xattrs });

function treeWith(value: number): Directory {
  const root = new Directory(stat(NO_XATTRS));
  const directory = new Directory(stat(NO_XATTRS));
  root.entries.set("d", directory);
  const xattrs = new Map([
    ["user.a", "x".repeat(10_000)],
    ["user.b", "x".repeat(value)],
  ]);
  directory.entries.set("f\xff", new Leaf(stat(xattrs), { kind: "fifo" }));
  return root;
}

it("12 bytes, and 7 with name and value for each", () => {
  const rest = 32767 - 12 - (7 + 6 + 10_000) - (7 + 6);
  expect(() => checkXattrSpace(treeWith(rest))).not.toThrow();
  expect(() => checkXattrSpace(treeWith(rest + 1))).toThrow("/d/fÿ: its xattrs take 32768 bytes");
});

it("of the root, too", () => {
  const root = new Directory(stat(new Map([["user.a", "x".repeat(40_000)]])));
  expect(() => checkXattrSpace(root)).toThrow(/^\/: /);
});
