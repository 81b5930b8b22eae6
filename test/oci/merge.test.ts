import { describe, expect, it } from "vitest";

import { ComposefsError } from "../../src/error.ts";
import { LayerMerger, type MergeEntry } from "../../src/oci/merge.ts";
import { containerTransform } from "../../src/tree/container-transform.ts";
import { pathComponents, walk } from "../../src/tree/lookup.ts";
import { Directory, Leaf, NO_XATTRS, type Node, type Stat, type Xattrs } from "../../src/tree/node.ts";
import { filterXattrs } from "../../src/tree/xattr-filter.ts";

function stat(fields: Partial<Stat> = {}): Stat {
  return { mode: 0o755, uid: 0, gid: 0, mtimeSec: 1n, mtimeNsec: 0, xattrs: NO_XATTRS, ...fields };
}

function entry(type: MergeEntry["type"], path: string, more: Partial<MergeEntry> = {}): MergeEntry {
  const content = type === "file" ? { kind: "inline" as const, bytes: Buffer.from(path) } : undefined;
  return { type, path, stat: stat(), size: 0, link: "", rdev: 0, content, ...more };
}

const dir = (path: string, fields: Partial<Stat> = {}) => entry("directory", path, { stat: stat(fields) });
const file = (path: string, content = path, fields: Partial<Stat> = {}) =>
  entry("file", path, { stat: stat(fields), content: { kind: "inline", bytes: Buffer.from(content) } });
const symlink = (path: string, link: string) => entry("symlink", path, { link });
const hardlink = (path: string, link: string) => entry("hardlink", path, { link });

/** Merges layers given as lists of entries. */
function merge(...layers: MergeEntry[][]): Directory {
  const merger = new LayerMerger();
  for (const [i, entries] of layers.entries()) {
    for (const item of entries) merger.apply(item, `layer ${i + 1}`);
  }
  return merger.root;
}

function at(root: Directory, path: string): Node {
  const node = walk(root, pathComponents(path));
  if ("reason" in node) throw new Error(`${path}: ${node.reason}`);
  return node;
}

function text(root: Directory, path: string): string {
  const node = at(root, path);
  if (!(node instanceof Leaf) || node.content.kind !== "inline") throw new Error(`${path} is no file`);
  return Buffer.from(node.content.bytes).toString();
}

/** Paths of a tree, directories with a slash. */
function paths(directory: Directory, prefix = ""): string[] {
  return [...directory.entries]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([name, node]) =>
      node instanceof Directory ? [`${prefix}${name}/`, ...paths(node, `${prefix}${name}/`)] : [`${prefix}${name}`],
    );
}

function refusal(...layers: MergeEntry[][]): ComposefsError {
  try {
    merge(...layers);
  } catch (error) {
    if (error instanceof ComposefsError) return error;
    throw error;
  }
  throw new Error("the layers were accepted");
}

describe("paths", () => {
  it.each(["a/b", "/a/b", "//a//b", "./a/./b", "a/b/"])("takes %s for a/b", (path) => {
    expect(paths(merge([dir("a"), file(path)]))).toEqual(["a/", "a/b"]);
  });

  it.each(["./", "/", ".", "..", "a/.."])("takes the directory %s for the root", (path) => {
    const root = merge([dir(path, { mode: 0o700, mtimeSec: 5n })]);
    expect(paths(root)).toEqual([]);
    expect(root.stat.mode).toBe(0o700);
  });

  it("refuses a file as the root", () => {
    expect(refusal([file("..")]).message).toMatch(/layer 1: entry "\.\.": .*must be a directory/);
  });

  it("refuses `..` in the middle, and says which entry of which layer", () => {
    const error = refusal([dir("a")], [file("a/../b")]);
    expect(error).toMatchObject({ code: "invalid", path: "a/../b" });
    expect(error.message).toContain('layer 2: entry "a/../b"');
  });

  it("refuses parents that are missing, also in one layer, and parents that are symlinks or files", () => {
    expect(refusal([file("no/such/file")]).message).toContain('"no" does not exist');
    expect(refusal([dir("d"), symlink("l", "d")], [file("l/x")]).message).toContain('"l" is not a directory');
    expect(refusal([file("f"), file("f/x")]).message).toContain('"f" is not a directory');
  });

  it("refuses names over 255 bytes anywhere in a path", () => {
    expect(refusal([file("n".repeat(256))]).message).toContain("256 bytes");
    expect(paths(merge([file("n".repeat(255))]))).toHaveLength(1);
  });

  it("does not run out of stack on deep trees", () => {
    const merger = new LayerMerger();
    let path = "usr";
    for (let i = 0; i < 3000; i++) {
      merger.apply(dir(path), "layer 1");
      path += "/d";
    }
    containerTransform(merger.root);
    expect(at(merger.root, path.slice(0, -2))).toBeInstanceOf(Directory);
  });
});

