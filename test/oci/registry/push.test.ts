// Pushes to a registry (docs/spec/oci.md, section 9): layers byte for byte, what is there already stays, broken uploads go on where they
// broke, the manifest comes last, and faults are named as those of a pull are.

import { mkdtempSync, readdirSync, rmSync, unlinkSync, writeFileSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";

import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { ComposefsError } from "../../../src/error.ts";
import { copyImage } from "../../../src/oci/copy.ts";
import { exportImage, type ExportOptions } from "../../../src/oci/export.ts";
import { parsePlatform } from "../../../src/oci/platform.ts";
import { pull } from "../../../src/oci/pull.ts";
import { RegistryPush } from "../../../src/oci/registry/push.ts";
import type { RegistryOptions } from "../../../src/oci/registry/requests.ts";
import { parseRegistryName } from "../../../src/oci/reference.ts";
import { Repository } from "../../../src/repository/repository.ts";
import { collectGarbage } from "../../../src/repository/gc/collect.ts";
import { randomBytes, seededRandom } from "../../fixtures/random.ts";
import { fail, TestRegistry } from "../../fixtures/registry.ts";
import { auditRepository } from "../../fixtures/repository-audit.ts";
import { tar } from "../../fixtures/tar.ts";
import { goldensDir } from "../../goldens-dir.ts";
import { openOciGoldens } from "../golden-layouts.ts";
import { sampleImage, sampleLayer, sha256 } from "../source/conformance/sample.ts";
import { TRANSPORTS } from "../source/conformance/transports.ts";

const { goldenImages, unpackLayout } = openOciGoldens(goldensDir("oci"));
const platform = parsePlatform("linux/amd64");
const FAST: RegistryOptions = { tlsVerify: false, retryUnit: 1, timeouts: { head: 2000, idle: 1000 } };

// Larger than what goes in one request.
const large = sampleLayer(
  tar([
    { path: "usr", type: "directory" },
    { path: "usr/large", content: randomBytes(seededRandom(8), 3 << 20) },
  ]),
);
const small = sampleLayer(tar([{ path: "usr/small", content: Buffer.from("small") }]));
const image = sampleImage([large, small]);

let work: string;
let count = 0;
let source: Repository;
let imageId: string | undefined;
let keeping: Repository;

async function newRepository(): Promise<Repository> {
  const path = join(work, `repository-${count++}`);
  await Repository.init(path, { algorithm: "sha256", insecure: true });
  return Repository.open(path, { write: true, durability: "none" });
}

const savedHome = process.env["HOME"];
beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), "composefs-push-test-"));
  // Nobody's credentials and rules.
  process.env["HOME"] = work;
  source = await newRepository();
  keeping = await newRepository();
  const layout = join(work, "layout");
  await using presented = await TRANSPORTS[0]?.present([image], layout);
  const { reference = "" } = presented ?? {};
  imageId = (await pull(source, reference, { tag: "os:v1", platform })).images[0]?.id;
  await pull(keeping, reference, { tag: "os:v1", platform, keepCompressed: true });
});
afterAll(async () => {
  await source?.[Symbol.asyncDispose]();
  await keeping?.[Symbol.asyncDispose]();
  if (savedHome === undefined) delete process.env["HOME"];
  else process.env["HOME"] = savedHome;
  rmSync(work, { recursive: true, force: true });
});

const push = (registry: TestRegistry, options: ExportOptions & { from?: Repository; name?: string } = {}) => {
  const { from = source, name = "project/os:v1", ...rest } = options;
  return exportImage(from, "os:v1", `docker://${registry.host}/${name}`, { registry: FAST, ...rest });
};

async function refusal(registry: TestRegistry, options: Parameters<typeof push>[1] = {}): Promise<ComposefsError> {
  const error: unknown = await push(registry, options).catch((e: unknown) => e);
  if (!(error instanceof ComposefsError)) throw new Error(`not refused properly: ${String(error)}`, { cause: error });
  expect(registry.manifests.size).toBe(0);
  return error;
}

async function pulledId(registry: TestRegistry, repository?: Repository): Promise<string | undefined> {
  await using own = await newRepository();
  const result = await pull(repository ?? own, `docker://${registry.host}/project/os:v1`, {
    tag: "t",
    platform,
    registry: FAST,
  });
  return result.images[0]?.id;
}

