// The golden dumps as images of every variant, read back: verdicts, dump text, objects, lookups, tree.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { Algorithm } from "../../src/bytes/algorithm.ts";
import type { FormatVersion } from "../../src/core/erofs.ts";
import { checkImage } from "../../src/image/check.ts";
import { lookupImage, type StoredNode } from "../../src/image/lookup.ts";
import { imageObjects } from "../../src/image/objects.ts";
import { readTree } from "../../src/image/read.ts";
import { dumpTree, sortedNames } from "../../src/tree/dump.ts";
import { Directory } from "../../src/tree/node.ts";
import { dumpOfImage, imageOfDump, imageOfTree, type Writer } from "../fixtures/image.ts";
import { goldensDir } from "../goldens-dir.ts";

const folder = goldensDir("erofs");

interface Variant {
  sha256: string;
  composefs_version: FormatVersion;
  dump_sha256?: string;
  objects?: number;
  objects_sha256?: string;
  load?: string;
  fsck?: string;
  error?: string;
}

interface GoldenFile {
  hash: Algorithm;
  variants: Record<string, Variant>;
  lookups?: [string, string | null][];
}

const index = JSON.parse(readFileSync(join(folder, "index.json"), "utf8")) as { files: Record<string, GoldenFile> };
const files = Object.entries(index.files);

const WRITERS: Record<string, Writer> = {
  v0: { version: 0, maxVersion: 1, dialect: "c" },
  v0_noupgrade: { version: 0, dialect: "c" },
  v1: { version: 1, dialect: "c" },
  v2: { version: 2, dialect: "rs" },
  v0_rs: { version: 0, dialect: "rs" },
  v1_rs: { version: 1, dialect: "rs" },
};

function writerOf(variant: string, algorithm: Algorithm): Writer {
  const writer = WRITERS[variant];
  if (writer === undefined) throw new Error(`the index has an unknown variant ${variant}`);
  // Only one of the two references knows sha512, so there is no upgrade and no dialect.
  return algorithm === "sha512" ? { version: writer.version, dialect: "rs" } : writer;
}

/** The variants of a file, those included that the index leaves out because they equal another one. */
function variantsOf(file: GoldenFile): [string, Variant][] {
  const found = { ...file.variants };
  if (found["v0"]) found["v0_noupgrade"] ??= found["v0"];
  if (found["v0_noupgrade"]) found["v0_rs"] ??= found["v0_noupgrade"];
  if (found["v1"]) found["v1_rs"] ??= found["v1"];
  return Object.entries(found);
}

const cases = files.flatMap(([name, file]) =>
  variantsOf(file)
    .filter(([, golden]) => golden.error === undefined)
    .map(([variant, golden]) => ({ name, variant, golden, algorithm: file.hash })),
);

const sha256 = (data: Uint8Array | string) => createHash("sha256").update(data).digest("hex");
const makeImage = (name: string, variant: string, algorithm: Algorithm) =>
  imageOfDump(readFileSync(join(folder, name)), writerOf(variant, algorithm), algorithm);

/** Items 2, 3 and 10 of docs/spec/erofs.md 16: what dialect `c` takes from the dump and no image says. */
const NOT_IN_THE_IMAGE = new Set(["nlink-field.dump", "hardlink-owner-not-first.dump", "hardlink-forward.dump"]);

