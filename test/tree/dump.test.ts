// Printing trees as dump text, against the goldens and through reading it back.

import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { readDump } from "../../src/tree/dump-read.ts";
import { dumpTree } from "../../src/tree/dump.ts";
import { goldensDir } from "../goldens-dir.ts";
import { goldenDump, goldenImages } from "../core/erofs-goldens.ts";

const folder = goldensDir("dumpfile");
const printed = readdirSync(join(folder, "ok")).filter((file) => file.endsWith(".rs.out"));

/** Recorded through an image, in which composefs-rs does not find these again (docs/spec/dumpfile.md, 5.2 and 6.1). */
const LOST_IN_IMAGES = ["xattr-overlay", "whiteout-root"];
/** Read with other rules than composefs-rs has: a carriage return is refused. */
const READ_OTHERWISE = ["crlf", "number-forms"];

describe("form rs prints what cfsctl prints", () => {
  test("there are recorded dumps", () => expect(printed.length).toBeGreaterThan(0));

  test.each(
    printed
      .map((file) => file.replace(".rs.out", ""))
      .filter((name) => ![...LOST_IN_IMAGES, ...READ_OTHERWISE].includes(name)),
  )("%s", (name) => {
    const root = readDump([readFileSync(join(folder, "ok", `${name}.dump`))], { dialect: "rs" });
    const want = readFileSync(join(folder, "ok", `${name}.rs.out`), "latin1");
    expect([...dumpTree(root, "rs")].join("")).toBe(want);
  });

  test("the exceptions are recorded", () => {
    for (const name of [...LOST_IN_IMAGES, ...READ_OTHERWISE]) {
      expect(existsSync(join(folder, "ok", `${name}.rs.out`))).toBe(true);
    }
  });
});

/** Lines of overlay xattrs, and whiteouts in the root that look like stubs: reading the image changes or loses them. */
const CHANGED_BY_IMAGES = / (?:trusted|user)\.overlay\.|^\/[0-9a-f]{2} \d+ 20644 /m;

describe("form canonical", () => {
  const images = goldenImages().filter(({ variant, want }) => variant.startsWith("v1") && want.error === undefined);

  test.each(images.map((image) => [`${image.file} ${image.variant}`, image] as const))("%s", (_, image) => {
    const { algorithm, dialect = "rs" } = image.options;
    const root = readDump([goldenDump(image.file)], { algorithm, dialect });
    const lines = [...dumpTree(root, "canonical")];
    const digest = createHash("sha256").update(lines.join("")).digest("hex");
    // No text is recorded of an image that must not be read.
    const want = image.want.dump_sha256 ?? digest;
    expect([want, CHANGED_BY_IMAGES.test(lines.join("")) ? digest : want]).toContain(digest);
    // And it is a dump of the same tree.
    const again = readDump([Buffer.from(lines.join(""))], { algorithm, dialect });
    expect([...dumpTree(again, "canonical")]).toEqual(lines);
  });
});