describe("whiteouts", () => {
  it("remove what an earlier layer put there, whole subtrees included", () => {
    expect(
      paths(merge([dir("a"), file("a/n"), dir("a/d"), file("a/d/x")], [file("a/.wh.n"), file("a/.wh.d")])),
    ).toEqual(["a/"]);
  });

  it("act in stream order, also within a layer", () => {
    expect(paths(merge([dir("a"), file("a/n"), file("a/.wh.n")]))).toEqual(["a/"]);
    expect(paths(merge([dir("a"), file("a/.wh.n"), file("a/n")]))).toEqual(["a/", "a/n"]);
  });

  it("opaque markers take everything before them, of this layer too, and nothing after", () => {
    const root = merge([dir("a"), file("a/old")], [file("a/before"), file("a/.wh..wh..opq"), file("a/after")]);
    expect(paths(root)).toEqual(["a/", "a/after"]);
  });

  it("of missing names are no-ops, and so are the names that only look like markers", () => {
    const root = merge([dir("a"), file("a/x"), file("a/.wh.nothing"), file("a/.wh."), file("a/.wh..wh.plnk")]);
    expect(paths(root)).toEqual(["a/", "a/x"]);
  });

  it("may be of any type and size", () => {
    expect(paths(merge([file("x"), dir("y"), dir(".wh.x"), file(".wh.y", "payload")]))).toEqual([]);
  });

  it("below something that is no directory, or is gone, are ignored", () => {
    expect(paths(merge([dir("d"), file("d/x")], [file("d"), file("d/.wh.x"), file("no/.wh.y")]))).toEqual(["d"]);
  });

  it("with `..` in their path are refused all the same", () => {
    expect(refusal([dir("a"), file("a/../.wh.x")]).code).toBe("invalid");
  });

  it("as hard links need a target", () => {
    expect(refusal([file("x"), hardlink(".wh.x", "missing")]).message).toContain('"missing"');
    expect(paths(merge([file("x"), file("y"), hardlink(".wh.x", "y")]))).toEqual(["y"]);
  });

  it("are never character devices: those are nodes", () => {
    const root = merge([file("x")], [entry("char", "x", { rdev: 0 })]);
    expect(at(root, "x")).toMatchObject({ content: { kind: "char", rdev: 0 } });
  });
});

describe("replacing", () => {
  it("a directory by a directory changes its metadata as a whole and keeps its children", () => {
    const xattrs: Xattrs = new Map([["user.a", "1"]]);
    const root = merge(
      [dir("d", { mode: 0o755, xattrs }), file("d/x")],
      [dir("d", { mode: 0o700, uid: 5, mtimeSec: 9n })],
    );
    expect(at(root, "d").stat).toEqual(stat({ mode: 0o700, uid: 5, mtimeSec: 9n }));
    expect(paths(root)).toEqual(["d/", "d/x"]);
  });

  it("anything else drops what was there", () => {
    expect(paths(merge([dir("d"), file("d/x")], [symlink("d", "e")]))).toEqual(["d"]);
    expect(paths(merge([file("f")], [dir("f"), file("f/y")]))).toEqual(["f/", "f/y"]);
    expect(text(merge([file("f", "1"), file("f", "2")]), "f")).toBe("2");
  });
});

