// A registry that means harm or is broken (docs/spec/oci.md, sections 3 and 14.3), beyond the single faults of pull.test.ts: cuts at
// random places, documents without end, as many layers as a manifest can name, content under wrong types, layers elsewhere.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";

import { ComposefsError } from "../../../src/error.ts";
import { pull } from "../../../src/oci/pull.ts";
import { contentDigest } from "../../../src/oci/digest.ts";
import type { RegistryOptions } from "../../../src/oci/registry/requests.ts";
import { Repository } from "../../../src/repository/repository.ts";
import { writeLayout } from "../../fixtures/layout.ts";
import { randomBytes, seededRandom } from "../../fixtures/random.ts";
import { TestRegistry, type Misbehaviour } from "../../fixtures/registry.ts";
import { auditRepository } from "../../fixtures/repository-audit.ts";
import { tar } from "../../fixtures/tar.ts";

const FAST: RegistryOptions = { tlsVerify: false, retryUnit: 1, timeouts: { head: 5000, idle: 5000 } };
const CUTS = Number(process.env["COMPOSEFS_REGISTRY_CUTS"] ?? 20);
const SEED = Number(process.env["COMPOSEFS_SEED"] ?? 20261201);

let work: string;
let image: string;
let manifestDigest: string;

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "composefs-hostile-"));
  image = join(work, "image");
  const content = randomBytes(seededRandom(5), 900_000);
  const entries = [
    { path: "usr", type: "directory" as const },
    { path: "usr/file", content },
  ];
  ({ manifestDigest } = writeLayout(image, "v1", [{ tar: tar(entries), compression: "gzip" }]));
  writeFileSync(join(work, "registries.conf"), "");
  process.env["CONTAINERS_REGISTRIES_CONF"] = join(work, "registries.conf");
});
afterAll(() => {
  delete process.env["CONTAINERS_REGISTRIES_CONF"];
  rmSync(work, { recursive: true, force: true });
});

async function pulled(registry: TestRegistry, name = "v1"): Promise<string | ComposefsError> {
  const path = mkdtempSync(join(work, "repository-"));
  await Repository.init(path, { algorithm: "sha256", insecure: true });
  await using repository = await Repository.open(path, { write: true, durability: "none" });
  try {
    return (await pull(repository, `docker://${registry.host}/p/os:${name}`, { tag: "t", registry: FAST }))
      .manifestDigest;
  } catch (error) {
    if (!(error instanceof ComposefsError)) throw error;
    expect(auditRepository(path)).toMatchObject({ problems: [], tags: [], streams: [], images: [] });
    return error;
  }
}

async function serving(): Promise<TestRegistry> {
  const registry = await TestRegistry.start();
  registry.load(image);
  return registry;
}

/** Serves documents that are made up, under their digests and one as a tag. */
function put(registry: TestRegistry, document: object, type: string, tag?: string): { digest: string; size: number } {
  const bytes = Buffer.from(JSON.stringify(document));
  const digest = contentDigest(bytes);
  registry.blobs.set(digest, bytes);
  if (tag !== undefined) registry.manifests.set(tag, { bytes, type });
  return { digest, size: bytes.length };
}

test(`bodies that are cut at random places come whole (${CUTS} pulls, seed ${SEED})`, async () => {
  const random = seededRandom(SEED);
  const below = (limit: number) => Math.floor(random() * limit);
  for (let round = 0; round < CUTS; round++) {
    await using registry = await serving();
    let cuts = below(4);
    const cut: Misbehaviour = ({ url, range }, response) => {
      const bytes = registry.blobs.get(url.split("/").at(-1) ?? "");
      if (bytes === undefined || cuts-- <= 0) return false;
      const from = Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? 0);
      const rest = bytes.subarray(from);
      const headers = { "content-length": rest.length };
      if (range === undefined) response.writeHead(200, headers);
      else
        response.writeHead(206, { ...headers, "content-range": `bytes ${from}-${bytes.length - 1}/${bytes.length}` });
      response.write(rest.subarray(0, below(rest.length)), () => setTimeout(() => response.destroy(), 5));
      return true;
    };
    registry.misbehave = cut;
    expect(await pulled(registry), `round ${round}`).toBe(manifestDigest);
  }
});

test("a manifest without end is read no further than a manifest can be long", async () => {
  await using registry = await serving();
  let sent = 0;
  registry.misbehave = ({ url }, response) => {
    if (!url.includes("/manifests/")) return false;
    const go = (): void => {
      while (!response.destroyed && sent < 1 << 30) {
        sent += 65_536;
        if (!response.write(Buffer.alloc(65_536, 32))) break;
      }
      if (!response.destroyed) response.once("drain", go);
    };
    go();
    return true;
  };
  expect(await pulled(registry)).toMatchObject({ code: "limit", message: expect.stringContaining("127.0.0.1") });
  // What the sockets hold is sent, too.
  expect(sent).toBeLessThan(64 << 20);
});

