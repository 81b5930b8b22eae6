// `pullAll`: every image of an index, out of a layout and from a registry, and by the command.

import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";

import { hostPlatform } from "../../src/oci/platform.ts";
import { platformTag, pullAll } from "../../src/oci/pull-all.ts";
import { listTags } from "../../src/oci/tags.ts";
import { Repository } from "../../src/repository/repository.ts";
import { run } from "../cli/program.ts";
import { writeLayout } from "../fixtures/layout.ts";
import { TestRegistry } from "../fixtures/registry.ts";
import { tar } from "../fixtures/tar.ts";

const host = hostPlatform();
const other = host.architecture === "s390x" ? "riscv64" : "s390x";
const PLATFORMS = [
  { os: "linux", architecture: "arm", variant: "v7" },
  { os: "linux", architecture: other },
  { os: "linux", architecture: host.architecture },
];

let work: string;
let layout: string;
const digests: string[] = [];
let count = 0;

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "composefs-all-"));
  layout = join(work, "index");
  const manifests = PLATFORMS.map((platform, index) => {
    const single = join(work, `single-${index}`);
    const { manifestDigest } = writeLayout(single, "x", [layerOf("common"), layerOf(platform.architecture)]);
    cpSync(join(single, "blobs"), join(layout, "blobs"), { recursive: true });
    digests.push(manifestDigest);
    const bytes = readFileSync(join(single, "blobs/sha256", manifestDigest.slice(7)));
    return { ...described(bytes, "application/vnd.oci.image.manifest.v1+json"), platform };
  });
  const attestation = { ...manifests[0], platform: { os: "unknown", architecture: "unknown" } };
  const index = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.index.v1+json",
      manifests: [...manifests, attestation],
    }),
  );
  const entry = described(index, "application/vnd.oci.image.index.v1+json");
  writeFileSync(join(layout, "blobs/sha256", entry.digest.slice(7)), index);
  writeFileSync(join(layout, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
  const annotations = { "org.opencontainers.image.ref.name": "v1" };
  writeFileSync(
    join(layout, "index.json"),
    JSON.stringify({ schemaVersion: 2, manifests: [{ ...entry, annotations }] }),
  );
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

function layerOf(name: string): Parameters<typeof writeLayout>[2][number] {
  const entries = [
    { path: "usr", type: "directory" as const },
    { path: `usr/${name}`, content: Buffer.from(name.repeat(100)) },
  ];
  return { tar: tar(entries), compression: "gzip" };
}

function described(bytes: Uint8Array, mediaType: string): { mediaType: string; digest: string; size: number } {
  return { mediaType, digest: `sha256:${createHash("sha256").update(bytes).digest("hex")}`, size: bytes.length };
}

async function newRepository(): Promise<string> {
  const path = join(work, `repository-${count++}`);
  await Repository.init(path, { algorithm: "sha256", insecure: true });
  return path;
}

const TAGS = (tag: string) =>
  [...PLATFORMS.map((platform, index) => [platformTag(tag, platform), digests[index]]), [tag, digests[2]]].sort(
    ([a = ""], [b = ""]) => (a < b ? -1 : 1),
  );

test.each(["oci", "docker"])("every image of an index comes in from %s:, what they share once", async (transport) => {
  await using registry = await TestRegistry.start();
  registry.load(layout);
  await using repository = await Repository.open(await newRepository(), { write: true, durability: "none" });
  const reference = transport === "oci" ? `oci:${layout}:v1` : `docker://${registry.host}/p/os:v1`;
  const pulled = await pullAll(repository, reference, { tag: "os:1", registry: { tlsVerify: false } });
  expect(pulled.map(({ platform }) => platform)).toMatchObject(PLATFORMS);
  expect(pulled.map(({ stats }) => stats.importedLayers)).toEqual([2, 1, 1]);
  expect(listTags(repository).map(({ name, manifestDigest }) => [name, manifestDigest])).toEqual(TAGS("os:1"));
});

test("without this machine's image there is no plain tag, and a single image is pulled as ever", async () => {
  await using repository = await Repository.open(await newRepository(), { write: true, durability: "none" });
  const single = await pullAll(repository, `oci:${join(work, "single-0")}:x`, { tag: "one" });
  expect(single.map(({ platform, tag }) => [platform, tag])).toEqual([[undefined, "one"]]);
  const partial = join(work, "partial");
  cpSync(layout, partial, { recursive: true });
  const index = JSON.parse(readFileSync(join(partial, "index.json"), "utf8")) as { manifests: { digest: string }[] };
  const path = join(partial, "blobs/sha256", (index.manifests[0]?.digest ?? "").slice(7));
  const inner = JSON.parse(readFileSync(path, "utf8")) as { manifests: object[] };
  const kept = inner.manifests.slice(0, 2);
  writeFileSync(join(partial, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: kept }));
  await pullAll(repository, `oci:${partial}`, { tag: "few" });
  const names = listTags(repository).map(({ name }) => name);
  expect(names).toEqual(["few-linux-arm-v7", `few-linux-${other}`, "one"]);
});

test("the command says what became of each", async () => {
  const repo = await newRepository();
  const words = ["oci", "pull", "--repo", repo, "--all", `oci:${layout}:v1`, "os:1"];
  const { status, stdout } = await run(words);
  expect(status).toBe(0);
  expect(stdout.split("\n").filter((line) => /^(platform|tagged)/.test(line))).toEqual(
    PLATFORMS.flatMap((platform) => [
      `platform ${[platform.os, platform.architecture, platform.variant].filter(Boolean).join("/")}`,
      `tagged   ${platformTag("os:1", platform)}`,
    ]),
  );
  const json = await run([...words, "--json"]);
  const { images } = JSON.parse(json.stdout) as { images: { platform: string; manifest: string }[] };
  expect(images.map(({ manifest }) => manifest)).toEqual(digests);
  const refused = await run([...words, "--platform", "linux/amd64"]);
  expect(refused.status).toBe(2);
  expect(refused.stderr).toContain("--all and --platform exclude each other");
});
