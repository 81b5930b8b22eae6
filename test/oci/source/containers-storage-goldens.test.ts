// The recorded container stores (docs/spec/containers-storage.md, section 18): every image gives the recorded ids, every recipe its
// archive or the class of its error, every change to a store what it has to give.

import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

import { afterAll, beforeAll, describe, expect, it } from "vitest";

import type { Algorithm } from "../../../src/bytes/algorithm.ts";
import { ComposefsError } from "../../../src/error.ts";
import { streamBytes } from "../../../src/oci/layer-bytes.ts";
import { importUnpackedLayer } from "../../../src/oci/layer/import-unpacked.ts";
import { ObjectPool } from "../../../src/oci/layer/object-pool.ts";
import { type LocalFetch, ZeroCopy } from "../../../src/oci/layer/zero-copy.ts";
import { pull } from "../../../src/oci/pull.ts";
import type { PullResult } from "../../../src/oci/pull-options.ts";
import { bigDataFile } from "../../../src/oci/source/containers-storage/big-data.ts";
import { Crc64 } from "../../../src/oci/source/containers-storage/crc64.ts";
import { rebuildArchive } from "../../../src/oci/source/containers-storage/rebuild.ts";
import { recipeLines, recipeText } from "../../../src/oci/source/containers-storage/tar-split.ts";
import { Repository } from "../../../src/repository/repository.ts";
import { auditRepository } from "../../fixtures/repository-audit.ts";
import { goldensDir } from "../../goldens-dir.ts";
import { change, copyStore, type GoldenImage, openStores } from "./golden-stores.ts";

const ALGORITHMS: Algorithm[] = ["sha256", "sha512"];
const folder = goldensDir("cstor");
const { stores, mutations, unpack } = openStores(folder);
const vectors = JSON.parse(readFileSync(join(folder, "tarsplit-vectors.json"), "utf8")) as {
  crc64: { data_hex: string; crc64_hex: string; b64: string }[];
  big_data_names: { key: string; file: string }[];
  vectors: {
    name: string;
    ndjson_b64: string;
    files: { path_b64: string; data_b64: string }[];
    tar_sha256: string;
    tar_size: number;
    expect: "ok" | "error";
    error?: string;
  }[];
};

/** Classes of section 15 of the changes, in file order: the text in the file is a hint only (section 18). */
const CLASSES =
  "checksum size size missing not-regular symlink symlink checksum no-tar-split format format layer-missing ok ok " +
  "layer-incomplete no-manifest manifest-digest config-digest no-config bad-index bad-index";

let work: string;
const roots = new Map<string, string[]>();
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "composefs-cstor-"));
  for (const [name, store] of stores) roots.set(name, unpack(store, join(work, "stores")));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

let count = 0;
async function newRepository(algorithm: Algorithm = "sha256"): Promise<Repository> {
  const path = join(work, `repository-${count++}`);
  await Repository.init(path, { algorithm, insecure: true });
  return Repository.open(path, { write: true, durability: "none" });
}

function fetch(
  repository: Repository,
  image: string,
  [root, ...additional]: readonly string[],
  localFetch: LocalFetch = "auto",
): Promise<PullResult> {
  return pull(repository, `containers-storage:${image}`, {
    tag: "t",
    formats: [1, 2],
    storage: { root, additional },
    localFetch,
  });
}

/** A path as text where it is that: Deno takes no other. */
function asText(path: Buffer): string | Buffer {
  const text = path.toString("utf8");
  return Buffer.from(text, "utf8").equals(path) ? text : path;
}

/** Skips a test on Deno when it is about names that are not UTF-8, which Deno refuses with a remedy. */
async function orNotOnDeno<T>(skip: (note: string) => void, outcome: () => Promise<T>): Promise<T> {
  try {
    return await outcome();
  } catch (error) {
    if (process.versions["deno"] === undefined || !(error instanceof ComposefsError)) throw error;
    expect(error).toMatchObject({ code: "unsupported", hint: "run the command on Node or Bun" });
    skip(`skipped: ${error.message}`);
    throw error;
  }
}

