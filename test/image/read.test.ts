// Trees written and read back: the same tree, and the same image again.

import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { checkImage } from "../../src/image/check.ts";
import { lookupImage } from "../../src/image/lookup.ts";
import { readTree } from "../../src/image/read.ts";
import { dumpTree } from "../../src/tree/dump.ts";
import { Directory, Leaf, type Node, NO_XATTRS } from "../../src/tree/node.ts";
import { dumpOfImage, imageOfTree } from "../fixtures/image.ts";
import { randomTree } from "../fixtures/random-tree.ts";

const stat = { mode: 0o755, uid: 0, gid: 0, mtimeSec: 5n, mtimeNsec: 0, xattrs: NO_XATTRS };
const empty = () => new Leaf({ ...stat, mode: 0o644 }, { kind: "inline", bytes: new Uint8Array(0) });

/** Names of each leaf, in the order of the tree's dump, so that it can be compared which entries are one file. */
function linkGroups(root: Directory): string[] {
  const names = new Map<Node, string[]>();
  const pending: [string, Directory][] = [["", root]];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    for (const [name, node] of next[1].entries) {
      const path = `${next[0]}/${name}`;
      if (node instanceof Directory) pending.push([path, node]);
      else names.set(node, [...(names.get(node) ?? []), path]);
    }
  }
  return [...names.values()].map((paths) => paths.toSorted().join(" ")).toSorted();
}

describe("a random tree", () => {
  const versions = fc.constantFrom(0 as const, 1 as const, 2 as const);
  const algorithms = fc.constantFrom("sha256" as const, "sha512" as const);
  const seeds = fc.integer({ min: 0, max: 0xffffffff });

  it("is the same after writing and reading", () => {
    fc.assert(
      fc.property(seeds, fc.integer({ min: 0, max: 300 }), versions, algorithms, fc.boolean(), (...drawn) => {
        const [seed, entries, version, algorithm, overlay] = drawn;
        const root = randomTree({ seed, entries, algorithm, whiteouts: overlay, overlayXattrs: overlay });
        const image = imageOfTree(root, { version, dialect: "rs" }, algorithm);
        const tree = readTree(image, { algorithm });
        const want = [...dumpTree(root, "canonical")].join("");
        const kept = version === 2 ? want.replace(/^((?:\S+ ){7}-?\d+\.)\d+/gm, "$10") : want;
        // A link line has 0.0 already.
        expect([...dumpTree(tree, "canonical")].join("")).toBe(kept);
        expect(dumpOfImage(image, algorithm)).toBe(kept);
        expect(linkGroups(tree)).toEqual(linkGroups(root));
        expect(imageOfTree(tree, { version, dialect: "rs" }, algorithm)).toEqual(image);
        expect(checkImage(image, { algorithm, repository: true }).findings).toEqual([]);
      }),
      { numRuns: 150 },
    );
  });
});

describe("xattrs that look like the writer's markers", () => {
  const marked = {
    ...stat,
    xattrs: new Map([
      ["user.overlay.whiteouts", ""],
      ["trusted.overlay.whiteouts", ""],
    ]),
  };
  const whiteoutLike = new Leaf(
    {
      ...stat,
      mode: 0o644,
      xattrs: new Map([
        ["user.overlay.whiteout", ""],
        ["trusted.overlay.whiteout", ""],
      ]),
    },
    { kind: "inline", bytes: new Uint8Array(0) },
  );

  it.each([0, 1, 2] as const)("are the user's unless the whole pattern is there, version %i", (version) => {
    const root = new Directory(stat);
    const directory = new Directory(marked);
    directory.entries.set("f", empty());
    root.entries.set("marked", directory);
    root.entries.set("alone", whiteoutLike);
    const image = imageOfTree(root, { version, dialect: "rs" });
    const tree = readTree(image);
    expect([...dumpTree(tree, "canonical")]).toEqual([...dumpTree(root, "canonical")]);
    expect(imageOfTree(tree, { version, dialect: "rs" })).toEqual(image);
    expect(lookupImage(image, "marked")?.node.stat.xattrs).toEqual(marked.xattrs);
    expect(lookupImage(image, "alone")?.node).toEqual(whiteoutLike);
  });

  it.each([0, 1] as const)("are the writer's where there are whiteouts, version %i", (version) => {
    const root = new Directory(stat);
    const directory = new Directory({ ...stat, xattrs: new Map([["user.overlay.opaque", "z"]]) });
    const whiteout = new Leaf({ ...stat, mode: 0 }, { kind: "char", rdev: 0 });
    directory.entries.set("gone", whiteout);
    root.entries.set("d", directory);
    const image = imageOfTree(root, { version, dialect: "rs" });
    expect(dumpOfImage(image)).toBe([...dumpTree(root, "canonical")].join(""));
    expect(lookupImage(image, "/d/gone")?.node).toEqual(whiteout);
    expect(lookupImage(image, "/d")?.node.stat.xattrs).toEqual(directory.stat.xattrs);
  });
});

describe("lookups", () => {
  const root = new Directory(stat);
  const directory = new Directory(stat);
  const file = empty();
  directory.entries.set("f", file);
  directory.entries.set("link", new Leaf({ ...stat, mode: 0o777 }, { kind: "symlink", target: "f" }));
  root.entries.set("d", directory);
  root.entries.set("g", file);
  const image = imageOfTree(root, { version: 1, dialect: "rs" });

  it.each(["d/f", "/d/f", "/d/f/", "d/link", "/d/", "/", ""])("find %j", (path) => {
    expect(lookupImage(image, path)).toBeDefined();
  });

  it.each(["//d", "/d//f", "/d/f//", ".", "/./d", "d/..", "/d/../g", "nope", "/d/f/x", "/d/link/x", "00", "ff", "//"])(
    "find nothing at %j",
    (path) => expect(lookupImage(image, path)).toBeUndefined(),
  );

  it("find one inode under its names", () => {
    expect(lookupImage(image, "d/f")?.nid).toBe(lookupImage(image, "g")?.nid);
    expect(lookupImage(image, "g")).toMatchObject({ links: 2, node: file });
  });

  it("validate what they pass, and only that", () => {
    const nid = lookupImage(image, "d")?.nid ?? 0;
    const damaged = Uint8Array.from(image);
    // The mode of the directory d.
    damaged[32 * nid + 5] = 0;
    expect(() => lookupImage(damaged, "d/f")).toThrow(/^not a valid composefs image: \/d: .*\[mode\]$/);
    expect(lookupImage(damaged, "g")?.node).toEqual(file);
    const links = Uint8Array.from(image);
    links[32 * nid + 6] = 3;
    expect(() => lookupImage(links, "/d/f")).toThrow(/image: \/d: .*\[directory nlink\]$/);
    expect(() => lookupImage(links, "d")).toThrow(/image: \/d: .*\[directory nlink\]$/);
    expect(() => readTree(damaged)).toThrow(/\[mode\]/);
  });
});
