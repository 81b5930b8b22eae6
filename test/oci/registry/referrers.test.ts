// What refers to an image (docs/spec/oci.md, sections 3.1 and 11): by the API, over pages, by the tag instead of it, and by the command.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";

import { contentDigest } from "../../../src/oci/digest.ts";
import { inspectImage } from "../../../src/oci/inspect.ts";
import { pull } from "../../../src/oci/pull.ts";
import { pullReferrers } from "../../../src/oci/pull-referrers.ts";
import { listTags } from "../../../src/oci/tags.ts";
import { Repository } from "../../../src/repository/repository.ts";
import { run } from "../../cli/program.ts";
import { writeLayout } from "../../fixtures/layout.ts";
import { TestRegistry, fail } from "../../fixtures/registry.ts";
import { tar } from "../../fixtures/tar.ts";

const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const INDEX = "application/vnd.oci.image.index.v1+json";
const FAST = { tlsVerify: false, retryUnit: 1 };

let work: string;
let subject: string;
let registry: TestRegistry;
let count = 0;

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "composefs-referrers-"));
  const entries = [{ path: "usr", type: "directory" as const }];
  ({ manifestDigest: subject } = writeLayout(join(work, "image"), "v1", [{ tar: tar(entries), compression: "gzip" }]));
  writeFileSync(join(work, "registries.conf"), "");
  process.env["CONTAINERS_REGISTRIES_CONF"] = join(work, "registries.conf");
});
afterAll(() => {
  delete process.env["CONTAINERS_REGISTRIES_CONF"];
  rmSync(work, { recursive: true, force: true });
});
beforeEach(async () => {
  registry = await TestRegistry.start();
  registry.load(join(work, "image"));
});
afterEach(() => registry[Symbol.asyncDispose]());

interface Described {
  mediaType: string;
  digest: string;
  size: number;
  artifactType?: string;
}

function put(bytes: Buffer, mediaType: string): Described {
  const digest = contentDigest(bytes);
  registry.blobs.set(digest, bytes);
  return { mediaType, digest, size: bytes.length };
}

function artifact(artifactType: string, of: string): Described {
  const config = put(Buffer.from("{}"), "application/vnd.oci.empty.v1+json");
  const layers = [put(Buffer.from(`about it: ${artifactType}`), "application/octet-stream")];
  const named = { mediaType: MANIFEST, digest: of, size: 1 };
  const document = { schemaVersion: 2, mediaType: MANIFEST, artifactType, config, layers, subject: named };
  return { ...put(Buffer.from(JSON.stringify(document)), MANIFEST), artifactType };
}

function indexOf(manifests: readonly Described[]): Buffer {
  return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests }));
}

/** Answers the API with one page for each list. */
function withApi(...pages: Described[][]): void {
  registry.misbehave = ({ url }, response) => {
    const [, digest, page = "0"] = /\/referrers\/([^?]+)(?:\?.*?page=(\d+))?/.exec(url) ?? [];
    if (digest === undefined) return false;
    response.setHeader("content-type", INDEX);
    const next = Number(page) + 1;
    if (next < pages.length) response.setHeader("link", `</v2/p/os/referrers/${digest}?page=${next}>; rel="next"`);
    response.end(indexOf(digest === subject ? (pages[Number(page)] ?? []) : []));
    return true;
  };
}

async function newRepository(): Promise<Repository> {
  const path = join(work, `repository-${count++}`);
  await Repository.init(path, { algorithm: "sha256", insecure: true });
  return Repository.open(path, { write: true, durability: "none" });
}

