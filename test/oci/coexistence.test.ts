// Many images in one repository (docs/spec/oci.md, sections 6.3 and 14): shared layers, configs and blobs never endanger
// each other, whatever comes first and whatever is removed (D8, D19, D20).

import { mkdtempSync, readdirSync, readFileSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync as gunzip, gzipSync } from "node:zlib";

import { afterAll, beforeAll, describe, expect, it } from "vitest";

import type { ObjectId } from "../../src/bytes/algorithm.ts";
import { ComposefsError } from "../../src/error.ts";
import { computeImageId } from "../../src/oci/compute-id.ts";
import { contentDigest } from "../../src/oci/digest.ts";
import { importSingleLayer } from "../../src/oci/import-layer.ts";
import { inspectImage } from "../../src/oci/inspect.ts";
import { layerInfo } from "../../src/oci/layer-info.ts";
import { listImages } from "../../src/oci/list.ts";
import { parsePlatform } from "../../src/oci/platform.ts";
import { pull } from "../../src/oci/pull.ts";
import { openImage } from "../../src/oci/stored-image.ts";
import { writeStreamAround } from "../../src/oci/streams.ts";
import { tagImage, untagImage } from "../../src/oci/tags.ts";
import { Repository } from "../../src/repository/repository.ts";
import { writeLayout } from "../fixtures/layout.ts";
import { auditRepository } from "../fixtures/repository-audit.ts";
import { goldensDir } from "../goldens-dir.ts";
import { openOciGoldens, type GoldenImage } from "./golden-layouts.ts";

const { goldenImages, unpackLayout } = openOciGoldens(goldensDir("oci"));

const platform = parsePlatform("linux/amd64");
let work: string;
const layouts = new Map<string, string>();
let count = 0;

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "composefs-coexist-"));
  for (const { layout } of goldenImages) if (!layouts.has(layout)) layouts.set(layout, unpackLayout(layout, work));
}, 60_000);
afterAll(() => rmSync(work, { recursive: true, force: true }), 60_000);

async function newRepository(erofsVersion: 0 | 1 | 2 = 1): Promise<Repository> {
  const path = join(work, `repository-${count++}`);
  await Repository.init(path, { algorithm: "sha256", insecure: true, erofsVersion });
  return Repository.open(path, { write: true, durability: "none" });
}

const referenceOf = (image: GoldenImage) => `oci:${layouts.get(image.layout)}:${image.tag}`;
const tagOf = (image: GoldenImage) => `${image.name}:${image.tag}`;

/** Everything that the tag keeps alive, following ids only: what a collector that knows nothing of names would keep. */
async function reachable(repository: Repository, tag: string): Promise<Set<ObjectId>> {
  const file = tag.replaceAll("%", "%25").replaceAll("/", "%2F");
  const manifest = repository.ref("streams", `oci/${file}`);
  if (manifest === undefined) throw new Error(`no tag ${tag}`);
  const byId = new Map<ObjectId, string>();
  for (const name of readdirSync(join(repository.path, "streams"))) {
    const id = name === "refs" ? undefined : repository.stream(name);
    if (id !== undefined) byId.set(id, name);
  }
  const live = new Set<ObjectId>();
  const walk = async (name: string): Promise<void> => {
    const id = repository.stream(name);
    if (id === undefined || live.has(id)) return;
    live.add(id);
    const stream = await repository.openStream(id);
    for (const object of stream.objectRefs) live.add(object);
    for (const target of stream.namedRefs.values()) {
      const linked = byId.get(target);
      if (linked === undefined) live.add(target);
      else await walk(linked);
    }
  };
  await walk(manifest);
  return live;
}

/** Removes every object that no tag reaches, by the rules of the reference: unlinked streams are not followed. */
async function collectGarbage(repository: Repository): Promise<void> {
  const live = new Set<ObjectId>();
  for (const { name } of await listImages(repository)) {
    for (const id of await reachable(repository, name)) live.add(id);
  }
  const objects = join(repository.path, "objects");
  for (const first of readdirSync(objects)) {
    for (const rest of readdirSync(join(objects, first))) {
      if (!live.has(first + rest)) unlinkSync(join(objects, first, rest));
    }
  }
  for (const category of ["streams", "images"]) {
    for (const name of readdirSync(join(repository.path, category))) {
      const id = name === "refs" ? undefined : category === "images" ? name : repository.stream(name);
      if (name !== "refs" && (id === undefined || !live.has(id))) unlinkSync(join(repository.path, category, name));
    }
  }
}

