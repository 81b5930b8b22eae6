// Archives as sources (docs/spec/oci.md, sections 2.3 and 14): the recorded images come out of them as out of layouts; damaged ones
// are refused with an error that names them, and never hang or crash.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { ComposefsError } from "../../../src/error.ts";
import { parsePlatform } from "../../../src/oci/platform.ts";
import { pull } from "../../../src/oci/pull.ts";
import type { PullOptions } from "../../../src/oci/pull-options.ts";
import { openSource } from "../../../src/oci/source/open.ts";
import { TarIndex } from "../../../src/oci/source/tar-index.ts";
import { Repository } from "../../../src/repository/repository.ts";
import { writeLayout } from "../../fixtures/layout.ts";
import { auditRepository } from "../../fixtures/repository-audit.ts";
import { seededRandom } from "../../fixtures/random.ts";
import { tar, type TarEntry } from "../../fixtures/tar.ts";
import { goldensDir } from "../../goldens-dir.ts";
import { openOciGoldens } from "../golden-layouts.ts";

const goldens = goldensDir("oci");
const { goldenImages } = openOciGoldens(goldens);
const platform = parsePlatform("linux/amd64");

let work: string;
let count = 0;
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "composefs-archives-"));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

async function newRepository(): Promise<Repository> {
  const path = join(work, `repository-${count++}`);
  await Repository.init(path, { algorithm: "sha256", insecure: true });
  return Repository.open(path, { write: true, durability: "none" });
}

function put(bytes: Uint8Array, name = "archive.tar"): string {
  const path = join(work, `${count++}-${name}`);
  writeFileSync(path, bytes);
  return path;
}

async function refusal(reference: string, options: PullOptions = {}): Promise<ComposefsError> {
  await using repository = await newRepository();
  const error: unknown = await pull(repository, reference, { tag: "t", platform, ...options }).catch((e: unknown) => e);
  if (!(error instanceof ComposefsError)) throw new Error(`not refused properly: ${String(error)}`);
  expect(auditRepository(repository.path)).toMatchObject({ problems: [], tags: [], streams: [], images: [] });
  return error;
}

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

const layerTar = (text: string) =>
  tar([
    { path: "usr", type: "directory" },
    { path: "usr/file", content: Buffer.from(text.repeat(100)) },
  ]);

interface SavedOptions {
  names?: string[] | null;
  architecture?: string;
  layers?: Uint8Array[];
}

/** An archive as older versions of docker save write it: layers in folders, one of them a link to the other's. */
function saved(images: SavedOptions[], change: (entries: TarEntry[]) => TarEntry[] = (e) => e): Buffer {
  const entries: TarEntry[] = [];
  const list = images.map(({ names = null, architecture = "amd64", layers = [layerTar("one")] }, i) => {
    const config = Buffer.from(
      JSON.stringify({
        architecture,
        os: "linux",
        rootfs: { type: "layers", diff_ids: layers.map((layer) => `sha256:${sha256(layer)}`) },
      }),
    );
    const configName = `${sha256(config)}.json`;
    entries.push({ path: configName, content: config });
    const paths = layers.map((layer, n) => {
      const path = `${i}-${n}/layer.tar`;
      entries.push({ path: `${sha256(layer)}-${i}.tar`, content: layer });
      entries.push({ path, type: "symlink", target: `../${sha256(layer)}-${i}.tar` });
      return path;
    });
    return { Config: configName, RepoTags: names, Layers: paths };
  });
  entries.push({ path: "manifest.json", content: Buffer.from(JSON.stringify(list)) });
  return tar(change(entries));
}

