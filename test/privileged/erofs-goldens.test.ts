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

function isCapability(escaped: string): boolean {
  return [12, 20, 24].includes(escaped.replaceAll(/\\x..|\\./g, "?").length);
}

/**
 * The dump without the xattrs that the kernel itself interprets and that the goldens hold with random bytes: ACLs, and
 * capabilities of a wrong size. With them it refuses even lookups to root, each kernel in its own way.
 */
function withoutMalformed(dump: string): string {
  const lines = dump.split("\n").map((line) => {
    const [fields, xattrs] = [line.split(" ").slice(0, 11), line.split(" ").slice(11)];
    const kept = xattrs.filter((xattr) => {
      const [name = "", value = ""] = xattr.split("=");
      return !name.startsWith("system.") && (name !== "security.capability" || isCapability(value));
    });
    return [...fields, ...kept].join(" ");
  });
  return lines.join("\n");
}

/**
 * Where an image of the `rs` dialect does not show its tree, by golden and variant: the bytes are those of composefs-rs,
 * faults included (docs/spec/erofs.md, section 16).
 */
const RS_FAULTS: Record<string, (dump: Map<string, DumpEntry>) => void> = {
  // A whiteout that looks like one of the stubs of the root is taken for it: it hides a name that does not exist.
  "whiteout-root-looks-like-stub.dump": (dump) => void dump.delete("/ab"),
  // The marker of the parent of a whiteout is added beside one of that name instead of replacing it; the first one counts.
  "nested-overlay-store.dump": (dump) => {
    dump.get("/store")?.xattrs.set("user.overlay.opaque", "y");
  },
};

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
          const text = Buffer.from(withoutMalformed(readFileSync(join(goldens, name), "latin1")), "latin1");
          const chunks: Buffer[] = [];
          await writeImageFromDump([text], { ...how, algorithm: golden.hash }, (chunk) =>
            chunks.push(Buffer.from(chunk)),
          );
          const image = join(folder, "image.erofs");
          writeFileSync(image, Buffer.concat(chunks));
          const dump = parseDump(text);
          if (how.dialect === "rs") RS_FAULTS[name]?.(dump);
          using mounted = mountImage(image, join(folder, "objects"));
          expect(mountLines(mounted.root, "none")).toEqual(dumpLines(dump, version, "none"));
        });
      }
    });
  }
});