async function pulled(
  artifactType?: string,
): Promise<{ digests: string[]; listed: readonly string[]; warnings: string[] }> {
  await using repository = await newRepository();
  const reference = `docker://${registry.host}/p/os:v1`;
  await pull(repository, reference, { tag: "t", registry: FAST });
  const warnings: string[] = [];
  const results = await pullReferrers(repository, reference, subject, {
    artifactType,
    registry: FAST,
    onProgress: (event) => void (event.type === "warning" && warnings.push(event.message)),
  });
  expect(listTags(repository).map(({ name }) => name)).toEqual(["t"]);
  const { referrers } = await inspectImage(repository, "t");
  return { digests: results.map(({ manifestDigest }) => manifestDigest), listed: referrers, warnings };
}

test("come by the API, over all its pages, each once", async () => {
  const [a, b, c] = ["a/a", "b/b", "c/c"].map((type) => artifact(type, subject)) as [Described, Described, Described];
  withApi([a, b], [b], [c]);
  const { digests, listed, warnings } = await pulled();
  expect(digests).toEqual([a.digest, b.digest, c.digest]);
  expect(listed).toEqual([...digests].sort());
  expect(warnings).toEqual([]);
});

test("come by the tag where there is no API, and are none where there is neither", async () => {
  expect((await pulled()).digests).toEqual([]);
  const one = artifact("a/a", subject);
  registry.manifests.set(subject.replace(":", "-"), { bytes: indexOf([one]), type: INDEX });
  expect(await pulled()).toMatchObject({ digests: [one.digest], listed: [one.digest] });
});

test("are those of a type, whether or not the registry chooses", async () => {
  const [a, b] = ["a/a+x", "b/b"].map((type) => artifact(type, subject)) as [Described, Described];
  withApi([b, a]);
  expect((await pulled("a/a+x")).digests).toEqual([a.digest]);
  expect(registry.requests.map(({ url }) => url)).toContain(`/v2/p/os/referrers/${subject}?artifactType=a%2Fa%2Bx`);
});

test("are left out when they refer to something else", async () => {
  const liar = artifact("a/a", `sha256:${"1".repeat(64)}`);
  withApi([liar]);
  const { digests, listed, warnings } = await pulled();
  expect([digests, listed]).toEqual([[], []]);
  expect(warnings).toEqual([`${liar.digest} does not refer to ${subject}: left out`]);
});

test.each([
  ["pages without end", "limit"],
  ["a page", "invalid"],
  ["a fault", "io"],
  ["too many", "limit"],
])("a list that is %s is refused", async (kind, code) => {
  const many = Array.from({ length: 300 }, (_, index) => ({
    mediaType: MANIFEST,
    digest: contentDigest(Buffer.from(String(index))),
    size: 1,
  }));
  registry.misbehave = ({ url }, response) => {
    if (!url.includes("/referrers/")) return false;
    if (kind === "a fault") fail(response, 500, "UNKNOWN", "no");
    else if (kind === "a page") response.end("<html>");
    else {
      if (kind !== "too many") response.setHeader("link", '<http://h.example/?page=1>; rel="next"');
      response.end(indexOf(kind === "too many" ? many : []));
    }
    return true;
  };
  await expect(pulled()).rejects.toMatchObject({ code });
  expect(registry.requests.length).toBeLessThan(40);
});

test("the command pulls them after the image", async () => {
  const one = artifact("a/a", subject);
  withApi([one, artifact("b/b", subject)]);
  await using repository = await newRepository();
  const words = ["oci", "pull", "--repo", repository.path, "--tls-verify=false", "--referrers", "a/a"];
  const { status, stdout, stderr } = await run([...words, `docker://${registry.host}/p/os:v1`, "t"]);
  expect(status, stderr).toBe(0);
  expect(stdout.split("\n").filter((line) => line.startsWith("referrer"))).toEqual([`referrer ${one.digest}`]);
  const refused = await run([...words, `oci:${join(work, "image")}:v1`, "t2"]);
  expect(refused).toMatchObject({
    status: 2,
    stderr: expect.stringContaining("--referrers needs a registry, not oci:"),
  });
  await expect(pullReferrers(repository, `oci:${join(work, "image")}:v1`, subject)).rejects.toMatchObject({
    code: "unsupported",
  });
});