/** An image is whole: it opens, its tree builds, its image is there under the recorded id. */
async function checkWhole(repository: Repository, image: GoldenImage): Promise<void> {
  const expected = image.image_ids?.sha256["v1"];
  const { layers, imageRefs } = await openImage(repository, tagOf(image));
  for (const { id } of layers) {
    const stream = await repository.openStream(id);
    for (const object of stream.objectRefs) expect(repository.hasObject(object)).toBe(true);
  }
  if (expected === undefined) return;
  expect(imageRefs.get("composefs.image.v1")).toBe(expected);
  expect(repository.hasObject(expected)).toBe(true);
  expect(await computeImageId(repository, tagOf(image))).toBe(expected);
}

const orders: [string, GoldenImage[]][] = [
  ["as recorded", goldenImages],
  ["the other way round", goldenImages.toReversed()],
  ["artifacts first", goldenImages.toSorted((a, b) => Number(a.is_container) - Number(b.is_container))],
];

describe("all recorded images in one repository", () => {
  it.each(orders)(
    "%s: all stay whole, also after each one is removed and garbage is collected",
    async (_order, images) => {
      await using repository = await newRepository();
      for (const image of images) await pull(repository, referenceOf(image), { tag: tagOf(image), platform });
      for (const image of images) await checkWhole(repository, image);
      for (const image of images) await pull(repository, referenceOf(image), { tag: tagOf(image), platform });
      let rest = images;
      for (const removed of images) {
        await untagImage(repository, tagOf(removed));
        await collectGarbage(repository);
        rest = rest.filter((image) => image !== removed);
        for (const image of rest) await checkWhole(repository, image);
      }
      expect(await listImages(repository)).toEqual([]);
    },
  );
});

/** Two manifests with one config: the same layer, compressed differently. */
function twins(): { plain: string; gzip: string; diffId: string } {
  const source = layouts.get("01-basic.tar") ?? "";
  const index = JSON.parse(readFileSync(join(source, "index.json"), "utf8")) as { manifests: { digest: string }[] };
  const blob = (digest = "") => readFileSync(join(source, "blobs", digest.replace(":", "/")));
  const manifest = JSON.parse(blob(index.manifests[0]?.digest).toString()) as { layers: { digest: string }[] };
  const packed = blob(manifest.layers[0]?.digest);
  const tar = gunzip(packed);
  const plain = writeLayout(join(work, `plain-${count++}`), "t", [{ tar, compression: "none" }]);
  const gzip = writeLayout(join(work, `gzip-${count++}`), "t", [{ tar, compression: "gzip" }]);
  expect(plain.configDigest).toBe(gzip.configDigest);
  expect(plain.manifestDigest).not.toBe(gzip.manifestDigest);
  return { plain: plain.reference, gzip: gzip.reference, diffId: plain.diffIds[0] ?? "" };
}

describe("a config that two manifests share", () => {
  it("keeps the first image when the second is pulled in another format, removed and collected (D19)", async () => {
    await using repository = await newRepository();
    const { plain, gzip } = twins();
    const first = await pull(repository, plain, { tag: "first" });
    const before = (await openImage(repository, "first")).config.id;
    const second = await pull(repository, gzip, { tag: "second", formats: [2] });
    const { config, manifest } = await openImage(repository, "first");
    expect(config.id).not.toBe(before);
    expect(manifest?.refs.get(`config:${first.configDigest}`)).toBe(config.id);
    await untagImage(repository, "second");
    await collectGarbage(repository);
    const { imageRefs } = await openImage(repository, "first");
    // D20: the image of the first format is still named, and the second one's came along.
    expect(imageRefs.get("composefs.image.v1")).toBe(first.images[0]?.id);
    expect(imageRefs.get("composefs.image")).toBe(second.images[0]?.id);
    expect(await computeImageId(repository, "first")).toBe(first.images[0]?.id);
  });

  it("keeps image refs that are not known here, and other layers that it names", async () => {
    await using repository = await newRepository();
    const { plain } = twins();
    const { configDigest, images } = await pull(repository, plain, { tag: "t" });
    const { config } = await openImage(repository, "t");
    const image = images[0]?.id ?? "";
    const refs = new Map([...config.refs, ["composefs.image.v9.future", image], ["composefs.image.boot.v1", image]]);
    const changed = await writeStreamAround(repository, config.body, config.bytes.length, "ociconfg", refs);
    repository.linkStream(`oci-config-${configDigest}`, changed);
    await pull(repository, plain, { tag: "t", formats: [2] });
    const { imageRefs } = await openImage(repository, "t");
    expect([...imageRefs.keys()].toSorted()).toEqual([
      "composefs.image",
      "composefs.image.boot.v1",
      "composefs.image.v1",
      "composefs.image.v9.future",
    ]);
    expect((await inspectImage(repository, "t")).composefs_boot_erofs).toBe(image);
  });
});