describe("oci-archive", () => {
  it.each(goldenImages.map((image) => ({ name: `${image.name}:${image.tag}`, image })))(
    "$name is the recorded image",
    async ({ image }) => {
      await using repository = await newRepository();
      const reference = `oci-archive:${join(goldens, image.layout)}:${image.tag}`;
      const result = await pull(repository, reference, { tag: "t", platform });
      expect(result.manifestDigest).toBe(image.manifest_digest);
      expect(result.images.map(({ id }) => id)).toEqual(
        image.image_ids === undefined ? [] : [image.image_ids.sha256["v1"]],
      );
    },
  );

  it("may be compressed; the temporary file is gone", async () => {
    const before = readdirSync(tmpdir()).filter((name) => name.startsWith("composefs-archive-"));
    const image = goldenImages[0];
    const bytes = readFileSync(join(goldens, image?.layout ?? ""));
    await using repository = await newRepository();
    const result = await pull(repository, `oci-archive:${put(gzipSync(bytes), "a.tar.gz")}`, { tag: "t", platform });
    expect(result.manifestDigest).toBe(image?.manifest_digest);
    expect(readdirSync(tmpdir()).filter((name) => name.startsWith("composefs-archive-"))).toEqual(before);
  });

  it("has its entries in any order, below ./ and behind hard links", async () => {
    const layout = join(work, `layout-${count++}`);
    const written = writeLayout(layout, "v1", [{ tar: layerTar("x"), compression: "gzip" }]);
    const path = join(work, "ordered.tar");
    execFileSync("tar", ["-C", layout, "-cf", path, "./oci-layout", "./index.json", "./blobs", "./index.json"]);
    const source = await openSource(`oci-archive:${path}:v1`);
    await using _ = source;
    expect((await source.resolve()).digest).toBe(written.manifestDigest);
  });

  it("refuses what is none, with what to do", async () => {
    expect(await refusal(`oci-archive:${work}/nowhere.tar`)).toMatchObject({ code: "not-found" });
    expect(await refusal(`oci-archive:${put(Buffer.alloc(2000, 7))}`)).toMatchObject({
      code: "invalid",
      message: expect.stringContaining("no tar archive"),
    });
    expect(await refusal(`oci-archive:${put(saved([{}]))}`)).toMatchObject({
      code: "invalid",
      hint: expect.stringContaining("docker-archive:"),
    });
    expect(await refusal(`oci-archive:${work}`)).toMatchObject({
      code: "invalid",
      hint: expect.stringContaining("oci:"),
    });
    const index = Buffer.from('{"schemaVersion":2,"manifests":[]}');
    expect(await refusal(`oci-archive:${put(tar([{ path: "index.json", content: index }]))}`)).toMatchObject({
      code: "not-found",
      message: expect.stringContaining("empty"),
    });
    const twice = tar([
      { path: "index.json", content: index },
      { path: "./index.json", content: index },
    ]);
    expect((await refusal(`oci-archive:${put(twice)}`)).message).toContain("twice");
    const archive = join(goldens, "09-multiarch-flat.tar");
    expect((await refusal(`oci-archive:${archive}:v3`)).hint).toMatch(/did you mean v1, v2\?/);
  });

  it("refuses an archive that is cut anywhere", async () => {
    const path = put(readFileSync(join(goldens, "01-basic.tar")));
    // Behind the last member come only zero blocks.
    await using index = await TarIndex.open(path);
    const entries = ["index.json", "oci-layout"].map((name) => index.find(name));
    const last = Math.min(...entries.map((entry) => (entry?.offset ?? 0) + (entry?.size ?? 0)));
    const random = seededRandom(5);
    for (let i = 0; i < 25; i++) {
      truncateSync(path, 0);
      writeFileSync(path, readFileSync(join(goldens, "01-basic.tar")).subarray(0, Math.floor(random() * last)));
      expect(["invalid", "not-found", "digest-mismatch"]).toContain((await refusal(`oci-archive:${path}`)).code);
    }
  });
});

