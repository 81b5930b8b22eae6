// Layers with a table of contents are read as what they are, to their last frame or member (docs/spec/oci.md, section 4.2): the same
// layer as the plain archive, byte for byte.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { contentDigest } from "../../../src/oci/digest.ts";
import { importLayer } from "../../../src/oci/layer/import.ts";
import { Repository } from "../../../src/repository/repository.ts";
import { estargz, zstdChunked } from "../../fixtures/chunked.ts";
import { randomBytes, seededRandom } from "../../fixtures/random.ts";
import { tar, type TarEntry } from "../../fixtures/tar.ts";

const random = seededRandom(11);
const entries: TarEntry[] = [
  { path: "usr", type: "directory" },
  { path: "usr/empty" },
  { path: "usr/small", content: Buffer.from("small") },
  { path: "usr/large", content: randomBytes(random, 300_000), xattrs: { "user.a": Buffer.from("b") } },
  { path: "usr/link", type: "symlink", target: "large" },
  { path: `usr/${"long".repeat(40)}`, content: randomBytes(random, 100) },
  { path: "usr/zeros", content: Buffer.alloc(200_000) },
  { path: "usr/hard", type: "hardlink", target: "usr/large" },
];

let work: string;
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "composefs-chunked-"));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

async function* inChunks(bytes: Buffer, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const withTable = (table: Buffer) =>
  tar([...entries, { path: "stargz.index.json", content: table, mode: 0o444, mtime: 0 }]);

describe.each([
  ["zstd:chunked", zstdChunked(tar(entries), { tarSplit: false }), "zstd"],
  ["zstd:chunked with tar-split data", zstdChunked(tar(entries)), "zstd"],
  ["eStargz", estargz(tar(entries), withTable), "gzip"],
] as const)("%s", (_, { blob, tar: plain }, compression) => {
  it.each([1000, 65536, 10_000_000])("in chunks of %i is the same layer as the plain archive", async (chunk) => {
    const path = join(work, `${compression}-${blob.length}-${chunk}`);
    await Repository.init(path, { algorithm: "sha256", insecure: true });
    await using repository = await Repository.open(path, { write: true, durability: "none" });
    const diffId = contentDigest(plain);
    const expected = await importLayer(repository, inChunks(plain, chunk), { name: "plain", diffId });
    const found: string[] = [];
    const layer = await importLayer(repository, inChunks(blob, chunk), {
      name: "layer",
      diffId,
      blob: { digest: contentDigest(blob), size: blob.length },
      onCompression: (kind) => found.push(kind),
    });
    expect(found).toEqual([compression]);
    expect(layer.streamId).toBe(expected.streamId);
    expect(layer.size).toBe(plain.length);
    const { entries: count, newObjects: presentObjects } = expected.stats;
    expect(presentObjects).toBeGreaterThanOrEqual(3);
    expect(layer.stats).toMatchObject({ entries: count, newObjects: 0, presentObjects });
  });

  it("cut anywhere is refused", async () => {
    const path = join(work, `cut-${compression}-${blob.length}`);
    await Repository.init(path, { algorithm: "sha256", insecure: true });
    await using repository = await Repository.open(path, { write: true, durability: "none" });
    for (const at of [1, 100, 600, blob.length >> 1, blob.length - 60, blob.length - 1]) {
      const cut = importLayer(repository, inChunks(blob.subarray(0, at), 65536), {
        name: "layer",
        diffId: contentDigest(plain),
        blob: { digest: contentDigest(blob), size: blob.length },
      });
      await expect(cut, `at ${at}`).rejects.toMatchObject({ code: "digest-mismatch" });
    }
  });
});
