// The dump parser in the core against test/goldens/dumpfile: what is taken, what is refused, and the image of each tool.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { ComposefsError } from "../../src/error.ts";
import { type ImageOptions, writeImageFromDump } from "../../src/image/write.ts";
import { readDump } from "../../src/tree/dump-read.ts";
import { goldensDir } from "../goldens-dir.ts";

const folder = goldensDir("dumpfile");

interface Case {
  name: string;
  dir: "ok" | "fail";
  what: string;
  want: "accept" | "reject" | "either";
  images?: Record<string, { size: number; sha256: string; fsverity: string; composefs_version: number }>;
}

const { cases } = JSON.parse(readFileSync(join(folder, "index.json"), "utf8")) as { cases: Case[] };
const dump = ({ dir, name }: Case) => readFileSync(join(folder, dir, `${name}.dump`));

const RUNS: Record<string, ImageOptions> = {
  c_default: { version: 0, maxVersion: 1, dialect: "c", algorithm: "sha256" },
  c_v0: { version: 0, dialect: "c", algorithm: "sha256" },
  c_v1: { version: 1, dialect: "c", algorithm: "sha256" },
  rs_v0: { version: 0, dialect: "rs", algorithm: "sha256" },
  rs_v1: { version: 1, dialect: "rs", algorithm: "sha256" },
};

/** Inputs that the project takes, and composefs-rs does not: points that the dialect decides (docs/spec/dumpfile.md). */
const REFUSED_BY_RS = ["hardlink-forward", "symlink-4095", "content-5000"];
/** Inputs that only one tool takes, for reasons that are none of the image's: both dialects take them here. */
const TAKEN_BY_BOTH = ["mtime-negative", "raw-non-utf8"];
/** Of what may go either way, what is taken: empty lines. Plus signs and carriage returns are refused. */
const EITHER_TAKEN = ["blank-lines"];

async function write(bytes: Uint8Array, options: ImageOptions) {
  const hash = createHash("sha256");
  const written = await writeImageFromDump([bytes], options, (chunk) => hash.update(chunk));
  return { ...written, sha256: hash.digest("hex") };
}

function expectRefusal(error: unknown): void {
  expect(error).toBeInstanceOf(ComposefsError);
  expect(["invalid", "limit"]).toContain((error as ComposefsError).code);
}

test("there are goldens of both kinds", () => {
  expect(new Set(cases.map(({ dir }) => dir))).toEqual(new Set(["ok", "fail"]));
});

const isTaken = ({ name, want }: Case) => want === "accept" || (want === "either" && EITHER_TAKEN.includes(name));
const title = (golden: Case) => [`${golden.dir}/${golden.name}: ${golden.what}`, golden] as const;

describe.each(cases.filter((golden) => !isTaken(golden)).map(title))("%s", (_, golden) => {
  // Files without entries have no line to name.
  const hasLines = !["empty", "only-blank"].includes(golden.name);

  describe.each(["c", "rs"] as const)("is refused in dialect %s", (dialect) => {
    test("as text", async () => {
      const error = await write(dump(golden), { version: 1, dialect, algorithm: "sha256" }).catch((e: unknown) => e);
      expectRefusal(error);
      const { line, message } = error as ComposefsError;
      expect(line ?? 0).toBeGreaterThanOrEqual(hasLines ? 1 : 0);
      expect(message).toMatch(hasLines ? /^line \d+, / : /there are no entries/);
    });

    test("by the reader of trees", () => {
      expect(() => readDump([dump(golden)], { dialect })).toThrow(ComposefsError);
    });
  });
});

describe.each(cases.filter(isTaken).map(title))("%s", (_, golden) => {
  const { name, images = {} } = golden;

  test.each(Object.entries(RUNS))("%s", async (run, options) => {
    if (options.dialect === "rs" && REFUSED_BY_RS.includes(name)) {
      expectRefusal(await write(dump(golden), options).catch((e: unknown) => e));
      expect(images[run]).toBeUndefined();
      return;
    }
    const written = await write(dump(golden), options);
    const image = images[run];
    if (image === undefined) {
      expect([...TAKEN_BY_BOTH, ...EITHER_TAKEN]).toContain(name);
      return;
    }
    expect(written).toMatchObject({
      size: image.size,
      sha256: image.sha256,
      id: image.fsverity,
      version: image.composefs_version,
    });
  });
});