describe("one name for layers and blobs", () => {
  const artifact = () => goldenImages.find(({ tag }) => tag === "dup") as GoldenImage;
  const container = () => goldenImages.find(({ name }) => name === "15-tar-oddities") as GoldenImage;
  const empty = `oci-layer-${contentDigest(new Uint8Array(0))}`;

  it("a container after an artifact gets a layer, and the artifact's streams follow", async () => {
    await using repository = await newRepository();
    await pull(repository, referenceOf(artifact()), { tag: tagOf(artifact()), platform });
    expect((await repository.openStream(empty)).contentType).toBe("oci_blob");
    await pull(repository, referenceOf(container()), { tag: tagOf(container()), platform });
    expect((await repository.openStream(empty)).contentType).toBe("ocilayer");
    const { config, manifest } = await openImage(repository, tagOf(artifact()));
    const digest = empty.slice("oci-layer-".length);
    expect(config.refs.get(digest)).toBe(repository.stream(empty));
    expect(manifest?.refs.get(digest)).toBe(repository.stream(empty));
    await checkWhole(repository, container());
  });

  it("an artifact after a container takes the layer as it is", async () => {
    await using repository = await newRepository();
    await pull(repository, referenceOf(container()), { tag: tagOf(container()), platform });
    const before = repository.stream(empty);
    await pull(repository, referenceOf(artifact()), { tag: tagOf(artifact()), platform });
    expect(repository.stream(empty)).toBe(before);
  });
});

describe("a pull repairs", () => {
  const image = goldenImages.find(({ name }) => name === "01-basic") as GoldenImage;
  const open = (repository: Repository) => openImage(repository, tagOf(image));
  const layerId = async (repository: Repository) => (await open(repository)).layers[0]?.id ?? "";
  const remove = (repository: Repository, id: ObjectId | undefined) => rmSync(repository.objectPath(id ?? ""));

  const damages: [string, (repository: Repository) => Promise<void>][] = [
    [
      "a missing object of a layer",
      async (repository) => remove(repository, (await repository.openStream(await layerId(repository))).objectRefs[1]),
    ],
    ["a missing layer stream", async (repository) => remove(repository, await layerId(repository))],
    [
      "a layer stream with another content",
      async (repository) => writeFileSync(repository.objectPath(await layerId(repository)), "not a stream"),
    ],
    ["a missing config stream", async (repository) => remove(repository, (await open(repository)).config.id)],
    ["a missing config", async (repository) => remove(repository, (await open(repository)).config.body)],
    ["a missing manifest stream", async (repository) => remove(repository, (await open(repository)).manifest?.id)],
    ["a missing manifest", async (repository) => remove(repository, (await open(repository)).manifest?.body)],
    [
      "a missing image",
      async (repository) => remove(repository, (await open(repository)).imageRefs.get("composefs.image.v1")),
    ],
    [
      "lost links of layer, config, manifest and image",
      async (repository) => {
        for (const category of ["streams", "images"]) {
          for (const name of readdirSync(join(repository.path, category))) {
            if (name !== "refs") unlinkSync(join(repository.path, category, name));
          }
        }
      },
    ],
  ];

  it.each(damages)("%s", async (_what, damage) => {
    await using repository = await newRepository();
    await pull(repository, referenceOf(image), { tag: tagOf(image), platform });
    await damage(repository);
    // Another process, which has not seen the objects whole.
    await using other = await Repository.open(repository.path, { write: true, durability: "none" });
    await pull(other, referenceOf(image), { tag: tagOf(image), platform });
    await checkWhole(other, image);
    expect(auditRepository(other.path)).toMatchObject({ problems: [], temporary: [] });
    const { stats } = await pull(other, referenceOf(image), { tag: tagOf(image), platform });
    expect(stats.importedLayers).toBe(0);
  });
});

