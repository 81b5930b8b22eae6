// Layers imported from the golden layouts: the streams that come out, and what is refused (docs/spec/oci.md, section 5).

import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Algorithm } from "../../../src/bytes/algorithm.ts";
import { displayBytes } from "../../../src/bytes/byte-string.ts";
import { fsverityDigest } from "../../../src/core/fsverity.ts";
import { ComposefsError } from "../../../src/error.ts";
import { importLayer, type ImportedLayer, type ImportLayerOptions } from "../../../src/oci/layer/import.ts";
import { ObjectPool } from "../../../src/oci/layer/object-pool.ts";
import { type LayerEntry, readLayer } from "../../../src/oci/layer/read.ts";
import { Repository } from "../../../src/repository/repository.ts";
import { type RawHeader, END, entry } from "../tar-bytes.ts";
import { type GoldenChunk, goldenLayerInfos, goldenLayers, goldenStreams, INDEX } from "./golden-layout.ts";

const WORK = mkdtempSync(join(tmpdir(), "composefs-layer-"));
afterAll(() => rmSync(WORK, { recursive: true, force: true }));

let repository: Repository;
let number = 0;

async function fresh(algorithm: Algorithm): Promise<Repository> {
  const path = join(WORK, `repository-${number++}`);
  await Repository.init(path, { algorithm, insecure: true });
  return Repository.open(path, { write: true, durability: "none" });
}

