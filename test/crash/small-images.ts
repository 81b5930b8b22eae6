// Two images so small that every cut of a job with them can be tried; they share their lower layer.

import { join } from "node:path";
import { type WrittenLayout, writeLayout } from "../fixtures/layout.ts";
import { randomBytes, seededRandom } from "../fixtures/random.ts";
import { tar } from "../fixtures/tar.ts";

/** Writes the layouts below a folder. */
export function smallImages(folder: string): { one: WrittenLayout; two: WrittenLayout } {
  const random = seededRandom(7);
  const base = tar([
    { path: "usr", type: "directory" },
    { path: "usr/a", content: randomBytes(random, 100) },
    { path: "usr/large", content: randomBytes(random, 200_000) },
    { path: "usr/inline", content: randomBytes(random, 10) },
  ]);
  const top = (name: string) =>
    tar([
      { path: "usr", type: "directory" },
      { path: `usr/${name}`, content: randomBytes(random, 5000) },
      { path: "usr/.wh.a" },
    ]);
  const layout = (name: string) =>
    writeLayout(join(folder, name), name, [
      { tar: base, compression: "gzip" },
      { tar: top(name), compression: "none" },
    ]);
  return { one: layout("one"), two: layout("two") };
}