async function reasonOf(outcome: Promise<unknown>): Promise<{ reason: string | undefined; message: string }> {
  const error: unknown = await outcome.then(
    () => undefined,
    (e: unknown) => e,
  );
  if (error === undefined) return { reason: "ok", message: "" };
  if (!(error instanceof ComposefsError)) throw error;
  return { reason: error.reason, message: error.message };
}

describe("images", () => {
  for (const [name, store] of stores) {
    it(`${name} has images`, () => expect(store.images.length).toBeGreaterThan(0));
    for (const image of store.images) {
      for (const algorithm of ALGORITHMS) {
        it(`${image.names[0]} of ${name}, ${algorithm}`, async ({ skip }) => {
          await using repository = await newRepository(algorithm);
          const result = await orNotOnDeno(skip, () =>
            fetch(repository, image.names[0] as string, roots.get(name) as string[]),
          );
          expect(result.images.map(({ version, id }) => [`${algorithm}-v${version}`, id])).toEqual(
            ["v1", "v2"].map((version) => [`${algorithm}-${version}`, image.image_id[`${algorithm}-${version}`]]),
          );
          expect(result.configDigest).toBe(image.config_digest);
          const isDocker = image.manifest_media_type.includes("docker");
          expect(isDocker ? result.sourceManifestDigest : result.manifestDigest).toBe(
            `sha256:${image.manifest_sha256}`,
          );
          for (const layer of image.layers) await expectLayer(repository, layer);
          expect(auditRepository(repository.path).problems).toEqual([]);
          const again = await fetch(repository, image.id, roots.get(name) as string[]);
          expect(again.stats).toMatchObject({ importedLayers: 0, skippedLayers: image.layers.length });
          expect(again.verity).toBe(result.verity);
        });
      }
    }
  }

  async function expectLayer(repository: Repository, layer: GoldenImage["layers"][number]): Promise<void> {
    const id = repository.stream(`oci-layer-${layer.diff_id}`);
    if (id === undefined) throw new Error(`${layer.diff_id} is not linked`);
    const stream = await repository.openStream(id);
    const external = { count: 0, bytes: 0 };
    let inline = 0;
    for await (const chunk of stream.chunks()) {
      if (chunk.kind === "inline") inline += chunk.bytes.length;
      else {
        external.count++;
        external.bytes += statSync(repository.store.path(chunk.id)).size;
      }
    }
    expect({ external, inline }).toEqual({ external: layer.external, inline: layer.inline_bytes });
    expect([...stream.objectRefs].toSorted()).toEqual(layer.object_ids[repository.algorithm]);
  }

  it("give the same streams whether contents are linked, shared or copied", async ({ skip }) => {
    for (const [name, store] of stores) {
      for (const image of store.images) {
        const ids: (string | undefined)[][] = [];
        for (const mode of ["disabled", "auto", "zerocopy"] as const) {
          await using repository = await newRepository();
          await orNotOnDeno(skip, () => fetch(repository, image.names[0] as string, roots.get(name) as string[], mode));
          ids.push(image.layers.map(({ diff_id }) => repository.stream(`oci-layer-${diff_id}`)));
        }
        expect(ids[1]).toEqual(ids[0]);
        expect(ids[2]).toEqual(ids[0]);
      }
    }
  });
});

describe("checksums and names of documents", () => {
  it("are recorded", () => {
    expect(vectors.crc64.length).toBeGreaterThan(0);
    expect(vectors.big_data_names.length).toBeGreaterThan(0);
  });

  for (const { data_hex, crc64_hex, b64 } of vectors.crc64) {
    it(`CRC-64 of ${data_hex.slice(0, 20)}`, () => {
      const data = Buffer.from(data_hex, "hex");
      for (let cut = 0; cut <= Math.min(9, data.length); cut++) {
        const crc = new Crc64();
        crc.update(data.subarray(0, cut));
        crc.update(data.subarray(cut));
        expect(crc.hex).toBe(crc64_hex);
      }
      expect(Buffer.from(crc64_hex, "hex").toString("base64")).toBe(b64);
    });
  }

  for (const { key, file } of vectors.big_data_names) {
    it(`file of ${JSON.stringify(key)}`, () => {
      expect(bigDataFile(key)).toBe(file);
    });
  }
});

