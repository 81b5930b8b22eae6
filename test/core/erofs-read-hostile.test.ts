// The golden hostile images: the verdict of loading, of the check, and of the check for images of repositories.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ErofsReader } from "../../src/core/erofs-read.ts";
import { ComposefsError } from "../../src/error.ts";
import { checkImage } from "../../src/image/check.ts";
import { imageObjects } from "../../src/image/objects.ts";
import { readTree } from "../../src/image/read.ts";
import { dumpTree } from "../../src/tree/dump.ts";
import { dumpOfImage, imageOfDump } from "../fixtures/image.ts";
import { goldensDir } from "../goldens-dir.ts";

const folder = goldensDir("erofs");

interface HostileCase {
  variant: "v1" | "v2";
  name: string;
  patches?: [number, string][];
  truncate?: number;
  load: string;
  fsck: string;
  fsck_repo: string;
  dump_sha256?: string;
}

const { base, base_images, cases } = JSON.parse(readFileSync(join(folder, "hostile.json"), "utf8")) as {
  base: string;
  base_images: Record<"v1" | "v2", { sha256: string }>;
  cases: HostileCase[];
};

const sha256 = (data: Uint8Array | string) => createHash("sha256").update(data).digest("hex");
const dump = readFileSync(join(folder, base));
const images = {
  v1: await imageOfDump(dump, { version: 1, dialect: "c" }),
  v2: await imageOfDump(dump, { version: 2, dialect: "rs" }),
};

function patched({ variant, patches = [], truncate }: HostileCase): Uint8Array {
  const image = Uint8Array.from(images[variant]);
  for (const [offset, hex] of patches) image.set(Buffer.from(hex, "hex"), offset);
  return truncate === undefined ? image : image.subarray(0, truncate);
}

function loadVerdict(image: Uint8Array): string {
  try {
    using reader = new ErofsReader(image, { algorithm: "sha256" });
    reader.load();
    return "accept";
  } catch (error) {
    if (!(error instanceof ComposefsError) || error.code !== "invalid") throw error;
    return "reject";
  }
}

const checkVerdict = (image: Uint8Array, repository: boolean) =>
  checkImage(image, { algorithm: "sha256", repository }).findings.length === 0 ? "accept" : "reject";

describe("golden hostile images", () => {
  it("come from the recorded base images", () => {
    expect(sha256(images.v1)).toBe(base_images.v1.sha256);
    expect(sha256(images.v2)).toBe(base_images.v2.sha256);
    expect(cases.length).toBeGreaterThan(500);
  });

  it.each(cases)("$variant $name: load $load, check $fsck, repository $fsck_repo", (hostile) => {
    const image = patched(hostile);
    expect(loadVerdict(image)).toBe(hostile.load);
    expect(checkVerdict(image, false)).toBe(hostile.fsck);
    expect(checkVerdict(image, true)).toBe(hostile.fsck_repo);
    if (hostile.load === "reject") {
      expect(() => dumpOfImage(image, "sha256")).toThrow(ComposefsError);
      return;
    }
    const text = dumpOfImage(image, "sha256");
    expect(sha256(text)).toBe(hostile.dump_sha256);
    if (!/^\S+ (9223372036854775808|18446744073709551615) /m.test(text)) {
      expect([...dumpTree(readTree(image, { algorithm: "sha256" }), "canonical")].join("")).toBe(text);
    }
    if (hostile.fsck === "reject") expect(() => imageObjects(image, { algorithm: "sha256" })).toThrow(ComposefsError);
    else expect(imageObjects(image, { algorithm: "sha256" }).length).toBeGreaterThan(0);
  });
});
