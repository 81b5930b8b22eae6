// The two images that the crash suite pulls: three layers each, the lowest shared, some tens of megabytes with small files,
// large files, hard links and whiteouts, in every compression.

import { join } from "node:path";
import { type LayerSource, type WrittenLayout, writeLayout } from "../fixtures/layout.ts";
import { randomBytes, seededRandom } from "../fixtures/random.ts";
import { type TarEntry, tar } from "../fixtures/tar.ts";

function files(folder: string, count: number, largest: number, seed: number): TarEntry[] {
  const random = seededRandom(seed);
  const entries: TarEntry[] = [{ path: folder, type: "directory" }];
  for (let i = 0; i < count; i++) {
    if (i % 100 === 0) entries.push({ path: `${folder}/${Math.floor(i / 100)}`, type: "directory" });
    entries.push({
      path: `${folder}/${Math.floor(i / 100)}/${i}`,
      content: randomBytes(random, Math.floor(random() ** 4 * largest)),
      mode: i % 7 === 0 ? 0o755 : 0o644,
    });
  }
  return entries;
}

/** The layouts of the suite, written below a folder. */
export function crashImages(folder: string): { first: WrittenLayout; second: WrittenLayout } {
  const base: LayerSource = {
    compression: "gzip",
    tar: tar([{ path: "usr", type: "directory" }, ...files("usr/lib", 900, 60_000, 1)]),
  };
  const middle: LayerSource = {
    compression: "none",
    tar: tar([
      { path: "var", type: "directory" },
      ...files("var/data", 12, 4_000_000, 2),
      { path: "usr/lib/0/.wh.1" },
      { path: "usr/lib/linked", type: "hardlink", target: "usr/lib/0/0" },
    ]),
  };
  const top = (seed: number): LayerSource => ({
    compression: "zstd",
    tar: tar([{ path: "etc", type: "directory" }, ...files("etc/conf", 300, 20_000, seed)]),
  });
  return {
    first: writeLayout(join(folder, "first"), "first", [base, middle, top(3)]),
    second: writeLayout(join(folder, "second"), "second", [base, top(4), middle]),
  };
}
