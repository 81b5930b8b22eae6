// zstd:chunked layers as skopeo makes them are the layers of the image they were made from (docs/spec/oci.md, section 4.2).

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterAll, beforeAll, expect, it } from "vitest";

import { pull } from "../../src/oci/pull.ts";
import { openSource } from "../../src/oci/source/open.ts";
import { parseManifest } from "../../src/oci/manifest.ts";
import { Repository } from "../../src/repository/repository.ts";
import { writeLayout } from "../fixtures/layout.ts";
import { randomBytes, seededRandom } from "../fixtures/random.ts";
import { TestRegistry } from "../fixtures/registry.ts";
import { tar } from "../fixtures/tar.ts";
import { describeWithPeers, peerOutput } from "../peer.ts";

describeWithPeers(["skopeo"], "zstd:chunked layers of skopeo", () => {
  let work: string;
  beforeAll(() => {
    work = mkdtempSync(join(tmpdir(), "composefs-chunked-"));
  });
  afterAll(() => rmSync(work, { recursive: true, force: true }));

  it("give the image that the plain layers give", async () => {
    const random = seededRandom(12);
    const { reference } = writeLayout(join(work, "plain"), "v1", [
      {
        tar: tar([
          { path: "usr", type: "directory" },
          { path: "usr/small", content: Buffer.from("small") },
          { path: "usr/large", content: randomBytes(random, 1_000_000) },
          { path: "usr/zeros", content: Buffer.alloc(1_000_000) },
        ]),
        compression: "none",
      },
      { tar: tar([{ path: "usr/more", content: randomBytes(random, 5000) }]), compression: "gzip" },
    ]);
    const chunked = `oci:${join(work, "chunked")}:v1`;
    peerOutput("skopeo", ["--insecure-policy", "copy", "--dest-compress-format=zstd:chunked", reference, chunked]);
    await using source = await openSource(chunked);
    const [layer] = parseManifest((await source.resolve()).bytes).layers;
    expect(Object.keys(layer?.annotations ?? {}).join(" ")).toContain("zstd-chunked.manifest-position");
    const [, blob = ""] = layer?.digest.split(":") ?? [];
    // The plain archive's first frame is only a part of it.
    expect(
      readFileSync(join(work, "chunked/blobs/sha256", blob))
        .subarray(0, 4)
        .toString("hex"),
    ).toBe("28b52ffd");
    const ids: (string | undefined)[] = [];
    for (const from of [reference, chunked]) {
      const path = join(work, `repository-${ids.length}`);
      await Repository.init(path, { algorithm: "sha256", insecure: true });
      await using repository = await Repository.open(path, { write: true, durability: "none" });
      const { images, stats } = await pull(repository, from, { tag: "t" });
      expect(stats.importedLayers).toBe(2);
      ids.push(images[0]?.id);
    }
    expect(ids[0]).toBeDefined();
    expect(ids[1]).toBe(ids[0]);
  });

  it("are fetched without the files that are there, by the tables that skopeo writes", async () => {
    const random = seededRandom(13);
    const large = randomBytes(random, 700_000);
    const image = (name: string, content: Uint8Array, mtime: number): string => {
      const { reference } = writeLayout(join(work, name), "v1", [
        {
          tar: tar([
            { path: "usr", type: "directory", mtime },
            { path: "usr/large", content: large, mtime },
            { path: "usr/small", content: Buffer.from("small"), mtime },
            { path: "usr/other", content, mtime },
            { path: "usr/zeros", content: Buffer.alloc(500_000), mtime },
          ]),
          compression: "none",
        },
      ]);
      return reference;
    };
    const older = image("older", randomBytes(random, 100_000), 1);
    const newer = image("newer", randomBytes(random, 100_000), 2);
    const chunked = join(work, "newer-chunked");
    const to = `oci:${chunked}:v1`;
    peerOutput("skopeo", ["--insecure-policy", "copy", "--dest-compress-format=zstd:chunked", newer, to]);
    await using registry = await TestRegistry.start();
    registry.load(chunked);
    const path = join(work, "repository-update");
    await Repository.init(path, { algorithm: "sha256", insecure: true });
    await using repository = await Repository.open(path, { write: true, durability: "none" });
    await pull(repository, older, { tag: "older" });
    const authFile = join(work, "auth.json");
    writeFileSync(authFile, "{}");
    const options = { registry: { tlsVerify: false, authFile } };
    const parts = await pull(repository, `docker://${registry.host}/p/os:v1`, { tag: "newer", ...options });
    expect(parts.stats.sparedBytes).toBeGreaterThan(690_000);
    expect(registry.sentBytes).toBeLessThan(130_000);
    const plain = await pull(repository, newer, { tag: "plain" });
    expect(plain.images).toEqual(parts.images);
    expect(plain.stats.skippedLayers).toBe(1);
  });
});
