// Trees through records give the same images as their dumps through text.

import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { ComposefsError } from "../../src/error.ts";
import { imageId, writeImage, writeImageFromDump } from "../../src/image/write.ts";
import { readDump } from "../../src/tree/dump-read.ts";
import { dumpTree } from "../../src/tree/dump.ts";
import { Directory, Leaf, NO_XATTRS, type Stat } from "../../src/tree/node.ts";
import { goldenDump, goldenImages, saysMoreThanTree } from "../core/erofs-goldens.ts";

const images = goldenImages()
  .filter(({ want }) => want.error === undefined)
  .flatMap((image) => {
    const { algorithm, dialect = "rs" } = image.options;
    const dump = goldenDump(image.file);
    // Sizes above 2^53, which version 2 takes in dumps, are no JavaScript numbers.
    if (image.file === "ext-too-big.dump") return [];
    const root = readDump([dump], { algorithm, dialect });
    if (dialect === "c" && saysMoreThanTree(dump, [...dumpTree(root, "canonical")])) return [];
    return [{ ...image, root }];
  });

describe.each(images.map((image) => [`${image.file} ${image.variant}`, image] as const))("%s", (_, image) => {
  const { options, root, want } = image;

  test("as a tree", () => {
    const sha256 = createHash("sha256");
    const written = writeImage(root, { ...options, imageAlgorithm: "sha512" }, (chunk) => sha256.update(chunk));
    expect(written).toMatchObject({ id: want.fsverity_sha512, size: want.size });
    expect(sha256.digest("hex")).toBe(want.sha256);
    expect(imageId(root, { ...options, imageAlgorithm: "sha256" }).id).toBe(want.fsverity_sha256);
  });
});

test("few golden dumps say more than a tree can", () => {
  expect(images.length).toBeGreaterThan(0.9 * goldenImages().filter(({ want }) => want.error === undefined).length);
});

const stat: Stat = { mode: 0o755, uid: 0, gid: 0, mtimeSec: 0n, mtimeNsec: 0, xattrs: NO_XATTRS };
const OPTIONS = { version: 1, algorithm: "sha256" } as const;

function treeWith(name: string, node: Leaf | Directory): Directory {
  const root = new Directory(stat);
  const sub = new Directory(stat);
  root.entries.set("sub", sub);
  sub.entries.set(name, node);
  return root;
}

function refusalOf(root: Directory, options: Parameters<typeof imageId>[1] = OPTIONS): ComposefsError {
  try {
    imageId(root, options);
  } catch (error) {
    expect(error).toBeInstanceOf(ComposefsError);
    return error as ComposefsError;
  }
  throw new Error("the tree was taken");
}

describe("a tree that cannot be stored is refused, with the path", () => {
  const fifo = new Leaf(stat, { kind: "fifo" });

  test.each([
    ["long name", "x".repeat(256), fifo, /longer than 255/],
    ["very long name", "x".repeat(70_000), fifo, /longer than 255/],
    ["slash in a name", "a/b", fifo, /slash/],
    ["NUL in a name", "a\0", fifo, /NUL/],
    ["empty name", "", fifo, /empty/],
    ["..", "..", fifo, /component of the path is \.\./],
    ["empty target", "l", new Leaf(stat, { kind: "symlink", target: "" }), /target of the symlink is empty/],
    ["long target", "l", new Leaf(stat, { kind: "symlink", target: "t".repeat(4096) }), /longer than 4095/],
    ["NUL in a target", "l", new Leaf(stat, { kind: "symlink", target: "a\0b" }), /NUL/],
    ["long content", "f", new Leaf(stat, { kind: "inline", bytes: new Uint8Array(5001) }), /longer than 5000/],
    ["nanoseconds", "f", new Leaf({ ...stat, mtimeNsec: 1_000_000_000 }, { kind: "fifo" }), /below 1000000000/],
    ["xattr without a name", "f", new Leaf({ ...stat, xattrs: new Map([["", "v"]]) }, { kind: "fifo" }), /empty name/],
    [
      "long xattr value",
      "f",
      new Leaf({ ...stat, xattrs: new Map([["user.v", "v".repeat(65536)]]) }, { kind: "fifo" }),
      /longer than 65535/,
    ],
  ])("%s", (_, name, node, message) => {
    const error = refusalOf(treeWith(name, node));
    expect(error.message).toMatch(message);
    expect(error.path).toMatch(/^\/sub\//);
  });

  test("what only version 2 cannot hold", () => {
    const symlink = treeWith("l", new Leaf(stat, { kind: "symlink", target: "t".repeat(1025) }));
    const inline = treeWith("f", new Leaf(stat, { kind: "inline", bytes: new Uint8Array(513) }));
    for (const root of [symlink, inline]) {
      imageId(root, OPTIONS);
      expect(refusalOf(root, { ...OPTIONS, version: 2 }).code).toBe("limit");
    }
  });

  test("a whiteout with two names", () => {
    const root = new Directory(stat);
    const whiteout = new Leaf(stat, { kind: "char", rdev: 0 });
    root.entries.set("a", whiteout).set("b", whiteout);
    for (const version of [0, 1, 2] as const) {
      expect(refusalOf(root, { ...OPTIONS, version })).toMatchObject({ code: "invalid", path: "/b" });
    }
  });
});

test("names in any order, deep trees and long xattr sets pass through many windows", async () => {
  const root = new Directory(stat);
  const lines = ["/ 0 40755 2 0 0 0 0.0 - - -"];
  let [parent, path] = [root, ""];
  for (let depth = 0; depth < 1500; depth++) {
    const child = new Directory(stat);
    parent.entries.set("d", child);
    path += "/d";
    lines.push(`${path} 0 40755 2 0 0 0 0.0 - - -`);
    parent = child;
  }
  for (let i = 0; i < 30_000; i++) {
    const name = `n${(i * 7919) % 30_000}`;
    root.entries.set(name, new Leaf({ ...stat, mode: 0o644 }, { kind: "inline", bytes: Buffer.from(`${i}`) }));
    lines.push(`/${name} ${`${i}`.length} 100644 1 0 0 0 0.0 - ${i} -`);
  }
  const value = "v".repeat(60_000);
  const xattrs = new Map(Array.from({ length: 4 }, (_, i) => [`user.${i}`, value] as const));
  root.entries.set("x", new Leaf({ ...stat, xattrs }, { kind: "fifo" }));
  lines.push(`/x 0 10755 1 0 0 0 0.0 - - -${[...xattrs].map(([name]) => ` ${name}=${value}`).join("")}`);
  for (const version of [0, 1, 2] as const) {
    const fromTree = imageId(root, { ...OPTIONS, version });
    expect(fromTree).toEqual(await writeImageFromDump([Buffer.from(`${lines.join("\n")}\n`)], { ...OPTIONS, version }));
  }
});
