// The recorded images of OCI images, which cfsctl made: read back they give the recorded dump, and written again themselves.

import { createHash } from "node:crypto";
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import type { FormatVersion } from "../../src/core/erofs.ts";
import { ComposefsError } from "../../src/error.ts";
import { checkImage } from "../../src/image/check.ts";
import { recognizeImage } from "../../src/image/header.ts";
import { imageObjects } from "../../src/image/objects.ts";
import { readTree } from "../../src/image/read.ts";
import { dumpTree } from "../../src/tree/dump.ts";
import { dumpOfImage, imageOfTree } from "../fixtures/image.ts";
import { goldensDir } from "../goldens-dir.ts";

const folder = goldensDir("oci");
const cases = readdirSync(folder, { recursive: true, encoding: "utf8" })
  .filter((path) => path.endsWith(".sha256.erofs.gz"))
  .map((path) => ({ path, version: Number(/\.v([0-2])\./.exec(path)?.[1]) as FormatVersion }));

const read = (path: string) => Uint8Array.from(gunzipSync(readFileSync(join(folder, path))));
const sha256 = (data: Uint8Array | string) => createHash("sha256").update(data).digest("hex");

describe("recorded images of cfsctl", () => {
  it("are many", () => expect(cases.length).toBeGreaterThan(20));

  it.each(cases)("$path", ({ path, version }) => {
    const image = read(path);
    expect(recognizeImage(image)).toEqual({ kind: "composefs", version });
    expect(checkImage(image, { algorithm: "sha256", repository: true })).toMatchObject({ version, findings: [] });
    const tree = readTree(image);
    expect(sha256(imageOfTree(tree, { version, dialect: "rs" }))).toBe(sha256(image));
    expect([...dumpTree(tree, "canonical")].join("")).toBe(dumpOfImage(image));
    const digests = [...dumpTree(tree)].flatMap((line) => line.trimEnd().split(" ")[10] ?? []);
    const expected = [...new Set(digests.filter((digest) => digest !== "-"))].toSorted();
    expect(imageObjects(image, { algorithm: "sha256" })).toEqual(expected);
    const recorded = readFileSync(join(folder, dirname(path), "dump.sha256.txt"), "latin1");
    // The one thing that version 2 does not keep.
    const withoutNanoseconds = (text: string) => text.replace(/^((?:\S+ ){7}-?\d+\.)\d+/gm, "$10");
    const text = [...dumpTree(tree)].join("");
    expect(version === 2 ? withoutNanoseconds(text) : text).toBe(
      version === 2 ? withoutNanoseconds(recorded) : recorded,
    );
  });

  it("read from a descriptor, whose position stays", () => {
    const path = cases[0]?.path ?? "";
    const image = read(path);
    const directory = mkdtempSync(join(tmpdir(), "composefs-image-"));
    writeFileSync(join(directory, "image"), image);
    const fd = openSync(join(directory, "image"), "r");
    try {
      expect(dumpOfImage(fd)).toBe(dumpOfImage(image));
      expect(imageObjects(fd, { algorithm: "sha256" })).toEqual(imageObjects(image, { algorithm: "sha256" }));
      expect(readFileSync(fd)).toEqual(Buffer.from(image));
      expect(() => readTree(fd, { limit: image.length - 1 })).toThrow(/more than the limit/);
    } finally {
      closeSync(fd);
      rmSync(directory, { recursive: true });
    }
  });

  it("never trap, whichever byte of the metadata is damaged", () => {
    const image = read(cases[0]?.path ?? "");
    const outcomes = { fine: 0, refused: 0 };
    for (let at = 0; at < Math.min(image.length, 8192); at++) {
      const damaged = Uint8Array.from(image);
      damaged[at] = (damaged[at] ?? 0) ^ 0xff;
      try {
        imageObjects(damaged, { algorithm: "sha256" });
        outcomes.fine++;
      } catch (error) {
        if (!(error instanceof ComposefsError)) throw error;
        expect(error.code).toBe("invalid");
        outcomes.refused++;
      }
    }
    expect(outcomes.fine).toBeGreaterThan(100);
    expect(outcomes.refused).toBeGreaterThan(100);
  });
});

describe("what is no image", () => {
  it("is refused with the reason", () => {
    expect(() => readTree(new Uint8Array(0))).toThrow(/at least 4096 bytes, not 0/);
    expect(() => readTree(new Uint8Array(8192))).toThrow(/composefs magic/);
    expect(recognizeImage(new Uint8Array(0))).toEqual({ kind: "other" });
    expect(recognizeImage(new Uint8Array(8192))).toEqual({ kind: "other" });
    const image = read(cases[0]?.path ?? "");
    expect(() => readTree(image.subarray(0, 4096))).toThrow(/not a valid composefs image/);
  });

  it("is refused when the digests are of another algorithm", () => {
    const image = read(cases[0]?.path ?? "");
    expect(() => imageObjects(image, { algorithm: "sha512" })).toThrow(/another algorithm/);
  });
});
