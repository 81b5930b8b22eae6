// The committed example is what its script makes, and zlib reads it.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { expect, it } from "vitest";
import { EXAMPLE, temporaryDirectory } from "./program.ts";

const script = fileURLToPath(new URL("../../examples/make-layout.mjs", import.meta.url));

function files(folder: string): Map<string, string> {
  const paths = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
  return new Map(paths.toSorted().map((path) => [path.slice(folder.length), readFileSync(path).toString("latin1")]));
}

it("making the example again gives the same bytes", () => {
  const again = join(temporaryDirectory(), "layout");
  execFileSync(process.execPath, [script, again]);
  expect(files(again)).toEqual(files(EXAMPLE));
});

it("zlib takes its gzip layer, and every layer is the archive that the config promises", () => {
  const gzipped = [...files(EXAMPLE)].filter(([, content]) => content.startsWith("\u001F\u008B"));
  expect(gzipped).toHaveLength(1);
  const archive = gunzipSync(Buffer.from(gzipped[0]?.[1] ?? "", "latin1"));
  expect(archive.length).toBe(71_168);
  expect(archive.subarray(0, 4).toString()).toBe("usr/");
});

it("the README shows what a pull of it prints", () => {
  const readme = readFileSync(fileURLToPath(new URL("../../README.md", import.meta.url)), "utf8");
  const { id } = JSON.parse(readFileSync(join(EXAMPLE, "../expected.json"), "utf8")) as { id: string };
  const index = JSON.parse(readFileSync(join(EXAMPLE, "index.json"), "utf8")) as { manifests: { digest: string }[] };
  expect(readme).toContain(`\nmanifest ${index.manifests[0]?.digest}\n`);
  expect(readme).toContain(`\nimage    ${id}\n`);
});
