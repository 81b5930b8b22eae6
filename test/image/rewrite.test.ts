// Images read and written again are the same, whatever wrote them; and their objects by path.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { PayloadSet } from "../../src/image/payloads.ts";
import { imageEntries } from "../../src/image/entries.ts";
import { rewriteImage } from "../../src/image/rewrite.ts";
import { writeImageFromDump } from "../../src/image/write.ts";
import { goldenImages, saysMoreThanTree } from "../core/erofs-goldens.ts";
import { Directory, Leaf } from "../../src/tree/node.ts";
import { dumpOfImage, imageOfTree } from "../fixtures/image.ts";
import { randomTree } from "../fixtures/random-tree.ts";
import { goldensDir } from "../goldens-dir.ts";

const goldens = goldenImages().filter(({ want }) => want.error === undefined);

/** Size 2^53 and more, which no tree holds. */
const hasHugeFile = (dump: Buffer) => / 900719925474099[3-9] /.test(dump.toString("latin1"));

describe("golden images", () => {
  it("are many, of every variant", () => {
    expect(goldens.length).toBeGreaterThan(400);
    expect(new Set(goldens.map(({ variant }) => variant)).size).toBe(6);
  });

  it.each(goldens)("$file $variant", async ({ file, options, want }) => {
    const dump = readFileSync(join(goldensDir("erofs"), file));
    const chunks: Buffer[] = [];
    await writeImageFromDump([dump], options, (chunk) => chunks.push(Buffer.from(chunk)));
    const image = Buffer.concat(chunks);
    const copy: Buffer[] = [];
    const rewrite = () => rewriteImage(image, (piece) => copy.push(Buffer.from(piece)));
    if (want.load !== undefined || hasHugeFile(dump)) {
      expect(rewrite).toThrow(/not a valid composefs image|at most 2\^53/);
      return;
    }
    const { id, same, version } = rewrite();
    expect(version).toBe(want.composefs_version);
    if (options.dialect === "c" && saysMoreThanTree(dump, dumpOfImage(image).split("\n"))) return;
    expect(same).toBe(true);
    expect(id).toBe(want.fsverity_sha256);
    expect(Buffer.concat(copy).equals(image)).toBe(true);
  });
});

describe("the objects of images", () => {
  it("are those of their entries, each once, in byte order", () => {
    const payloads = new PayloadSet();
    const want = new Set<string>();
    for (const [seed, algorithm] of [
      [1, "sha256"],
      [2, "sha256"],
      [3, "sha512"],
    ] as const) {
      const image = imageOfTree(
        randomTree({ seed, entries: 300, algorithm }),
        { version: 1, dialect: "rs" },
        algorithm,
      );
      payloads.addImage(image);
      payloads.addImage(image);
      for (const { mode, payload } of imageEntries(image)) {
        if (mode >> 12 === 0o10 && payload !== undefined) want.add(payload);
      }
    }
    expect(want.size).toBeGreaterThan(10);
    expect([...payloads.sorted()]).toEqual([...want].toSorted());
  });
});

describe("entries", () => {
  it("have lines of any length, longer than what comes at once too", () => {
    const value = "\xff".repeat(60_000);
    const stat = { mode: 0o644, uid: 0, gid: 0, mtimeSec: 0n, mtimeNsec: 0, xattrs: new Map<string, string>() };
    const root = new Directory(stat);
    for (let i = 0; i < 40; i++) {
      const xattrs = new Map(Array.from({ length: i % 5 }, (_, x) => [`user.${i}.${x}`, value] as const));
      root.entries.set(
        `f${i}`,
        new Leaf({ ...stat, xattrs }, { kind: "external", size: 5, digest: undefined, path: `a/${i}` }),
      );
    }
    const image = imageOfTree(root, { version: 1, dialect: "c" });
    const lines = dumpOfImage(image).trimEnd().split("\n");
    expect(Math.max(...lines.map((line) => line.length))).toBeGreaterThan(900_000);
    const entries = [...imageEntries(image)];
    expect(entries.map(({ path, xattrs }) => `${path} ${xattrs.map((xattr) => xattr.join("=")).join(" ")}`)).toEqual(
      lines.map((line) => `${line.split(" ")[0]} ${line.split(" ").slice(11).join(" ")}`),
    );
    const payloads = new PayloadSet();
    payloads.addImage(image);
    expect([...payloads.sorted()]).toEqual(Array.from({ length: 40 }, (_, i) => `a/${i}`).toSorted());
  });
});
