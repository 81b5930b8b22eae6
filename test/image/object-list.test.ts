// The object list of recorded images against the digests in their recorded dumps; damaged images are refused.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { ComposefsError } from "../../src/error.ts";
import { imageObjectList } from "../../src/image/object-list.ts";
import { goldensDir } from "../goldens-dir.ts";

const folder = goldensDir("oci");
const cases = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((path) =>
  path.endsWith(".sha256.erofs.gz"),
);

const read = (path: string) => new Uint8Array(gunzipSync(readFileSync(join(folder, path))));

describe("imageObjectList", () => {
  it("has images", () => expect(cases.length).toBeGreaterThan(20));

  it.each(cases)("lists the objects of %s", (path) => {
    const dump = readFileSync(join(folder, path, "../dump.sha256.txt"), "latin1");
    const digests = dump.split("\n").flatMap((line) => line.split(" ")[10] ?? []);
    const expected = [...new Set(digests.filter((digest) => digest !== "-"))].toSorted();
    expect(imageObjectList(read(path), "sha256")).toEqual(expected);
  });

  it("survives every damaged byte of the metadata", () => {
    const image = read(cases[0] ?? "");
    const outcomes = { fine: 0, refused: 0 };
    for (let at = 0; at < Math.min(image.length, 8192); at++) {
      const damaged = Uint8Array.from(image);
      damaged[at] = (damaged[at] ?? 0) ^ 0xff;
      try {
        imageObjectList(damaged, "sha256");
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

  it("refuses what is no image, or cut", () => {
    expect(() => imageObjectList(new Uint8Array(0), "sha256")).toThrow(/less than a block/);
    expect(() => imageObjectList(new Uint8Array(8192), "sha256")).toThrow(/magic/);
    const image = read(cases[0] ?? "");
    expect(() => imageObjectList(image.subarray(0, 4096), "sha256")).toThrow(/no valid composefs image/);
  });
});