describe("docker-archive", () => {
  it("gives the same image under every way to name it", async () => {
    const path = put(
      saved([{ names: ["docker.io/library/os:v1", "h.example/os:v2"], layers: [layerTar("a"), layerTar("b")] }]),
    );
    const digests = new Set<string>();
    for (const suffix of ["", ":os:v1", ":docker.io/library/os:v1", ":library/os:v1", ":h.example/os:v2", ":@0"]) {
      await using repository = await newRepository();
      const { manifestDigest, images, stats } = await pull(repository, `docker-archive:${path}${suffix}`, {
        tag: "t",
        platform,
      });
      digests.add(`${manifestDigest} ${images[0]?.id}`);
      expect(stats.importedLayers).toBe(2);
    }
    expect(digests.size).toBe(1);
  });

  it("has layers that are compressed", async () => {
    const layer = layerTar("packed");
    const plain = put(saved([{ layers: [layer] }]));
    const packed = put(
      saved([{ layers: [layer] }], (entries) =>
        entries.map((entry) => (entry.content === layer ? { ...entry, content: gzipSync(layer) } : entry)),
      ),
    );
    await using one = await openSource(`docker-archive:${plain}`);
    await using other = await openSource(`docker-archive:${packed}`);
    expect((await other.resolve({ platform })).digest).toBe((await one.resolve({ platform })).digest);
    await using repository = await newRepository();
    await pull(repository, `docker-archive:${packed}`, { tag: "t", platform });
  });

  it("with several images needs a name", async () => {
    const images = [{ names: ["os:v1"] }, { names: ["os:v2"], layers: [layerTar("two")] }];
    const path = put(saved(images));
    expect(await refusal(`docker-archive:${path}`)).toMatchObject({
      code: "invalid",
      message: expect.stringContaining("os:v1, os:v2"),
    });
    expect((await refusal(`docker-archive:${path}:os:v3`)).hint).toContain("os:v1");
    expect((await refusal(`docker-archive:${path}:@2`)).hint).toContain("@0 to @1");
    expect((await refusal(`docker-archive:${path}:OS:v1`)).code).toBe("invalid");
    await using repository = await newRepository();
    await pull(repository, `docker-archive:${path}:os:v2`, { tag: "t", platform });
  });

  it("of another platform is refused", async () => {
    const path = put(saved([{ architecture: "s390x" }]));
    expect(await refusal(`docker-archive:${path}`)).toMatchObject({
      code: "not-found",
      message: expect.stringContaining("linux/s390x"),
    });
  });

  const changed: [string, (entries: TarEntry[]) => TarEntry[], string, RegExp][] = [
    [
      "a layer missing",
      (e) => e.filter(({ content }) => (content?.length ?? 0) < 1000 || content === undefined),
      "not-found",
      /layer/,
    ],
    ["the config missing", (e) => e.slice(1), "not-found", /\.json/],
    [
      "another layer than the config says",
      (e) => e.map((entry) => (entry.path.endsWith("-0.tar") ? { ...entry, content: layerTar("other") } : entry)),
      "digest-mismatch",
      /sha256:/,
    ],
    [
      "a layer that links to itself",
      (e) => e.map((entry) => (entry.type === "symlink" ? { ...entry, target: "layer.tar" } : entry)),
      "not-found",
      /layer/,
    ],
    [
      "a layer that links out of the archive",
      (e) => e.map((entry) => (entry.type === "symlink" ? { ...entry, target: "../../etc/passwd" } : entry)),
      "not-found",
      /layer/,
    ],
    [
      "a list that is no list",
      (e) => [...e.slice(0, -1), { path: "manifest.json", content: Buffer.from("{}") }],
      "invalid",
      /manifest\.json/,
    ],
    [
      "an empty list",
      (e) => [...e.slice(0, -1), { path: "manifest.json", content: Buffer.from("[]") }],
      "not-found",
      /empty/,
    ],
    ["no list", (e) => e.slice(0, -1), "invalid", /manifest\.json/],
  ];
  it.each(changed)("with %s is refused", async (_, change, code, message) => {
    const error = await refusal(`docker-archive:${put(saved([{}], change))}`);
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
  });

  it("with bits flipped is refused or is the same image", async () => {
    const bytes = saved([{ names: ["os:v1"] }]);
    await using good = await newRepository();
    const expected = (await pull(good, `docker-archive:${put(bytes)}`, { tag: "t", platform })).images;
    const random = seededRandom(9);
    for (let i = 0; i < 60; i++) {
      const copy = Buffer.from(bytes);
      const at = Math.floor(random() * copy.length);
      copy[at] = (copy[at] ?? 0) ^ (1 << Math.floor(random() * 8));
      await using repository = await newRepository();
      try {
        const { images } = await pull(repository, `docker-archive:${put(copy)}`, { tag: "t", platform });
        // A flip in a config's other bytes gives another image with the same tree.
        expect(images).toEqual(expected);
      } catch (error) {
        expect(error).toBeInstanceOf(ComposefsError);
        expect((error as ComposefsError).code).not.toBe("internal");
      }
    }
  });
});

describe("hostile archives", () => {
  it("that unpack without end are refused", async () => {
    const member = gzipSync(Buffer.alloc(4 << 20));
    const path = put(Buffer.concat([member, member]), "bomb.tar.gz");
    await expect(TarIndex.open(path, undefined, 1 << 20)).rejects.toMatchObject({
      code: "limit",
      hint: expect.stringContaining("decompress it yourself"),
    });
  });

  it("with more entries than an image has are refused", async () => {
    const header = tar([{ path: "x", content: new Uint8Array() }]).subarray(0, 512);
    const path = put(Buffer.concat(Array.from({ length: 200_001 }, () => header)));
    expect(await refusal(`oci-archive:${path}`)).toMatchObject({ code: "limit" });
    rmSync(path);
  });
});