const requested = (registry: TestRegistry, pattern: RegExp) =>
  registry.requests.map(({ method, url }) => `${method} ${url}`).filter((line) => pattern.test(line));

describe("a push", () => {
  it("brings the image, layers byte for byte", async () => {
    await using registry = await TestRegistry.start();
    const pushed = await push(registry);
    const { bytes, type } = registry.manifests.get("v1") ?? {};
    expect(type).toBe("application/vnd.oci.image.manifest.v1+json");
    expect(sha256(bytes ?? Buffer.alloc(0))).toBe(pushed.manifest);
    const layers = pushed.layers.map((digest) => gunzipSync(registry.blobs.get(digest) ?? Buffer.alloc(0)));
    expect(layers.map(sha256)).toEqual([sha256(large.tar), sha256(small.tar)]);
    expect(registry.blobs.get(pushed.config)).toEqual(image.config);
    expect(await pulledId(registry)).toBe(imageId);
  });

  it("sends the manifest last, and nothing twice", async () => {
    await using registry = await TestRegistry.start();
    await push(registry);
    expect(requested(registry, /^PUT/).at(-1)).toBe("PUT /v2/project/os/manifests/v1");
    registry.requests.length = 0;
    await push(registry, { name: "project/os:v2" });
    expect(requested(registry, /^(?!HEAD)/)).toEqual(["GET /v2/", "PUT /v2/project/os/manifests/v2"]);
  });

  it("keeps the manifest of an image whose blobs were kept, or came plain", async () => {
    await using registry = await TestRegistry.start();
    expect((await push(registry, { from: keeping })).manifest).toBe(sha256(image.manifest));
    expect(registry.manifests.get("v1")?.bytes).toEqual(image.manifest);
    expect((await push(registry, { from: keeping, uncompressed: true })).manifest).not.toBe(sha256(image.manifest));
    await using plain = await newRepository();
    const asPlain = sampleImage(
      [large, small].map((layer) => sampleLayer(layer.tar, "application/vnd.oci.image.layer.v1.tar")),
    );
    await using presented = await TRANSPORTS[0]?.present([asPlain], join(work, `plain-${count++}`));
    await pull(plain, presented?.reference ?? "", { tag: "os:v1", platform });
    expect((await push(registry, { from: plain })).manifest).toBe(sha256(asPlain.manifest));
  });

  it("goes on where an upload broke", async () => {
    await using registry = await TestRegistry.start();
    registry.cutUploadAfter = 1_500_000;
    await push(registry, { from: keeping });
    const patches = registry.requests.filter(({ method }) => method === "PATCH");
    expect(patches.map(({ headers }) => headers["content-range"])).toEqual([`1500000-${large.blob.length - 1}`]);
    expect(requested(registry, /^GET .*uploads/)).toHaveLength(1);
    expect(registry.blobs.get(sha256(large.blob))).toEqual(large.blob);
  });

  it("starts an upload again that the registry has forgotten", async () => {
    await using registry = await TestRegistry.start();
    registry.cutUploadAfter = 1_500_000;
    registry.misbehave = ({ method, url }, response) => {
      if (method !== "GET" || !url.includes("/uploads/")) return false;
      registry.uploads.clear();
      fail(response, 404, "BLOB_UPLOAD_UNKNOWN", "unknown");
      return true;
    };
    await push(registry, { from: keeping });
    expect(registry.blobs.get(sha256(large.blob))).toEqual(large.blob);
    expect(requested(registry, /^POST/)).toHaveLength(4);
  });

  it.each([429, 500, 503])("tries again after %i", async (status) => {
    await using registry = await TestRegistry.start();
    const failed = new Set<string>();
    registry.misbehave = ({ method, url }, response) => {
      const key = `${method} ${url.replace(/uploads\/.*/, "uploads")}`;
      if (failed.has(key)) return false;
      failed.add(key);
      fail(response, status, "UNAVAILABLE", "not now");
      return true;
    };
    expect((await push(registry, { from: keeping })).manifest).toBe(sha256(image.manifest));
    expect(await pulledId(registry)).toBe(imageId);
  });

  it("asks for the right to push, and shows credentials to nobody else", async () => {
    await using registry = await TestRegistry.start();
    await using elsewhere = await TestRegistry.start();
    const scopes: string[] = [];
    registry.misbehave = ({ method, url, authorization }, response) => {
      if (url.startsWith("/token")) {
        const wanted = new URL(url, "http://h").searchParams.getAll("scope");
        scopes.push(...wanted);
        response.end(JSON.stringify({ token: wanted.includes("repository:project/os:pull,push") ? "good" : "bad" }));
        return true;
      }
      if (authorization === "Bearer good") {
        if (method !== "POST") return false;
        // The content goes to another host.
        elsewhere.uploads.set("77", Buffer.alloc(0));
        response.writeHead(202, { location: `http://${elsewhere.host}/v2/x/blobs/uploads/77` }).end();
        return true;
      }
      const scope = method === "GET" ? "" : ',scope="repository:project/os:pull,push"';
      response.setHeader("www-authenticate", `Bearer realm="http://${registry.host}/token",service="s"${scope}`);
      fail(response, 401, "UNAUTHORIZED", "authentication required");
      return true;
    };
    // The other host has the blobs then, the registry's manifest check must know them.
    const known = elsewhere.blobs;
    known.set = function set(digest, bytes) {
      registry.blobs.set(digest, bytes);
      return Map.prototype.set.call(this, digest, bytes) as typeof known;
    };
    const credentials = { username: "ann", password: "secret" };
    await push(registry, { registry: { ...FAST, credentials } });
    expect(new Set(scopes)).toEqual(new Set(["repository:project/os:pull,push"]));
    expect(elsewhere.requests.length).toBeGreaterThan(2);
    expect(elsewhere.requests.filter(({ authorization }) => authorization !== undefined)).toEqual([]);
  });

  it("is refused without the right to, with what helps", async () => {
    await using registry = await TestRegistry.start();
    registry.misbehave = ({ method }, response) => {
      if (method !== "POST") return false;
      fail(response, 403, "DENIED", "requested access to the resource is denied");
      return true;
    };
    expect(await refusal(registry)).toMatchObject({
      code: "permission",
      message: expect.stringMatching(/pushing the blob sha256:.* answers 403 \(DENIED: requested access/),
      hint: expect.stringContaining("log in"),
    });
  });

  it("does not believe a registry that got something else", async () => {
    await using registry = await TestRegistry.start();
    registry.misbehave = ({ method, url }, response) => {
      if (method !== "PUT" || !url.includes("/manifests/")) return false;
      response.writeHead(201, { "docker-content-digest": `sha256:${"0".repeat(64)}` }).end();
      return true;
    };
    expect(await refusal(registry)).toMatchObject({
      code: "digest-mismatch",
      message: expect.stringContaining("calls it sha256:0000"),
    });
  });

  it("to a digest goes only where it is that image", async () => {
    await using registry = await TestRegistry.start();
    const name = `project/os@${sha256(image.manifest)}`;
    expect((await push(registry, { from: keeping, name })).manifest).toBe(sha256(image.manifest));
    registry.manifests.clear();
    expect(await refusal(registry, { name })).toMatchObject({ code: "digest-mismatch", hint: /keep-compressed/ });
  });

  it("stops when it is told to, and lets the registry forget", async () => {
    await using registry = await TestRegistry.start();
    const control = new AbortController();
    const error = await refusal(registry, {
      from: keeping,
      signal: control.signal,
      onProgress: (event) => {
        if (event.type === "advance") control.abort();
      },
    });
    expect(error.code).toBe("aborted");
    expect(registry.uploads.size).toBe(0);
    expect(requested(registry, /^DELETE/)).toHaveLength(1);
  });

  it("of a damaged layer publishes nothing", async () => {
    await using registry = await TestRegistry.start();
    await using damaged = await newRepository();
    await copyImage(keeping, damaged, "os:v1");
    const path = largestObject(damaged.path);
    const bytes = readFileSync(path);
    bytes[1_000_000] = (bytes[1_000_000] ?? 0) ^ 1;
    unlinkSync(path);
    writeFileSync(path, bytes);
    expect(["corrupt", "digest-mismatch"]).toContain((await refusal(registry, { from: damaged })).code);
  });

  it("sends each blob as its content is, or fails", async () => {
    await using registry = await TestRegistry.start();
    const target = new RegistryPush(parseRegistryName(`${registry.host}/p/x:v1`), FAST);
    const put = (size: number, bytes: Buffer) =>
      target.put({ digest: sha256(large.blob), size }, () => [bytes]).catch((error: unknown) => error);
    const wrong = Buffer.from(large.blob);
    wrong[5] = (wrong[5] ?? 0) ^ 1;
    for (const [size, bytes] of [
      [large.blob.length, wrong],
      [large.blob.length, large.blob.subarray(0, 2_000_000)],
      [2_000_000, large.blob],
    ] as const) {
      expect(await put(size, bytes)).toMatchObject({ code: "digest-mismatch" });
    }
    expect(registry.blobs.size).toBe(0);
    target.close();
  });

  it("reports what it sends", async () => {
    await using registry = await TestRegistry.start();
    const seen = new Map<string, number>();
    await push(registry, {
      from: keeping,
      onProgress: (event) => {
        if (event.type === "advance") seen.set(event.id, event.done);
      },
    });
    expect(seen.get(`push ${sha256(large.blob)}`)).toBe(large.blob.length);
  });
});

describe("kept blobs", () => {
  it.each(goldenImages.map((golden) => ({ name: `${golden.name}:${golden.tag}`, golden })))(
    "bring $name back with its manifest",
    async ({ golden }) => {
      const layout = unpackLayout(golden.layout, join(work, `golden-${count++}`));
      await using repository = await newRepository();
      const first = await pull(repository, `oci:${layout}:${golden.tag}`, { tag: "t", platform, keepCompressed: true });
      expect(first.images[0]?.id).toBe(golden.image_ids?.sha256["v1"]);
      await collectGarbage(repository);
      const out = join(work, `out-${count++}`);
      const exported = await exportImage(repository, "t", `oci:${out}:v1`);
      expect(exported.manifest).toBe(golden.manifest_digest);
      await using twin = await newRepository();
      const again = await pull(twin, `oci:${out}:v1`, { tag: "t", platform });
      expect([again.manifestDigest, again.images]).toEqual([first.manifestDigest, first.images]);
    },
  );

  it("stay as long as the image, and go with it", async () => {
    await using repository = await newRepository();
    await copyImage(keeping, repository, "os:v1");
    const blobs = () => readdirSync(join(repository.path, "streams")).filter((name) => name.startsWith("oci-blob-"));
    await collectGarbage(repository);
    expect(blobs()).toHaveLength(2);
    expect(auditRepository(repository.path).problems).toEqual([]);
    const { untagImage } = await import("../../../src/oci/tags.ts");
    await untagImage(repository, "os:v1");
    await collectGarbage(repository);
    expect(blobs()).toEqual([]);
    expect(auditRepository(repository.path).objects).toBe(0);
  });

  it("are fetched for an image that is there already, and not twice", async () => {
    await using repository = await newRepository();
    await using registry = await TestRegistry.start();
    await push(registry, { from: keeping });
    const reference = `docker://${registry.host}/project/os:v1`;
    const options = { tag: "t", platform, registry: FAST };
    await pull(repository, reference, options);
    const kept = await pull(repository, reference, { ...options, keepCompressed: true });
    expect(kept.stats.importedLayers).toBe(0);
    registry.requests.length = 0;
    const again = await pull(repository, reference, { ...options, keepCompressed: true });
    expect(again.verity).toBe(kept.verity);
    expect(requested(registry, /blobs/)).toEqual([]);
    // A pull that does not ask for them leaves them.
    expect((await pull(repository, reference, options)).verity).toBe(kept.verity);
    expect((await exportImage(repository, "t", `oci:${work}/kept-${count++}`)).manifest).toBe(sha256(image.manifest));
  });
});

function largestObject(repository: string): string {
  let best = { path: "", size: 0 };
  for (const entry of readdirSync(join(repository, "objects"), { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const { length } = readFileSync(path);
    if (length > best.size) best = { path, size: length };
  }
  return best.path;
}
