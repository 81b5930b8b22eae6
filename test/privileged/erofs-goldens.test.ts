// Every golden dump, written as an image in each format and dialect, mounts, and a walk of the mount is the tree of the dump.
// The objects of the dumps do not exist, so content is compared for inline files only.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Algorithm } from "../../src/bytes/algorithm.ts";
import { type ImageOptions, writeImageFromDump } from "../../src/image/write.ts";
import { parseDump } from "../fixtures/dump.ts";
import { goldensDir } from "../goldens-dir.ts";
import { leftovers, mountImage } from "./mounts.ts";
import { describeMounts } from "./privileges.ts";
import { dumpLines, mountLines } from "./tree-lines.ts";

interface Variant {
  error?: string;
  load?: string;
}

interface GoldenDump {
  covers: string;
  hash: Algorithm;
  variants: Record<string, Variant>;
}

/** How the golden variants were written (docs/spec/erofs.md). */
const VARIANTS: Record<string, Omit<ImageOptions, "algorithm">> = {
  v0: { version: 0, dialect: "c", maxVersion: 1 },
  v0_noupgrade: { version: 0, dialect: "c" },
  v1: { version: 1, dialect: "c" },
  v2: { version: 2 },
  v0_rs: { version: 0, dialect: "rs" },
  v1_rs: { version: 1, dialect: "rs" },
};

/**
 * The dump without what the kernel itself interprets and random goldens hold as random bytes: ACLs, capabilities,
 * owners that are no valid id. With them it refuses even lookups to root, each kernel in its own way.
 */
function withoutMalformed(name: string, dump: string): string {
  const invalidId = name.startsWith("random-") ? "4294967295" : "";
  const lines = dump.split("\n").map((line) => {
    const fields = line.split(" ").slice(0, 11);
    for (const owner of [4, 5]) if (fields[owner] === invalidId) fields[owner] = "4294967294";
    const xattrs = line.split(" ").slice(11);
    const kept = xattrs.filter((xattr) => {
      return !xattr.startsWith("system.") && !xattr.startsWith("security.capability=");
    });
    return [...fields, ...kept].join(" ");
  });
  return lines.join("\n");
}

/**
 * Where an image of the `rs` dialect does not show its tree, by golden and variant: the bytes are those of composefs-rs,
 * faults included (docs/spec/erofs.md, section 16).
 */
const RS_FAULTS: Record<string, (lines: string[]) => string[]> = {
  // A whiteout that looks like one of the stubs of the root is taken for it: it hides a name that does not exist.
  "whiteout-root-looks-like-stub.dump": () => ["/ 40755 0:0 0"],
  // The marker of a whiteout's parent is added beside one of that name instead of replacing it; the first one counts.
  "nested-overlay-store.dump": (lines) =>
    lines.map((line) =>
      line.replace(
        " trusted.overlay.opaque=x trusted.overlay.whiteouts= user.overlay.opaque=x",
        " trusted.overlay.opaque=y trusted.overlay.whiteouts= user.overlay.opaque=x",
      ),
    ),
};

/** The variants that are written and that a reader accepts. */
function mountable(golden: GoldenDump): string[] {
  return Object.keys(golden.variants).filter((variant) => {
    const { error, load } = golden.variants[variant] ?? {};
    return error === undefined && load === undefined;
  });
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
    if (mountable(golden).length === 0) continue;
    describe(name, () => {
      for (const variant of mountable(golden)) {
        const how = VARIANTS[variant];
        it(variant, async () => {
          expect(how, `the golden variant ${variant} is not known here`).toBeDefined();
          if (!how) return;
          const text = Buffer.from(withoutMalformed(name, readFileSync(join(goldens, name), "latin1")), "latin1");
          const chunks: Buffer[] = [];
          const { version } = await writeImageFromDump([text], { ...how, algorithm: golden.hash }, (chunk) =>
            chunks.push(Buffer.from(chunk)),
          );
          const image = join(folder, "image.erofs");
          writeFileSync(image, Buffer.concat(chunks));
          const dump = parseDump(text);
          using mounted = mountImage(image, join(folder, "objects"));
          const lines = dumpLines(dump, version, "none");
          const fault = how.dialect === "rs" ? RS_FAULTS[name] : undefined;
          expect(mountLines(mounted.root, "none")).toEqual(fault ? fault(lines) : lines);
        });
      }
    });
  }
});