describe("pulls at once", () => {
  it("of all recorded images, into one repository by several handles, keep each other's images", async () => {
    await using one = await newRepository();
    await using two = await Repository.open(one.path, { write: true, durability: "none" });
    await Promise.all(
      goldenImages.map((image, i) => pull(i % 2 ? one : two, referenceOf(image), { tag: tagOf(image), platform })),
    );
    await collectGarbage(one);
    for (const image of goldenImages) await checkWhole(one, image);
    expect(auditRepository(one.path).temporary).toEqual([]);
  });

  it("of one config in two formats keep both images", async () => {
    const { plain, gzip } = twins();
    for (let round = 0; round < 5; round++) {
      await using repository = await newRepository();
      const [first, second] = await Promise.all([
        pull(repository, plain, { tag: "first", formats: [1] }),
        pull(repository, gzip, { tag: "second", formats: [2] }),
      ]);
      await collectGarbage(repository);
      for (const tag of ["first", "second"]) {
        const { imageRefs } = await openImage(repository, tag);
        expect([imageRefs.get("composefs.image.v1"), imageRefs.get("composefs.image")]).toEqual([
          first?.images[0]?.id,
          second?.images[0]?.id,
        ]);
      }
    }
  });
});

describe("formats", () => {
  it("a repository of format 0 keeps its image under the key of format 1", async () => {
    await using repository = await newRepository(0);
    const { plain } = twins();
    const { images } = await pull(repository, plain, { tag: "t" });
    expect(images.map(({ version }) => version)).toEqual([0]);
    const { imageRefs } = await openImage(repository, "t");
    expect([...imageRefs]).toEqual([["composefs.image.v1", images[0]?.id]]);
    expect(images[0]?.id).toBe(await computeImageId(repository, "t", { version: 0 }));
    // Asked for format 1 the image of format 0 is not taken for it.
    const other = await pull(repository, plain, { tag: "t", formats: [1] });
    expect(other.images[0]?.id).toBe(await computeImageId(repository, "t", { version: 1 }));
  });

  it("several formats give several images", async () => {
    await using repository = await newRepository();
    const { plain } = twins();
    const { images } = await pull(repository, plain, { tag: "t", formats: [1, 2] });
    expect(images.map(({ version }) => version)).toEqual([1, 2]);
    expect([...(await openImage(repository, "t")).imageRefs.keys()]).toEqual(["composefs.image", "composefs.image.v1"]);
  });
});

describe("referrers", () => {
  it("a manifest with a subject is listed with it", async () => {
    await using repository = await newRepository();
    const { plain } = twins();
    const { manifestDigest } = await pull(repository, plain, { tag: "image" });
    const folder = join(work, `artifact-${count++}`);
    const made = writeLayout(folder, "sig", []);
    const path = (digest: string) => join(folder, "blobs", digest.replace(":", "/"));
    const bytes = Buffer.from(
      readFileSync(path(made.manifestDigest), "utf8")
        .replace("image.config.v1", "empty.v1")
        .replace(
          /}$/,
          `,"subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"${manifestDigest}","size":1}}`,
        ),
    );
    writeFileSync(path(contentDigest(bytes)), bytes);
    const index = readFileSync(join(folder, "index.json"), "utf8");
    writeFileSync(
      join(folder, "index.json"),
      index.replace(made.manifestDigest, contentDigest(bytes)).replace(/"size":\d+/, `"size":${bytes.length}`),
    );
    const artifact = await pull(repository, made.reference, { tag: "signature" });
    expect(artifact.isContainer).toBe(false);
    expect((await inspectImage(repository, "image")).referrers).toEqual([artifact.manifestDigest]);
    expect((await listImages(repository)).map((row) => [row.name, row.referrer_count])).toEqual([
      ["image", 1],
      ["signature", 0],
    ]);
  });
});