test("as many layers as a manifest can name end in a refusal, soon", async () => {
  await using registry = await serving();
  const config = put(registry, { architecture: "amd64", os: "linux", rootfs: { type: "layers", diff_ids: [] } }, "");
  const layer = { mediaType: "application/vnd.oci.image.layer.v1.tar", digest: `sha256:${"1".repeat(64)}`, size: 1 };
  const type = "application/vnd.oci.image.manifest.v1+json";
  const document = {
    schemaVersion: 2,
    mediaType: type,
    config: { ...config, mediaType: "application/vnd.oci.image.config.v1+json" },
    layers: Array.from({ length: 25_000 }, () => layer),
  };
  put(registry, document, type, "many");
  const before = performance.now();
  expect(await pulled(registry, "many")).toBeInstanceOf(ComposefsError);
  expect(performance.now() - before).toBeLessThan(10_000);
  expect(registry.requests.length).toBeLessThan(10);
  put(registry, { ...document, layers: Array.from({ length: 1_000_000 }, () => ({})) }, type, "million");
  expect(await pulled(registry, "million")).toBeInstanceOf(ComposefsError);
});

test("an index that leads back to itself, or ever deeper, is refused", async () => {
  await using registry = await serving();
  const type = "application/vnd.oci.image.index.v1+json";
  const entry = { mediaType: type, digest: `sha256:${"2".repeat(64)}`, size: 100 };
  let inner = put(registry, { schemaVersion: 2, mediaType: type, manifests: [entry] }, type);
  for (let depth = 0; depth < 8; depth++)
    inner = put(
      registry,
      { schemaVersion: 2, mediaType: type, manifests: [{ ...inner, mediaType: type }] },
      type,
      "deep",
    );
  expect(await pulled(registry, "deep")).toMatchObject({ code: "limit", message: expect.stringContaining("nested") });
  expect(registry.requests.length).toBeLessThan(10);
});

test.each([
  ["a manifest called a layer", "application/vnd.oci.image.layer.v1.tar+gzip"],
  ["a manifest called a page", "text/html; charset=utf-8"],
  ["a manifest without a type", ""],
])("%s is taken for what it says itself", async (_, type) => {
  await using registry = await serving();
  const { bytes } = registry.manifests.get("v1") as { bytes: Buffer };
  registry.manifests.set("v1", { bytes, type });
  expect(await pulled(registry)).toBe(manifestDigest);
});

test("a config that is a layer, and a layer that is a config, are refused", async () => {
  await using registry = await serving();
  const { bytes } = registry.manifests.get("v1") as { bytes: Buffer };
  const manifest = JSON.parse(bytes.toString()) as { config: { digest: string }; layers: { digest: string }[] };
  const [layer] = manifest.layers;
  const type = "application/vnd.oci.image.manifest.v1+json";
  const swapped = {
    ...manifest,
    config: { ...manifest.config, digest: layer?.digest, size: registry.blobs.get(layer?.digest ?? "")?.length },
  };
  put(registry, swapped, type, "swapped");
  expect(await pulled(registry, "swapped")).toMatchObject({ code: expect.stringMatching(/invalid|limit/) });
});

test("a layer that the registry does not serve comes from where its descriptor says, without credentials", async () => {
  await using registry = await serving();
  await using elsewhere = await serving();
  const { bytes } = registry.manifests.get("v1") as { bytes: Buffer };
  const manifest = JSON.parse(bytes.toString()) as { layers: { digest: string }[] };
  const [layer] = manifest.layers as [{ digest: string }];
  const file = readFileSync(join(image, "blobs/sha256", layer.digest.slice(7)));
  const type = "application/vnd.oci.image.manifest.v1+json";
  const urls = ["ftp://x.test/a", "no url", `http://${elsewhere.host}/layers/a`];
  const foreign = { ...layer, mediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", urls };
  put(registry, { ...manifest, layers: [foreign] }, type, "foreign");
  registry.blobs.delete(layer.digest);
  elsewhere.misbehave = ({ url }, response) => {
    if (url !== "/layers/a") return false;
    response.end(file);
    return true;
  };
  expect(await pulled(registry, "foreign")).toBe(contentDigest(registry.manifests.get("foreign")?.bytes as Buffer));
  expect(elsewhere.requests.map(({ url, authorization }) => [url, authorization])).toEqual([["/layers/a", undefined]]);
  elsewhere.misbehave = (_, response) => {
    response.end(Buffer.alloc(file.length, 1));
    return true;
  };
  expect(await pulled(registry, "foreign")).toMatchObject({ message: expect.stringContaining(layer.digest) });
});
