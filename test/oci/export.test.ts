// Images out of a repository: what is exported is what was imported, byte for byte.

import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterEach, beforeEach, expect, test } from "vitest";
import { exportImage, parseExportTarget } from "../../src/oci/export.ts";
import type { Manifest } from "../../src/oci/manifest.ts";
import { openImage } from "../../src/oci/stored-image.ts";
import { pull } from "../../src/oci/pull.ts";
import { Repository } from "../../src/repository/repository.ts";
import { writeLayout } from "../fixtures/layout.ts";
import { tar } from "../fixtures/tar.ts";
import { contentDigest } from "../../src/oci/digest.ts";

let work: string;
const at = (path: string) => join(work, path);
beforeEach(() => {
  work = mkdtempSync(join(tmpdir(), "composefs-export-"));
});
afterEach(() => rmSync(work, { recursive: true, force: true }));

const first = tar([
  { path: "usr/", type: "directory" },
  { path: "usr/file", content: Buffer.alloc(100_000, "file") },
  { path: "usr/small", content: Buffer.from("small") },
]);
const second = tar([{ path: "usr/second", content: Buffer.from("second") }]);

type Compression = "none" | "gzip" | "zstd";

async function repositoryOf(...compressions: Compression[]): Promise<Repository> {
  const layers = compressions.map((compression, index) => ({ tar: index === 0 ? first : second, compression }));
  writeLayout(at("in"), "v1", layers);
  await Repository.init(at("repository"), { insecure: true });
  const repository = await Repository.open(at("repository"), { write: true, durability: "none" });
  await pull(repository, `oci:${at("in")}:v1`, { tag: "v1" });
  return repository;
}

const blob = (layout: string, digest: string) => readFileSync(at(`${layout}/blobs/${digest.replace(":", "/")}`));
const manifestIn = (layout: string, digest: string) =>
  JSON.parse(blob(layout, digest).toString("utf8")) as Manifest & { layers: { mediaType: string }[] };

test("an image whose layers came as plain archives is exported as it came", async () => {
  await using repository = await repositoryOf("none", "none");
  const { manifest } = await openImage(repository, "v1");
  const exported = await exportImage(repository, "v1", `oci:${at("out")}:v1`);
  expect(exported.manifest).toBe(manifest?.digest);
  for (const digest of [exported.manifest, exported.config, ...exported.layers])
    expect(blob("out", digest)).toEqual(blob("in", digest));
  // Once more, over what is there.
  expect(await exportImage(repository, `@${manifest?.digest}`, `oci:${at("out")}:v1`)).toEqual(exported);
  expect(readdirSync(at("out/blobs/sha256")).sort()).toEqual(readdirSync(at("in/blobs/sha256")).sort());
});

test("compressed layers keep their archives and the config, whatever the compression", async () => {
  await using repository = await repositoryOf("gzip", "zstd");
  const { manifest, config } = await openImage(repository, "v1");
  const zipped = await exportImage(repository, "v1", `oci:${at("out")}`);
  expect(zipped.config).toBe(config.digest);
  expect(blob("out", zipped.config)).toEqual(Buffer.from(config.bytes));
  const { layers, ...rest } = manifestIn("out", zipped.manifest);
  expect(layers.map(({ mediaType }) => mediaType)).toEqual(
    Array.from({ length: 2 }, () => "application/vnd.oci.image.layer.v1.tar+gzip"),
  );
  expect(gunzipSync(blob("out", zipped.layers[0] ?? ""))).toEqual(first);
  expect(gunzipSync(blob("out", zipped.layers[1] ?? ""))).toEqual(second);
  const { layers: _, ...old } = JSON.parse(Buffer.from(manifest?.bytes ?? "").toString("utf8")) as { layers: unknown };
  expect(rest).toEqual(old);
  const plain = await exportImage(repository, "v1", `oci:${at("plain")}`, { uncompressed: true });
  expect(blob("plain", plain.layers[0] ?? "")).toEqual(first);
  expect(manifestIn("plain", plain.manifest).layers.map(({ size }) => size)).toEqual([first.length, second.length]);
  expect(readdirSync(at("out/blobs/sha256")).filter((name) => name.startsWith("."))).toEqual([]);
});

