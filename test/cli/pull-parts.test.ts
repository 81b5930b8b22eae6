// `oci pull` of layers with a table of contents: what it says of the bytes that were spared, and how that is switched off.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { zstdChunked } from "../fixtures/chunked.ts";
import { writeLayout } from "../fixtures/layout.ts";
import { randomBytes, seededRandom } from "../fixtures/random.ts";
import { TestRegistry } from "../fixtures/registry.ts";
import { tar } from "../fixtures/tar.ts";
import { run, temporaryDirectory } from "./program.ts";

it("oci pull tells the bytes that it spared, and spares none with --whole-layers", async () => {
  const directory = temporaryDirectory();
  const content = randomBytes(seededRandom(21), 700_000);
  const archive = (mtime: number): Buffer =>
    tar([
      { path: "usr", type: "directory", mtime },
      { path: "usr/file", content, mtime },
    ]);
  const { reference: older } = writeLayout(join(directory, "older"), "v1", [{ tar: archive(1), compression: "gzip" }]);
  const newer = join(directory, "newer");
  writeLayout(newer, "v2", [{ ...zstdChunked(archive(2)), compression: "zstd" }]);
  await using registry = await TestRegistry.start();
  registry.load(newer);
  const authFile = join(directory, "auth.json");
  writeFileSync(authFile, "{}");
  const pull = async (repository: string, ...words: string[]): Promise<string> => {
    const first = await run(["oci", "pull", "--repo", repository, older, "older"]);
    expect(first.status, first.stderr).toBe(0);
    const where = `docker://${registry.host}/p/os:v2`;
    const options = ["--tls-verify=false", "--authfile", authFile, "--repo", repository];
    const { status, stdout, stderr } = await run(["oci", "pull", where, "newer", ...options, ...words]);
    expect(status, stderr).toBe(0);
    return stdout;
  };
  const repositories = ["parts", "whole"].map((name) => join(directory, name)) as [string, string];
  for (const path of repositories) expect((await run(["init", "--insecure", path])).status).toBe(0);
  expect(await pull(repositories[0])).toMatch(/^spared {3}68\d\.\d\d KiB that were there already$/m);
  expect(registry.sentBytes).toBeLessThan(10_000);
  const { statistics } = JSON.parse(await pull(repositories[1], "--whole-layers", "--json")) as { statistics: object };
  expect(statistics).toMatchObject({ bytes_spared: 0, layers_imported: 1 });
  expect(registry.sentBytes).toBeGreaterThan(700_000);
});