describe("hard links", () => {
  it("share the leaf, ignore their own metadata, and work across layers and over symlinks", () => {
    const root = merge(
      [file("a", "content", { mode: 0o644 }), symlink("s", "a")],
      [entry("hardlink", "b", { link: "./a", stat: stat({ mode: 0o777 }) }), hardlink("t", "/s"), hardlink("c", "b")],
    );
    expect(at(root, "b")).toBe(at(root, "a"));
    expect(at(root, "c")).toBe(at(root, "a"));
    expect(at(root, "b").stat.mode).toBe(0o644);
    expect(at(root, "t")).toBe(at(root, "s"));
  });

  it("keep the old leaf when the target's name is replaced or removed", () => {
    const root = merge(
      [file("a", "old"), hardlink("b", "a"), file("a", "new")],
      [file("c", "gone"), hardlink("d", "c"), file(".wh.c")],
    );
    expect(text(root, "a")).toBe("new");
    expect(text(root, "b")).toBe("old");
    expect(text(root, "d")).toBe("gone");
  });

  it("to themselves are no-ops", () => {
    const root = merge([file("a", "x"), hardlink("a", "a")]);
    expect(text(root, "a")).toBe("x");
  });

  it.each([
    ["missing", "x"],
    ["later", "later-file"],
    ["a directory", "d"],
    ["the root", "/"],
    ["with `..`", "d/../f"],
    ["ending in `..`", "d/.."],
    ["through a symlink", "l/f"],
  ])("to a target that is %s are refused", (_why, link) => {
    const error = refusal([dir("d"), file("f"), symlink("l", "d"), hardlink("h", link), file("later-file")]);
    expect(error.message).toContain('layer 1: entry "h"');
  });

  it("to a removed name are refused", () => {
    expect(refusal([file("a"), file(".wh.a"), hardlink("b", "a")]).code).toBe("invalid");
  });
});

describe("container transform", () => {
  it("copies all of /usr's metadata to the root, then filters xattrs everywhere", () => {
    const capability: Xattrs = new Map([
      ["security.capability", "c"],
      ["security.selinux", "s"],
      ["user.u", "u"],
    ]);
    const layers = [
      dir("/", { mode: 0o1777 }),
      dir("usr", { mode: 0o711, uid: 3, mtimeSec: 7n, mtimeNsec: 8, xattrs: capability }),
    ];
    const root = merge(layers);
    containerTransform(root);
    expect(root.stat).toEqual(
      stat({ mode: 0o711, uid: 3, mtimeSec: 7n, mtimeNsec: 8, xattrs: new Map([["security.capability", "c"]]) }),
    );
    const keep = merge(layers);
    containerTransform(keep, "keep-user-xattrs");
    expect([...at(keep, "usr").stat.xattrs.keys()]).toEqual(["security.capability", "user.u"]);
  });

  it("empties /run, gives it /usr's time and keeps the rest of it; links out of it survive", () => {
    const root = merge([
      dir("usr", { mtimeSec: 7n, mtimeNsec: 8 }),
      dir("run", { mode: 0o710, gid: 4, mtimeSec: 1n }),
      file("run/pid", "pid"),
      hardlink("usr/pid", "run/pid"),
    ]);
    containerTransform(root);
    expect(paths(root)).toEqual(["run/", "usr/", "usr/pid"]);
    expect(at(root, "run").stat).toEqual(stat({ mode: 0o710, gid: 4, mtimeSec: 7n, mtimeNsec: 8 }));
  });

  it.each([
    ["no /usr", [dir("bin")], "/usr"],
    ["a /usr that is a symlink", [symlink("usr", "x")], "/usr"],
    ["a /run that is a symlink", [dir("usr"), symlink("run", "x")], "/run"],
  ])("refuses %s", (_what, entries, path) => {
    expect(() => containerTransform(merge(entries))).toThrowError(expect.objectContaining({ code: "invalid", path }));
  });

  it("does not filter a shared leaf's map away from under another tree", () => {
    const shared: Xattrs = new Map([["user.a", "1"]]);
    const one = merge([dir("usr"), file("usr/f", "x", { xattrs: shared })]);
    filterXattrs(one, "allowlist-only");
    expect(shared.size).toBe(1);
    expect(at(one, "usr/f").stat.xattrs.size).toBe(0);
  });
});
