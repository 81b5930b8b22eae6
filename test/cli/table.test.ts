// Tables against the recorded ones, and their plain form.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { formatDuration, formatSize } from "../../src/cli/size.ts";
import { formatTable } from "../../src/cli/table.ts";
import { goldensDir } from "../goldens-dir.ts";

interface Listed {
  images: {
    name: string;
    manifest_digest: string;
    architecture: string;
    layer_count: number;
    referrer_count: number;
  }[];
}

const HEAD = ["NAME", "DIGEST", "ARCH", "LAYERS", "REFS"];
const folder = goldensDir("oci");
const cases = readdirSync(folder).filter((name) => existsSync(join(folder, name, "images.txt")));

describe("tables", () => {
  it("has recorded tables", () => expect(cases.length).toBeGreaterThan(10));

  it.each(cases)("draws the table of %s", (name) => {
    const { images } = JSON.parse(readFileSync(join(folder, name, "images.json"), "utf8")) as Listed;
    const rows = images.map((image) => [
      image.name,
      image.manifest_digest.slice(7, 19),
      image.architecture === "" ? "artifact" : image.architecture,
      String(image.layer_count),
      String(image.referrer_count),
    ]);
    expect(formatTable(HEAD, rows, true)).toBe(readFileSync(join(folder, name, "images.txt"), "utf8"));
  });

  it("aligns columns without boxes, without blanks at the end", () => {
    expect(
      formatTable(
        ["A", "LONG"],
        [
          ["wide cell", "x"],
          ["ü", "y"],
        ],
        false,
      ),
    ).toBe("A          LONG\nwide cell  x\nü          y\n");
    expect(formatTable(["A"], [["x"], ["y"]], true)).toBe("┌───┐\n│ A │\n╞═══╡\n│ x │\n├╌╌╌┤\n│ y │\n└───┘\n");
  });
});

describe("numbers for people", () => {
  it("formats sizes as cfsctl does", () => {
    expect([0, 285, 1023, 1024, 17_121, 38_113, 3 * 2 ** 30].map(formatSize)).toEqual([
      "0 B",
      "285 B",
      "1023 B",
      "1.00 KiB",
      "16.72 KiB",
      "37.22 KiB",
      "3.00 GiB",
    ]);
  });

  it("formats durations", () => {
    expect([420, 12_000, 185_000, 7_800_000].map(formatDuration)).toEqual([
      "0.4 s",
      "12 s",
      "3 min 05 s",
      "2 h 10 min",
    ]);
  });
});
