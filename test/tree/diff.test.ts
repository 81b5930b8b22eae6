// The differences of trees: none exactly when the canonical dumps are equal, and each change under its name.

import { describe, expect, it } from "vitest";
import { fsverityDigest } from "../../src/core/fsverity.ts";
import { DIFF_FIELDS } from "../../src/tree/diff-fields.ts";
import { diffTrees, type EntryChange } from "../../src/tree/diff.ts";
import { readDump } from "../../src/tree/dump-read.ts";
import { dumpTree } from "../../src/tree/dump.ts";
import type { Directory } from "../../src/tree/node.ts";
import { randomTree } from "../fixtures/random-tree.ts";

const ROOT = "/ 0 40755 2 0 0 0 0.0 - - -";
const ID = "ab".repeat(32);
const OBJECT = `${ID.slice(0, 2)}/${ID.slice(2)}`;
const tree = (...lines: string[]) => readDump([Buffer.from([ROOT, ...lines, ""].join("\n"))]);
const diff = (a: Directory, b: Directory) => [...diffTrees(a, b)];
const summary = (changes: EntryChange[]) =>
  changes.map(({ change, path, fields }) => [
    change,
    path,
    ...fields.map(({ field, xattr, a, b }) => `${xattr ?? field} ${a} ${b}`),
  ]);

describe("the difference of two trees", () => {
  it("names every field", () => {
    for (const [before, after, ...want] of [
      ["5 100644 1 1 2 0 3.4 - hello -", "5 100644 1 1 2 0 3.4 - hello -"],
      ["0 100644 1 0 0 0 0.0 - - -", "0 100600 1 0 0 0 0.0 - - -", "mode 644 600"],
      ["0 100644 1 1 2 0 0.0 - - -", "0 100644 1 3 4 0 0.0 - - -", "uid 1 3", "gid 2 4"],
      ["0 100644 1 0 0 0 1.5 - - -", "0 100644 1 0 0 0 1.50 - - -", "mtime 1.5 1.50"],
      [
        "0 100644 1 0 0 0 0.0 - - -",
        "0 10644 1 0 0 0 0.0 - - -",
        "type file fifo",
        "size 0 undefined",
        "content - undefined",
      ],
      ["1 120777 1 0 0 0 0.0 a - -", "1 120777 1 0 0 0 0.0 b\\x20 - -", "target a b\\x20"],
      ["0 20644 1 0 0 5 0.0 - - -", "0 20644 1 0 0 6 0.0 - - -", "rdev 5 6"],
      ["2 100644 1 0 0 0 0.0 - ab -", "3 100644 1 0 0 0 0.0 - abc -", "size 2 3", "content ab abc"],
      [`9 100644 1 0 0 0 0.0 ${OBJECT} - ${ID}`, `9 100644 1 0 0 0 0.0 a/b - ${ID}`, "object digest a/b"],
      [
        `9 100644 1 0 0 0 0.0 ${OBJECT} - ${ID}`,
        "9 100644 1 0 0 0 0.0 - - -",
        `content ${ID} undefined`,
        "object digest holes",
      ],
      [
        "0 100644 1 0 0 0 0.0 - - - a=1 b=2",
        "0 100644 1 0 0 0 0.0 - - - b=\\x3d c=",
        "a 1 undefined",
        "b 2 \\x3d",
        "c undefined ",
      ],
    ]) {
      const changes = summary(diff(tree(`/f ${before}`), tree(`/f ${after}`)));
      expect(changes).toEqual(want.length === 0 ? [] : [["changed", "/f", ...want]]);
    }
  });

  it("tells all that only one of them has, in the order of dumps", () => {
    const small = tree("/b 0 40755 2 0 0 0 0.0 - - -");
    const large = tree(
      "/a 0 40755 2 0 0 0 0.0 - - -",
      "/a/- 0 10644 1 0 0 0 0.0 - - -",
      "/a-b 0 10644 1 0 0 0 0.0 - - -",
      "/b 0 10644 1 0 0 0 0.0 - - -",
    );
    expect(summary(diff(small, large))).toEqual([
      ["added", "/a"],
      ["added", "/a/-"],
      ["added", "/a-b"],
      ["changed", "/b", "type directory fifo", "mode 755 644"],
    ]);
    expect(diff(large, small).map(({ change, type }) => `${change} ${type}`)).toEqual([
      "removed directory",
      "removed fifo",
      "removed fifo",
      "changed directory",
    ]);
  });

  it("tells which names are one file", () => {
    const file = "2 100644 1 0 0 0 0.0 - hi -";
    const linked = tree(`/x ${file}`, "/y 0 @120000 - - - - 0.0 /x - -");
    expect(summary(diff(linked, tree(`/x ${file}`, `/y ${file}`)))).toEqual([
      ["changed", "/x", "links /y undefined"],
      ["changed", "/y", "links /x undefined"],
    ]);
  });

  it("knows a content in the image and as an object for the same", () => {
    for (const algorithm of ["sha256", "sha512"] as const) {
      const id = fsverityDigest(algorithm, Buffer.from("hello"));
      const object = `/f 5 100644 1 0 0 0 0.0 ${id.slice(0, 2)}/${id.slice(2)} - ${id}\n`;
      const stored = readDump([Buffer.from(`${ROOT}\n${object}`)], { algorithm });
      expect(summary(diff(tree("/f 5 100644 1 0 0 0 0.0 - hello -"), stored))).toEqual([
        ["changed", "/f", "object undefined digest"],
      ]);
      expect(diff(tree("/f 5 100644 1 0 0 0 0.0 - jello -"), stored)[0]?.fields[0]?.field).toBe("content");
    }
  });

  it("is none exactly when the dumps are equal, and the same both ways", () => {
    const trees = [1, 2, 3, 4].flatMap((seed) =>
      [0, 3, 60].map((entries) => randomTree({ seed, entries, algorithm: "sha256", whiteouts: true })),
    );
    const dumps = trees.map((root) => [...dumpTree(root, "canonical")].join(""));
    const copies = dumps.map((dump) => readDump([Buffer.from(dump, "latin1")]));
    for (const [i, root] of trees.entries()) {
      for (const [j, copy] of copies.entries()) {
        const changes = diff(root, copy);
        expect(changes.length === 0, `${i} ${j}`).toBe(dumps[i] === dumps[j]);
        const back = diff(copy, root).map(({ change, path }) => `${change} ${path}`);
        const reversed = { added: "removed", removed: "added", changed: "changed" };
        expect(back).toEqual(changes.map(({ change, path }) => `${reversed[change]} ${path}`));
      }
    }
  });

  it("leaves out what is not to be compared", () => {
    const a = tree("/f 5 100644 1 1 2 0 3.4 - hello - a=1");
    const b = tree("/f 4 120600 1 2 3 0 4.5 hell - - a=2");
    const found = diff(a, b)[0]?.fields.map(({ field }) => field) ?? [];
    expect(found).toEqual(["type", "mode", "uid", "gid", "mtime", "size", "target", "content", "xattr"]);
    for (const field of found) {
      const [changed] = diffTrees(a, b, { ignore: [field] });
      expect(changed?.fields.map((change) => change.field)).toEqual(found.filter((other) => other !== field));
    }
    expect([...diffTrees(a, b, { ignore: DIFF_FIELDS })]).toEqual([]);
  });
});