describe("golden images read back", () => {
  it("are many", () => {
    expect(cases.length).toBeGreaterThan(400);
    expect(cases.filter(({ golden }) => golden.load !== undefined).length).toBeGreaterThan(0);
  });

  it.each(cases)("$name $variant", async ({ name, variant, golden, algorithm }) => {
    const image = await makeImage(name, variant, algorithm);
    expect(sha256(image)).toBe(golden.sha256);
    const check = checkImage(image, { algorithm });
    expect(check.version).toBe(golden.composefs_version);
    if (golden.load !== undefined) {
      expect(check.invalid?.code).toBe("invalid");
      expect(check.invalid?.message).toContain(golden.load.replace(/^reject: /, ""));
      expect(() => dumpOfImage(image, algorithm)).toThrow(/not a valid composefs image/);
      expect(() => readTree(image, { algorithm })).toThrow(/not a valid composefs image/);
      expect(() => imageObjects(image, { algorithm })).toThrow(/not a valid composefs image/);
      return;
    }
    const text = dumpOfImage(image, algorithm);
    expect(sha256(text)).toBe(golden.dump_sha256);
    expect(golden.fsck).toBe("ok");
    expect(check.findings).toEqual([]);
    const objects = imageObjects(image, { algorithm });
    expect(objects.length).toBe(golden.objects);
    expect(sha256(objects.map((id) => `${id}\n`).join(""))).toBe(golden.objects_sha256);
    if (/ 900719925474099[3-9] /.test(text)) {
      expect(() => readTree(image, { algorithm })).toThrow(/at most 2\^53/);
      return;
    }
    const tree = readTree(image, { algorithm });
    expect([...dumpTree(tree, "canonical")].join("")).toBe(text);
    if (NOT_IN_THE_IMAGE.has(name)) return;
    const writer = { ...writerOf(variant, algorithm), version: golden.composefs_version };
    delete writer.maxVersion;
    expect(sha256(imageOfTree(tree, writer, algorithm))).toBe(golden.sha256);
  });
});

/** The dump line that a node has, under a path that is not its own. */
function lineOf({ node, links }: StoredNode, path: string): string {
  const root = new Directory({ mode: 0o755, uid: 0, gid: 0, mtimeSec: 0n, mtimeNsec: 0, xattrs: new Map() });
  root.entries.set("x", node);
  const [, line = ""] = [...dumpTree(root, "canonical")];
  const [, size, mode, , ...rest] = line.trimEnd().split(" ");
  return [path, size, mode, links, ...rest].join(" ");
}

const unescaped = (path: string) =>
  path.replace(/\\x([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));

describe("golden lookups", () => {
  const withLookups = files.filter(([, file]) => file.lookups !== undefined);
  it("are there", () => expect(withLookups.length).toBeGreaterThan(2));

  it.each(withLookups)("%s", async (name, file) => {
    const image = await makeImage(name, "v1", file.hash);
    const lines = new Map(
      dumpOfImage(image)
        .split("\n")
        .map((line) => [line.split(" ")[0], line]),
    );
    for (const [path, expected] of file.lookups ?? []) {
      const found = lookupImage(image, unescaped(path));
      expect(lines.get(path) ?? null).toBe(expected);
      // Another name of a file leads to the inode of the first one, which has the whole line.
      const first = expected?.includes(" @120000 ") ? expected.split(" ")[8] : path;
      expect(found && lineOf(found, first as string), path).toBe(lines.get(first));
      expect(found?.nid).toBe(lookupImage(image, unescaped(first as string))?.nid);
    }
  });

  it.each(cases.filter(({ golden }) => golden.load === undefined && golden.objects !== undefined))(
    "every path of $name $variant",
    async ({ name, variant, algorithm }) => {
      const image = await makeImage(name, variant, algorithm);
      if (name === "ext-too-big.dump") return;
      const tree = readTree(image, { algorithm });
      const pending: [string, Directory][] = [["", tree]];
      let looked = 0;
      for (let next = pending.pop(); next !== undefined && looked < 60; next = pending.pop()) {
        const [path, directory] = next;
        for (const entry of sortedNames(directory)) {
          const node = directory.entries.get(entry);
          const found = lookupImage(image, `${path}/${entry}`, { algorithm });
          expect(found?.node.stat).toEqual(node?.stat);
          if (node instanceof Directory) pending.push([`${path}/${entry}`, node]);
          else expect(found?.node).toEqual(node);
          if (++looked > 60) break;
        }
      }
      expect(lookupImage(image, "/no/such/entry", { algorithm })).toBeUndefined();
    },
  );
});
