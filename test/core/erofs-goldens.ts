// The golden images of test/goldens/erofs: what each file says about its dumps and variants.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Algorithm } from "../../src/bytes/algorithm.ts";
import type { ImageOptions } from "../../src/image/write.ts";
import { goldensDir } from "../goldens-dir.ts";

const folder = goldensDir("erofs");

/** An image, or that there must be none. */
export interface GoldenVariant {
  size: number;
  sha256: string;
  fsverity_sha256: string;
  fsverity_sha512: string;
  composefs_version: FormatNumber;
  dump_sha256: string;
  error?: string;
  /** That it can be written, but is refused by the reader. */
  load?: string;
}

type FormatNumber = 0 | 1 | 2;

/** One image to make. */
export interface GoldenImage {
  /** File name of the dump. */
  file: string;
  /** `v0`, `v1_rs`, ... */
  variant: string;
  options: ImageOptions;
  want: GoldenVariant;
}

/** The dump's bytes. */
export function goldenDump(file: string): Buffer {
  return readFileSync(join(folder, file));
}

/**
 * Whether the dump says what only dialect `c` takes from it, and no tree can hold (docs/spec/erofs.md, section 16): a NLINK
 * column that is not the number of names (item 2), an owner that is not the first name (item 3), a device with a large SIZE
 * (item 10). `canonical` are the lines of the same tree as the project prints it.
 */
export function saysMoreThanTree(dump: Uint8Array, canonical: readonly string[]): boolean {
  const printed = new Map(canonical.map((text) => [text.slice(0, text.indexOf(" ")), text.split(" ")]));
  return Buffer.from(dump)
    .toString("latin1")
    .split("\n")
    .some((text) => {
      const [path = "", size = "0", mode = "", nlink] = text.split(" ");
      const other = printed.get(path);
      if (other === undefined) return false;
      if (mode.startsWith("@") !== (other[2] ?? "").startsWith("@")) return true;
      if (mode.startsWith("@") || /^0*4....$/.test(mode)) return false;
      return nlink !== other[3] || (/^0*[26]0...$/.test(mode) && BigInt(size) > 0xffffffffn);
    });
}

interface GoldenFile {
  hash: Algorithm;
  variants: Record<string, GoldenVariant | undefined>;
}

/** All images, those included that are only said to be equal to another variant. */
export function goldenImages(): GoldenImage[] {
  const index = JSON.parse(readFileSync(join(folder, "index.json"), "utf8")) as { files: Record<string, GoldenFile> };
  return Object.entries(index.files).flatMap(([file, { hash, variants }]) => {
    const { v0, v1, v2 } = variants;
    const v0_noupgrade = variants["v0_noupgrade"] ?? v0;
    // With sha512 all variants are those of composefs-rs, which never upgrades.
    const all: Record<string, GoldenVariant | undefined> =
      hash === "sha512"
        ? { v0_rs: v0, v1_rs: v1, v2 }
        : { v0, v0_noupgrade, v1, v2, v0_rs: variants["v0_rs"] ?? v0_noupgrade, v1_rs: variants["v1_rs"] ?? v1 };
    return Object.entries(all).map(([variant, want]) => {
      if (want === undefined) throw new Error(`${file} has no variant ${variant}`);
      return { file, variant, options: optionsOf(variant, hash), want };
    });
  });
}

function optionsOf(variant: string, algorithm: Algorithm): ImageOptions {
  const version = Number(variant[1]) as FormatNumber;
  const dialect = variant === "v2" || variant.endsWith("_rs") ? "rs" : "c";
  return variant === "v0" ? { version, algorithm, dialect, maxVersion: 1 } : { version, algorithm, dialect };
}
