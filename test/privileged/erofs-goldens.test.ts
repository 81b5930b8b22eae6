// Every golden dump, written as an image in each format and dialect, mounts, and a walk of the mount is the tree of the dump.
// The objects of the dumps do not exist, so content is compared for inline files only.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Algorithm } from "../../src/bytes/algorithm.ts";
import { type ImageOptions, writeImageFromDump } from "../../src/image/write.ts";
import { type DumpEntry, parseDump } from "../fixtures/dump.ts";
import { goldensDir } from "../goldens-dir.ts";
import { leftovers, mountImage } from "./mounts.ts";
import { describeMounts } from "./privileges.ts";
import { dumpLines, mountLines } from "./tree-lines.ts";

interface Variant {
  composefs_version?: 0 | 1 | 2;
  error?: string;
  load?: string;
}

interface GoldenDump {
  covers: string;
  hash: Algorithm;
  variants: Record<string, Variant>;
}

/** How the golden variants were written (docs/spec/erofs.md). */
const VARIANTS: Record<string, Pick<ImageOptions, "version" | "dialect" | "maxVersion">> = {
  v0: { version: 0, dialect: "c", maxVersion: 1 },
  v0_noupgrade: { version: 0, dialect: "c" },
  v1: { version: 1, dialect: "c" },
  v2: { version: 2 },
  v0_rs: { version: 0, dialect: "rs" },
  v1_rs: { version: 1, dialect: "rs" },
};

/**
 * What the kernel cannot show of a tree that the format can hold; each reason was seen with kernel 6.18. Such entries are
 * left out on both sides.
 */
function unseen(entry: DumpEntry): boolean {
  // A file with a size but no data at all: overlayfs has nowhere to look and answers EIO even to lstat.
  return (
    entry.size > 0 && (entry.mode & 0o170000) === 0o100000 && entry.content === undefined && entry.payload === undefined
  );
}

describeMounts("images of the golden dumps", () => {
  const goldens = goldensDir("erofs");
  const { files } = JSON.parse(readFileSync(join(goldens, "index.json"), "utf8")) as {
    files: Record<string, GoldenDump>;
  };
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "composefs-privileged-"));
    mkdirSync(join(folder, "objects"));
  });
  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
    expect(leftovers()).toEqual([]);
  });

  for (const [name, golden] of Object.entries(files)) {
    describe(name, () => {
      for (const [variant, { error, load, composefs_version: version }] of Object.entries(golden.variants)) {
        if (error !== undefined || load !== undefined || version === undefined) continue;
        const how = VARIANTS[variant];
        it(variant, async () => {
          expect(how, `the golden variant ${variant} is not known here`).toBeDefined();
          if (!how) return;
          const text = readFileSync(join(goldens, name));
          const chunks: Buffer[] = [];
          await writeImageFromDump([text], { ...how, algorithm: golden.hash }, (chunk) =>
            chunks.push(Buffer.from(chunk)),
          );
          const image = join(folder, "image.erofs");
          writeFileSync(image, Buffer.concat(chunks));
          const dump = parseDump(text);
          for (const [path, entry] of dump) if (unseen(entry)) dump.delete(path);
          using mounted = mountImage(image, join(folder, "objects"));
          expect(mountLines(mounted.root, "none")).toEqual(dumpLines(dump, version, "none"));
        });
      }
    });
  }
});
