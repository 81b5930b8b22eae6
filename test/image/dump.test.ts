// Dumps of images in the form of the C tools, against what they printed, and restricted to entries of the root.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ErofsReader } from "../../src/core/erofs-read.ts";
import { dumpImage } from "../../src/image/dump.ts";
import { readTree } from "../../src/image/read.ts";
import { dumpTree } from "../../src/tree/dump.ts";
import { Directory, type Node } from "../../src/tree/node.ts";
import { imageOfDump, imageOfTree } from "../fixtures/image.ts";
import { randomTree } from "../fixtures/random-tree.ts";
import { goldensDir } from "../goldens-dir.ts";

const folder = join(goldensDir("dumpfile"), "ok");

interface GoldenCase {
  name: string;
  dir: string;
  c: { output_has_bug?: boolean };
}

const { cases } = JSON.parse(readFileSync(join(folder, "../index.json"), "utf8")) as { cases: GoldenCase[] };
const printed = cases.filter(({ name, dir }) => dir === "ok" && existsSync(join(folder, `${name}.c.out`)));

/** Dumps that the C tool takes and this project refuses (docs/spec/dumpfile.md, column NEW), or makes an image that none can read. */
const REFUSED = new Map([
  ["number-forms", /expected decimal digits/],
  ["crlf", /carriage return/],
  ["hardlink-nlink-wrong", /a second name of a file whose link count is 1/],
]);

function text(image: Uint8Array, options: Parameters<typeof dumpImage>[2]): string {
  const pieces: Buffer[] = [];
  dumpImage(image, (piece) => pieces.push(Buffer.from(piece)), options);
  return Buffer.concat(pieces).toString("latin1");
}

describe("the form of the C tools", () => {
  it("has recorded output", () => expect(printed.length).toBeGreaterThan(50));

  it.each(printed)("$name", async ({ name, c }) => {
    const dump = readFileSync(join(folder, `${name}.dump`));
    const made = async () => text(await imageOfDump(dump, { version: 0, maxVersion: 1, dialect: "c" }), { form: "c" });
    const refused = REFUSED.get(name);
    if (refused !== undefined) {
      await expect(made()).rejects.toThrow(refused);
      return;
    }
    const want = readFileSync(join(folder, `${name}.c.out`), "latin1");
    // The fault is two bytes of junk behind a payload.
    expect(await made()).toBe(c.output_has_bug === true ? want.replace("\\xff\\xff ", " ") : want);
  });

  it("gives the image again, as the canonical form does", async () => {
    for (const seed of [1, 2, 3, 4, 5, 6]) {
      const root = randomTree({ seed, entries: 200, algorithm: "sha256", whiteouts: true });
      for (const version of [0, 1] as const) {
        const image = imageOfTree(root, { version, dialect: "c" });
        for (const form of ["c", "canonical"] as const)
          expect(await imageOfDump(text(image, { form }), { version, dialect: "c" }), `seed ${seed}`).toEqual(image);
      }
    }
  });
});

describe("some entries of the root", () => {
  /** The tree with those entries of the root only. */
  function restricted(root: Directory, names: readonly string[]): Directory {
    const copy = new Directory(root.stat);
    for (const name of names) if (root.entries.has(name)) copy.entries.set(name, root.entries.get(name) as Node);
    return copy;
  }
  /** Without link counts, which are those of the image, and the root's, whose directories are counted in the image too. */
  const comparable = (dump: string) => dump.replace(/^(\S+ \S+ \S+) \d+ /gm, "$1 * ");

  it("are dumped as if there were no others", () => {
    for (const seed of [11, 12, 13, 14]) {
      const root = randomTree({ seed, entries: 400, algorithm: "sha256", whiteouts: true });
      const names = [...root.entries.keys()];
      const image = imageOfTree(root, { version: 1, dialect: "rs" });
      for (const only of [names.slice(0, 1), names.slice(3, 9), [...names, "none of them"], ["none of them"]]) {
        const want = [...dumpTree(restricted(root, only), "canonical")].join("");
        expect(comparable(text(image, { only })), `seed ${seed}`).toBe(comparable(want));
      }
    }
  });

  it("whose files have their first name elsewhere get the whole line", async () => {
    const dump = [
      "/ 0 40755 4 0 0 0 0.0 - - -",
      "/a 0 40755 2 0 0 0 0.0 - - -",
      "/a/f 2 100644 3 0 0 0 0.0 - hi -",
      "/b 0 40755 2 0 0 0 0.0 - - -",
      "/b/f 0 @120000 - - - - 0.0 /a/f - -",
      "/b/g 0 @120000 - - - - 0.0 /a/f - -",
      "",
    ].join("\n");
    const image = await imageOfDump(dump, { version: 1, dialect: "rs" });
    const lines = ["/b/f 2 100644 3 0 0 0 0.0 - hi -", "/b/g 0 @120000 - - - - 0.0 /b/f - -"];
    expect(
      text(image, { only: ["b"] })
        .split("\n")
        .slice(2, 4),
    ).toEqual(lines);
    using reader = new ErofsReader(image);
    const whole = () => [...reader.pieces()].map((piece) => Buffer.from(piece).toString("latin1")).join("");
    reader.dump();
    expect(whole()).toBe(dump);
    reader.select("b");
    reader.dump();
    expect(whole().split("\n").slice(2, 4)).toEqual(lines);
    // Link counts and all that `load` finds are those of the whole image.
    expect(reader.load().inodes).toBe(260);
    expect([...dumpTree(readTree(image), "canonical")].join("")).toBe(dump);
  });
});