test("what is exported can be pulled again and is the same image", async () => {
  await using repository = await repositoryOf("gzip", "none");
  const { imageRefs } = await openImage(repository, "v1");
  await exportImage(repository, "v1", `oci-archive:${at("os.tar")}:v2`);
  expect(readdirSync(work).sort()).toEqual(["in", "os.tar", "repository"]);
  const names = execFileSync("tar", ["-tf", at("os.tar")], { encoding: "utf8" }).split("\n");
  expect(names).toEqual(expect.arrayContaining(["blobs/", "blobs/sha256/", "index.json", "oci-layout"]));
  await Repository.init(at("other"), { insecure: true });
  await using other = await Repository.open(at("other"), { write: true, durability: "none" });
  await pull(other, `oci-archive:${at("os.tar")}:v2`, { tag: "v2" });
  const again = await openImage(other, "v2");
  expect(again.imageRefs).toEqual(imageRefs);
});

test("annotations of layers stay but for those of the compression; what is not known in the manifest stays", async () => {
  writeLayout(at("in"), "v1", [{ tar: first, compression: "gzip" }]);
  const index = JSON.parse(readFileSync(at("in/index.json"), "utf8")) as {
    manifests: { digest: string; size: number }[];
  };
  const entry = index.manifests[0] as { digest: string; size: number };
  const document = manifestIn("in", entry.digest) as unknown as { layers: object[] };
  const annotations = { kept: "1", "io.github.containers.zstd-chunked.manifest-position": "1:2:3:4" };
  document.layers = document.layers.map((layer) => ({ ...layer, annotations, more: 1 }));
  const bytes = Buffer.from(JSON.stringify({ ...document, unknown: { a: 1 } }));
  entry.digest = contentDigest(bytes);
  entry.size = bytes.length;
  writeFileSync(at(`in/blobs/${entry.digest.replace(":", "/")}`), bytes);
  writeFileSync(at("in/index.json"), JSON.stringify(index));
  await Repository.init(at("repository"), { insecure: true });
  await using repository = await Repository.open(at("repository"), { write: true, durability: "none" });
  await pull(repository, `oci:${at("in")}:v1`, { tag: "v1" });
  const exported = await exportImage(repository, "v1", `oci:${at("out")}`);
  expect(manifestIn("out", exported.manifest)).toMatchObject({
    unknown: { a: 1 },
    layers: [{ annotations: { kept: "1" } }],
  });
  expect(manifestIn("out", exported.manifest).layers[0]?.annotations).toEqual({ kept: "1" });
});

test("a layer that was damaged is not exported", async () => {
  await using repository = await repositoryOf("gzip");
  const { layers } = await openImage(repository, "v1");
  const stream = await repository.openStream(layers[0]?.id ?? "");
  const [body = ""] = stream.objectRefs;
  appendFileSync(at(`repository/objects/${body.slice(0, 2)}/${body.slice(2)}`), "x");
  await expect(exportImage(repository, "v1", `oci:${at("out")}`)).rejects.toMatchObject({ code: "corrupt" });
  expect(existsSync(at("out/index.json"))).toBe(false);
  expect(readdirSync(at("out/blobs/sha256"))).toEqual([]);
});

test("an export can be stopped", async () => {
  await using repository = await repositoryOf("gzip");
  const options = { signal: AbortSignal.abort() };
  await expect(exportImage(repository, "v1", `oci:${at("out")}`, options)).rejects.toMatchObject({ code: "aborted" });
  await expect(exportImage(repository, "v1", `oci-archive:${at("a.tar")}`, options)).rejects.toMatchObject({
    code: "aborted",
  });
  expect(readdirSync(work).sort()).toEqual(["in", "out", "repository"]);
});

test("targets that cannot be written to say what to do instead", async () => {
  expect(parseExportTarget("oci:/a/b:c")).toEqual({ transport: "oci", path: "/a/b", tag: "c" });
  expect(parseExportTarget("oci-archive:a.tar")).toEqual({ transport: "oci-archive", path: "a.tar", tag: undefined });
  expect(() => parseExportTarget("containers-storage:localhost/bootc")).toThrow(
    expect.objectContaining({
      hint: expect.stringContaining("skopeo copy oci-archive:FILE containers-storage:localhost/bootc"),
    }),
  );
  for (const target of ["", "oci:", "x", "dir:/a", "/a"]) expect(() => parseExportTarget(target)).toThrow("exported");
  await using repository = await repositoryOf("none");
  mkdirSync(at("full"));
  writeFileSync(at("full/x"), "");
  await expect(exportImage(repository, "v1", `oci:${at("full")}`)).rejects.toMatchObject({ code: "exists" });
  await expect(exportImage(repository, "v2", `oci:${at("out")}`)).rejects.toMatchObject({ code: "not-found" });
});