async function* inChunks(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

function load(bytes: Uint8Array, options: Partial<ImportLayerOptions>, chunk = 65536): Promise<ImportedLayer> {
  return importLayer(repository, inChunks(bytes, chunk), { name: "layer", ...options });
}

async function chunksOf(id: string): Promise<GoldenChunk[]> {
  const found: GoldenChunk[] = [];
  let inline: Uint8Array[] = [];
  const flush = () => {
    if (inline.length === 0) return;
    const bytes = Buffer.concat(inline);
    found.push({ inline: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") });
    inline = [];
  };
  const stream = await repository.openStream(id);
  for await (const chunk of stream.chunks()) {
    if (chunk.kind === "inline") {
      inline.push(Buffer.from(chunk.bytes));
      continue;
    }
    flush();
    found.push({ object: chunk.id, size: (await repository.readObject(chunk.id)).length });
  }
  flush();
  return found;
}

async function bytesOf(id: string): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  await repository.cat(id, (bytes) => void parts.push(Buffer.from(bytes)));
  return Buffer.concat(parts);
}

async function entriesOf(id: string): Promise<LayerEntry[]> {
  const entries: LayerEntry[] = [];
  for await (const found of readLayer(repository, id, "layer")) entries.push(found);
  return entries;
}

async function failure(promise: Promise<unknown>): Promise<ComposefsError> {
  try {
    await promise;
  } catch (error) {
    expect(error).toBeInstanceOf(ComposefsError);
    return error as ComposefsError;
  }
  throw new Error("the layer was accepted");
}

function expectNothingPublished(): void {
  const list = (folder: string) => {
    const path = join(repository.path, folder);
    return existsSync(path) ? readdirSync(path) : [];
  };
  expect(list("objects").filter((name) => !/^[0-9a-f]{2}$/.test(name))).toEqual([]);
  expect(list("streams").filter((name) => name !== "refs")).toEqual([]);
}

const threads = [
  { how: "on this thread", workers: 0, eager: false },
  { how: "on two workers", workers: 2, eager: true },
];

describe.each(threads)("golden layers, $how", ({ workers, eager }) => {
  describe.each(["sha256", "sha512"] as const)("%s", (algorithm) => {
    let pool: ObjectPool;
    beforeAll(async () => {
      repository = await fresh(algorithm);
      pool = new ObjectPool(repository.store.options, { workers, eager });
    });
    afterAll(() => pool.close());

    test.each(INDEX.images.filter((image) => image.is_container))("$name:$tag", async (image) => {
      const streams = goldenStreams(image.name);
      const infos = new Map(goldenLayerInfos(image.name).map((info) => [info.diffId, info]));
      for (const { name, bytes, diffId, blob } of goldenLayers(image)) {
        const imported = await load(bytes, { name, diffId, blob, pool });
        expect(imported.diffId).toBe(diffId);

        const golden = streams.get(`oci-layer-${diffId}`);
        const chunks = await chunksOf(imported.streamId);
        if (golden !== undefined) {
          const stream = await repository.openStream(imported.streamId);
          expect(stream.contentType).toBe(golden.content_type);
          expect([Number(stream.size), imported.size]).toEqual([golden.size, golden.size]);
          expect(stream.objectRefs).toHaveLength(golden.object_refs.length);
          if (algorithm === "sha256") {
            expect(chunks).toEqual(golden.chunks);
            expect(stream.objectRefs).toEqual(golden.object_refs);
          } else {
            // Streams were recorded for sha256: sizes and inline bytes must agree, and ids be the other digest of the
            // same bytes.
            const objects = chunks.flatMap((chunk) => ("object" in chunk ? [chunk.object] : []));
            const contents = await Promise.all(objects.map((id) => repository.readObject(id)));
            const translated = new Map(contents.map((content, i) => [objects[i], fsverityDigest("sha256", content)]));
            const asSha256 = chunks.map((chunk) =>
              "object" in chunk ? { ...chunk, object: translated.get(chunk.object) } : chunk,
            );
            expect(asSha256).toEqual(golden.chunks);
          }
        }
        const raw = await bytesOf(imported.streamId);
        expect(`sha256:${createHash("sha256").update(raw).digest("hex")}`).toBe(diffId);

        const entries = await entriesOf(imported.streamId);
        expect(entries).toHaveLength(imported.stats.entries);
        const info = infos.get(diffId);
        if (info !== undefined) {
          const external = chunks.flatMap((chunk) => ("object" in chunk ? [chunk] : []));
          expect(imported.stats.entries).toBe(info.entryCount);
          expect(imported.stats.inlineBytes).toBe(info.splitstream.inlineSize);
          expect(external.reduce((sum, { size }) => sum + size, 0)).toBe(info.splitstream.externalSize);
        }
      }
      expectNothingPublished();
    });
  });
});

test("enough was recorded to compare with", () => {
  const containers = INDEX.images.filter((image) => image.is_container);
  const known = containers.filter(({ name }) => goldenStreams(name).size > 0 && goldenLayerInfos(name).length > 0);
  expect(known.length).toBeGreaterThan(10);
});

describe.each(threads)("malformed layers, $how", ({ workers, eager }) => {
  let pool: ObjectPool;
  beforeAll(async () => {
    repository = await fresh("sha256");
    pool = new ObjectPool(repository.store.options, { workers, eager });
  });
  afterAll(() => pool.close());

  const expected: Record<string, { code: string; says: RegExp }> = {
    "m04-truncated": { code: "invalid", says: /layer 2 of m04-truncated: entry "x" at byte 0: .*end of the archive/ },
    "m05-checksum": {
      code: "invalid",
      says: /layer 2 .*entry "x" at byte 1024: checksum mismatch: expected 3865, computed 3864/,
    },
    "m06-sparse": { code: "invalid", says: /layer 2 .*entry "s" at byte 0: sparse/ },
    "m07-diffid": {
      code: "digest-mismatch",
      says: /layer 2 .*: the uncompressed layer is sha256:.*, the config says sha256:/,
    },
    "m08-blobdigest": { code: "digest-mismatch", says: /layer \d .*: the blob is sha256:.* instead of sha256:/ },
    "m09-blobsize": { code: "digest-mismatch", says: /layer \d .*: the blob .*1234/ },
    "m10-gzipcrc": { code: "invalid", says: /layer 2 .*: gzip checksum/ },
    "m14-type": { code: "invalid", says: /layer 2 .*entry "x" at byte 0: unsupported entry type 's'/ },
    "m17-name256": { code: "invalid", says: /layer 2 .*entry "x" at byte 1024: name of 256 bytes/ },
    "m19-paxmtime": { code: "invalid", says: /layer 2 .*entry "x" at byte 1024: invalid pax mtime value "-5.5"/ },
  };

  test.each(Object.entries(expected))("%s", async (name, { code, says }) => {
    const image = INDEX.malformed.find((candidate) => candidate.name === name);
    if (image === undefined) throw new Error(`${name} is not recorded`);
    const errors: ComposefsError[] = [];
    for (const layer of goldenLayers(image)) {
      try {
        await load(layer.bytes, { name: layer.name, diffId: layer.diffId, blob: layer.blob, pool });
      } catch (error) {
        errors.push(error as ComposefsError);
      }
    }
    expect(errors).toHaveLength(1);
    expect(errors[0]).toBeInstanceOf(ComposefsError);
    expect([errors[0]?.code, errors[0]?.message]).toEqual([code, expect.stringMatching(says)]);
    expectNothingPublished();
  });

  test("the other malformed images have sound layers: the merge refuses them", async () => {
    for (const image of INDEX.malformed) {
      if (image.name in expected || image.name === "m13-count") continue;
      for (const { name, bytes, diffId } of goldenLayers(image)) {
        expect((await load(bytes, { name, diffId })).diffId).toBe(diffId);
      }
    }
  });
});

function tree(files: number, size: (i: number) => number, fields: RawHeader = {}): Buffer {
  const parts: Buffer[] = [];
  for (let i = 0; i < files; i++) {
    const content = Buffer.alloc(size(i), `content ${i} `);
    parts.push(entry({ name: `f${i}`, ...fields }, content));
  }
  return Buffer.concat([...parts, END]);
}

describe("importing", () => {
  beforeEach(async () => {
    repository = await fresh("sha256");
  });

  const mixed = tree(400, (i) => [0, 64, 65, 4096, 70_000, 5_000_000][i % 190 === 189 ? 5 : i % 5] as number);

  test("this thread and workers give identical streams, whatever the chunks", async () => {
    const here = await load(mixed, {}, 1 << 20);
    const cases: [ObjectPool, number][] = [
      [new ObjectPool(repository.store.options, { workers: 1, eager: true }), 1 << 20],
      [new ObjectPool(repository.store.options, { workers: 3, eager: true }), 99_991],
      [new ObjectPool(repository.store.options, { workers: 0 }), 8_000_000],
    ];
    for (const [pool, chunk] of cases) {
      const there = await load(mixed, { pool }, chunk);
      await pool.close();
      expect(there).toEqual({
        ...here,
        stats: { ...here.stats, newObjects: 0, presentObjects: here.stats.newObjects, storedBytes: 0 },
      });
    }
    expect((await bytesOf(here.streamId)).equals(mixed)).toBe(true);
    expectNothingPublished();
  });

  test("objects are counted once", async () => {
    const first = await load(
      tree(10, () => 100),
      {},
    );
    expect(first.stats).toEqual({
      entries: 10,
      newObjects: 10,
      presentObjects: 0,
      storedBytes: 1000,
      inlineBytes: first.size - 1000,
      reflinked: { objects: 0, bytes: 0 },
      hardlinked: { objects: 0, bytes: 0 },
    });
    const same = Buffer.concat([entry({ name: "a" }, "x".repeat(99)), entry({ name: "b" }, "x".repeat(99)), END]);
    const second = await load(same, {});
    expect([second.stats.newObjects, second.stats.presentObjects, second.stats.storedBytes]).toEqual([1, 0, 99]);
    const third = await load(same, {});
    expect([third.stats.newObjects, third.stats.presentObjects, third.stats.storedBytes]).toEqual([0, 1, 0]);
  });

  test("a sha512 diff_id", async () => {
    const diffId = `sha512:${createHash("sha512").update(mixed).digest("hex")}`;
    expect((await load(gzipSync(mixed, { level: 1 }), { diffId })).diffId).toBe(diffId);
    expect((await load(mixed, { diffId })).diffId).toBe(diffId);
    const wrong = `${diffId.slice(0, -1)}${diffId.endsWith("0") ? "1" : "0"}`;
    expect((await failure(load(mixed, { diffId: wrong }))).code).toBe("digest-mismatch");
    expect((await failure(load(mixed, { diffId: "blake3:00" }))).code).toBe("unsupported");
  });

  test("a damaged blob is reported as such, not as what its content looks like", async () => {
    const good = gzipSync(mixed, { level: 1 });
    const blob = { digest: `sha256:${createHash("sha256").update(good).digest("hex")}`, size: good.length };
    const bad = Buffer.from(good);
    bad[1000] = (bad[1000] as number) ^ 0xff;
    const error = await failure(load(bad, { blob }));
    expect([error.code, error.digest]).toEqual(["digest-mismatch", blob.digest]);
    expect((await failure(load(bad, {}))).code).toBe("invalid");
    expect((await failure(load(good.subarray(0, -1), { blob }))).message).toContain(`instead of ${blob.size}`);
    expect((await failure(load(Buffer.concat([good, Buffer.from("x")]), { blob }))).message).toContain("longer than");
    expectNothingPublished();
  });

  test("garbage behind the last gzip member belongs to the blob", async () => {
    const bytes = Buffer.concat([gzipSync(mixed, { level: 1 }), Buffer.alloc(300_000)]);
    const blob = { digest: `sha256:${createHash("sha256").update(bytes).digest("hex")}`, size: bytes.length };
    expect((await load(bytes, { blob })).size).toBe(mixed.length);
  });

  test("progress counts the bytes of the source", async () => {
    const seen: number[] = [];
    const kinds: string[] = [];
    await load(mixed, { onProgress: (done) => seen.push(done), onCompression: (kind) => kinds.push(kind) }, 1 << 20);
    expect(seen.at(-1)).toBe(mixed.length);
    expect(seen).toEqual(seen.toSorted((a, b) => a - b));
    expect(kinds).toEqual(["none"]);
  });

  test.each(threads)("an abort leaves nothing behind, $how", async ({ workers, eager }) => {
    const controller = new AbortController();
    await using pool = new ObjectPool(repository.store.options, { workers, eager });
    const onProgress = (done: number) => {
      if (done > 6_000_000) controller.abort();
    };
    const big = tree(3, () => 9_000_000);
    const error = await failure(load(big, { pool, signal: controller.signal, onProgress }, 1 << 20));
    expect(error.code).toBe("aborted");
    expectNothingPublished();
  });

  test.each(threads)("the source's own error comes through, $how", async ({ workers, eager }) => {
    await using pool = new ObjectPool(repository.store.options, { workers, eager });
    let closed = false;
    async function* broken(): AsyncGenerator<Uint8Array> {
      try {
        yield mixed.subarray(0, 6_000_000);
        throw new ComposefsError("io", "the line went dead");
      } finally {
        closed = true;
      }
    }
    const error = await failure(importLayer(repository, broken(), { name: "layer", pool }));
    expect([error.code, error.message, closed]).toEqual(["io", "the line went dead", true]);
    expectNothingPublished();
  });

  test("a refused layer closes its source", async () => {
    let closed = false;
    async function* endless(): AsyncGenerator<Uint8Array> {
      try {
        for (;;) yield Buffer.alloc(65536, "no tar");
      } finally {
        closed = true;
      }
    }
    expect((await failure(importLayer(repository, endless(), { name: "layer" }))).code).toBe("invalid");
    expect(closed).toBe(true);
  });

  test("a layer that is no tar archive is not read back as one", async () => {
    const { id } = await repository.putObject(Buffer.from("no splitstream"));
    expect(await failure(entriesOf(id))).toBeInstanceOf(ComposefsError);
  });

  test("entries come back as they were", async () => {
    const { streamId } = await load(mixed, {});
    const entries = await entriesOf(streamId);
    expect(entries).toHaveLength(400);
    for (const [i, found] of entries.entries()) {
      expect(displayBytes(found.path)).toBe(`f${i}`);
      if (found.content?.kind === "inline") expect(found.content.bytes.length).toBe(found.size);
      else
        expect(found.content).toEqual({
          kind: "external",
          size: found.size,
          digest: expect.stringMatching(/^[0-9a-f]{64}$/),
        });
    }
  });
});
