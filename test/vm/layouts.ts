// The images that the guest pulls, and what a mount of them must show: known from the data itself or from what the reference
// implementation recorded, never from the code under test.

import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Algorithm } from "../../src/bytes/algorithm.ts";
import { type DumpEntry, FILE_TYPE, parseDump, REGULAR } from "../fixtures/dump.ts";
import { referenceFsverity } from "../fixtures/fsverity.ts";
import { writeLayout } from "../fixtures/layout.ts";
import { tar } from "../fixtures/tar.ts";
import { goldensDir } from "../goldens-dir.ts";
import { program } from "./programs.ts";

const GOLDEN = "01-basic";
const EXAMPLES = fileURLToPath(new URL("../../examples", import.meta.url));

/** What to give to `oci pull` in the guest. */
export const LAYOUTS = {
  example: "oci:/layouts/example:v1",
  golden: "oci:/layouts/golden:latest",
  large: "oci:/layouts/large:v1",
} as const;

/** The image of the bundled example in a new repository. */
export const EXAMPLE_ID = (JSON.parse(readFileSync(join(EXAMPLES, "expected.json"), "utf8")) as { id: string }).id;

/** The image of the golden layout in format 1. */
export function goldenImageId(algorithm: Algorithm): string {
  const { images } = JSON.parse(readFileSync(join(goldensDir("oci"), "index.json"), "utf8")) as {
    images: { name: string; image_ids: Record<Algorithm, { v1: string }> }[];
  };
  const golden = images.find(({ name }) => name === GOLDEN);
  if (golden === undefined) throw new Error(`the goldens have no ${GOLDEN}`);
  return golden.image_ids[algorithm].v1;
}

/**
 * The files of the large image by path: trees of hashes of two levels and of one, two files of one size, names that share an
 * object, and one that is kept inline.
 */
export const LARGE_FILES: ReadonlyMap<string, Buffer> = new Map([
  ["usr/large", pattern(1_048_579, 1)],
  ["usr/large-again", pattern(1_048_579, 1)],
  ["usr/deep", pattern(700_000, 2)],
  ["usr/one", pattern(5000, 3)],
  ["usr/other", pattern(5000, 4)],
  ["usr/third", pattern(4096, 5)],
  ["usr/inline", pattern(64, 6)],
]);

/** Writes the layouts into a folder that becomes /layouts. */
export function writeLayouts(folder: string): void {
  cpSync(join(EXAMPLES, "layout"), join(folder, "example"), { recursive: true });
  mkdirSync(join(folder, "golden"), { recursive: true });
  execFileSync(program("tar"), ["-xf", join(goldensDir("oci"), `${GOLDEN}.tar`), "-C", join(folder, "golden")]);
  const files = [...LARGE_FILES].map(([path, content]) => ({ path, content }));
  writeLayout(join(folder, "large"), "v1", [
    { tar: tar([{ path: "usr", type: "directory" }, ...files]), compression: "gzip" },
  ]);
}

/** The lines that {@link digestsBelow} must print for a mount of the golden layout. */
export function goldenDigests(algorithm: Algorithm): string[] {
  const dump = parseDump(readFileSync(join(goldensDir("oci"), GOLDEN, `dump.${algorithm}.txt`)));
  const digest = ({ digest: recorded, content = "" }: DumpEntry) =>
    recorded ?? referenceFsverity(algorithm, Buffer.from(content, "latin1"));
  return [...dump]
    .filter(([, entry]) => (entry.mode & FILE_TYPE) === REGULAR)
    .map(([path, entry]) => `${algorithm}:${digest(entry)} .${path}`)
    .toSorted();
}

/** The lines that {@link digestsBelow} must print for a mount of the large layout. */
export function largeDigests(algorithm: Algorithm): string[] {
  return [...LARGE_FILES]
    .map(([path, content]) => `${algorithm}:${referenceFsverity(algorithm, content)} ./${path}`)
    .toSorted();
}

/** A script that prints the digest of every file below a directory, computed by the program fsverity from what it reads. */
export function digestsBelow(directory: string, algorithm: Algorithm): string {
  return `cd ${directory} && find . -type f -exec fsverity digest --hash-alg=${algorithm} {} + | sort`;
}

/** The path of an object in the repository. */
export function objectFile(id: string): string {
  return `objects/${id.slice(0, 2)}/${id.slice(2)}`;
}

/** The path of the object that holds a file of the large image. */
export function largeObject(algorithm: Algorithm, path: string): string {
  return objectFile(referenceFsverity(algorithm, LARGE_FILES.get(path) as Buffer));
}

function pattern(size: number, seed: number): Buffer {
  const data = Buffer.alloc(size);
  let state = seed;
  for (let i = 0; i < size; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    data[i] = state >>> 24;
  }
  return data;
}