describe("recipes", () => {
  it("are recorded", () => expect(vectors.vectors.length).toBeGreaterThan(0));

  for (const vector of vectors.vectors) {
    const { name, ndjson_b64, files, tar_sha256, tar_size, error } = vector;
    const isText = files.every(({ path_b64 }) => typeof asText(Buffer.from(path_b64, "base64")) === "string");
    const noDeno = !isText && process.versions["deno"] !== undefined;
    const lay = () => {
      const place = join(work, `vector-${name}`);
      const diff = join(place, "diff");
      mkdirSync(diff, { recursive: true });
      for (const { path_b64, data_b64 } of files) {
        const path = Buffer.concat([Buffer.from(`${diff}/`), Buffer.from(path_b64, "base64")]);
        const parent = path.subarray(0, path.lastIndexOf("/"));
        mkdirSync(asText(parent), { recursive: true });
        writeFileSync(asText(path), Buffer.from(data_b64, "base64"));
      }
      const recipe = join(place, "recipe.gz");
      writeFileSync(recipe, gzipSync(Buffer.from(ndjson_b64, "base64")));
      const pieces = () => rebuildArchive(recipeLines(recipeText(recipe, tar_size), recipe), diff, { name: recipe });
      return { size: tar_size, pieces };
    };

    it.skipIf(noDeno)(`${name}${noDeno ? " (skipped: Deno cannot make files with such names)" : ""}`, async () => {
      const hash = createHash("sha256");
      const { pieces } = lay();
      const outcome = await reasonOf(
        (async () => {
          for await (const piece of pieces()) {
            if (piece instanceof Uint8Array) hash.update(piece);
            else for await (const bytes of piece.read()) hash.update(bytes);
          }
        })(),
      );
      const isRight = outcome.reason === "ok" && hash.digest("hex") === tar_sha256;
      if (vector.expect === "ok") expect([outcome, isRight]).toEqual([{ reason: "ok", message: "" }, true]);
      else if (error === "digest") expect([outcome.reason, isRight]).toEqual(["ok", false]);
      else expect(outcome.reason).toBe(error);
    });

    it.skipIf(noDeno)(`${name}, imported`, async () => {
      await using repository = await newRepository();
      await using pool = new ObjectPool(repository.store.options);
      const zeroCopy = new ZeroCopy(repository.store, "zerocopy");
      const diffId = `sha256:${tar_sha256}`;
      const imported = importUnpackedLayer(repository, lay(), { name: "the layer", diffId, pool, zeroCopy });
      if (vector.expect === "error") {
        expect((await reasonOf(imported)).reason).toBe(error);
        return;
      }
      const { streamId, size } = await imported;
      const hash = createHash("sha256");
      for await (const bytes of streamBytes(repository, streamId)) hash.update(bytes);
      expect([size, hash.digest("hex")]).toEqual([tar_size, tar_sha256]);
    });
  }
});

describe("changed stores", () => {
  it("are recorded", () => expect(mutations.length).toBe(CLASSES.split(" ").length));

  for (const [i, mutation] of mutations.entries()) {
    for (const mode of ["auto", "zerocopy"] as const) {
      it(`${mutation.name}, ${mode}`, async () => {
        const intact = join(work, "stores", mutation.root);
        const root = join(work, `changed-${i}-${mode}`);
        copyStore(intact, root);
        for (const operation of mutation.ops) change(root, operation);
        await using repository = await newRepository();
        const { reason, message } = await reasonOf(fetch(repository, mutation.image, [root], mode));
        expect(reason, message).toBe(CLASSES.split(" ")[i]);
        expect(reason === "ok").toBe(mutation.expect === "ok");
        if (mutation.expect === "error") {
          const nothing = { problems: [], temporary: [], tags: [], streams: [], images: [] };
          expect(auditRepository(repository.path)).toMatchObject(nothing);
        }
        await fetch(repository, mutation.image, [intact], mode);
        expect(auditRepository(repository.path).problems).toEqual([]);
        rmSync(root, { recursive: true });
      });
    }
  }
});