describe("tags", () => {
  it("are moved, set by digest in either spelling, refused for what is not there, and removed", async () => {
    await using repository = await newRepository();
    const { plain, gzip } = twins();
    const one = await pull(repository, plain, { tag: "os:latest" });
    const two = await pull(repository, gzip, { tag: "os:latest" });
    expect((await openImage(repository, "os:latest")).manifest?.digest).toBe(two.manifestDigest);
    await tagImage(repository, one.manifestDigest, "a/b");
    await tagImage(repository, `@${two.manifestDigest}`, "c%2F");
    expect((await listImages(repository)).map(({ name }) => name)).toEqual(["a/b", "c%2F", "os:latest"]);
    expect((await openImage(repository, `a/b@${one.manifestDigest}`)).manifest?.digest).toBe(one.manifestDigest);
    const missing = `sha256:${"0".repeat(64)}`;
    await expect(tagImage(repository, missing, "x")).rejects.toMatchObject({ code: "not-found", digest: missing });
    await expect(tagImage(repository, "latest", "x")).rejects.toMatchObject({ code: "invalid" });
    await expect(openImage(repository, "os:latets")).rejects.toMatchObject({ hint: "did you mean os:latest?" });
    await expect(tagImage(repository, one.manifestDigest, "@x")).rejects.toMatchObject({ code: "invalid" });
    await expect(untagImage(repository, "os:latets")).rejects.toMatchObject({
      code: "not-found",
      hint: "did you mean os:latest?",
    });
    await expect(openImage(repository, "nothing-like-it")).rejects.toMatchObject({
      code: "not-found",
      hint: expect.stringContaining("a/b"),
    });
    await expect(openImage(repository, missing)).rejects.toMatchObject({ code: "not-found", digest: missing });
    await untagImage(repository, "a/b");
    expect((await listImages(repository)).map(({ name }) => name)).toEqual(["c%2F", "os:latest"]);
  });

  it("in subdirectories, which others make, are found and removed under the name they are listed by", async () => {
    await using repository = await newRepository();
    const { manifestDigest } = await pull(repository, twins().plain, { tag: "plain" });
    repository.setRef("streams", "oci/sub/x", `oci-manifest-${manifestDigest}`);
    repository.setRef(
      "streams",
      "oci/not-an-image",
      `oci-layer-${(await openImage(repository, "plain")).layers[0]?.digest}`,
    );
    expect((await listImages(repository)).map(({ name }) => name)).toEqual(["plain", "sub/x"]);
    expect((await openImage(repository, "sub/x")).manifest?.digest).toBe(manifestDigest);
    await expect(openImage(repository, "not-an-image")).rejects.toMatchObject({ code: "not-found" });
    await untagImage(repository, "sub/x");
    expect((await listImages(repository)).map(({ name }) => name)).toEqual(["plain"]);
  });

  it("that dangle are listed with the reason", async () => {
    await using repository = await newRepository();
    const { manifestDigest } = await pull(repository, twins().plain, { tag: "broken" });
    unlinkSync(join(repository.path, "streams", `oci-manifest-${manifestDigest}`));
    const [row] = await listImages(repository);
    expect(row).toMatchObject({
      name: "broken",
      manifest_digest: manifestDigest,
      error: expect.stringContaining("missing"),
    });
    await expect(openImage(repository, "broken")).rejects.toMatchObject({ code: "corrupt" });
  });
});

describe("single layers", () => {
  it("are verified, named, found again, and shared with a later pull", async () => {
    await using repository = await newRepository();
    const { plain, diffId } = twins();
    const folder = plain.slice("oci:".length, -":t".length);
    const tar = readFileSync(join(folder, "blobs", diffId.replace(":", "/")));
    const chunks = (bytes: Uint8Array) => () =>
      (async function* () {
        yield bytes;
      })();
    const wrong = `sha256:${"1".repeat(64)}`;
    await expect(importSingleLayer(repository, wrong, chunks(tar))).rejects.toMatchObject({ code: "digest-mismatch" });
    expect(repository.stream(`oci-layer-${wrong}`)).toBeUndefined();
    const imported = await importSingleLayer(repository, diffId, chunks(gzipSync(tar)), { name: "base/one" });
    expect(imported).toEqual({ id: repository.stream(`oci-layer-${diffId}`), existed: false });
    expect(repository.ref("streams", "base/one")).toBe(`oci-layer-${diffId}`);
    const again = await importSingleLayer(repository, diffId, () => {
      throw new Error("the layer is there: nothing must be read");
    });
    expect(again).toEqual({ id: imported.id, existed: true });
    expect((await layerInfo(repository, diffId)).size).toBe(tar.length);
    await expect(layerInfo(repository, wrong)).rejects.toMatchObject({ code: "not-found", digest: wrong });
    const { stats } = await pull(repository, plain, { tag: "t" });
    expect(stats).toMatchObject({ importedLayers: 0, skippedLayers: 1 });
  });

  it("with a digest that is none are refused", async () => {
    await using repository = await newRepository();
    const empty = () => (async function* () {})();
    for (const digest of ["latest", "sha256:abc", "md5:abc", "../x"]) {
      const error: unknown = await importSingleLayer(repository, digest, empty).catch((e: unknown) => e);
      expect(error).toBeInstanceOf(ComposefsError);
    }
  });
});
