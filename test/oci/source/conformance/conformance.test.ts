// One suite for every transport (docs/spec/oci.md, sections 2 and 14): whatever presents an image, the same comes into the repository;
// damage is refused with an error that names it, leaves the repository as it was, and does not keep the good image from coming in.
// A transport is added in transports.ts, whose head says how.

import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";

import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { ComposefsError } from "../../../../src/error.ts";
import { imageManifest } from "../../../../src/oci/inspect.ts";
import { parsePlatform } from "../../../../src/oci/platform.ts";
import { pull } from "../../../../src/oci/pull.ts";
import type { PullOptions, PullResult } from "../../../../src/oci/pull-options.ts";
import { openSource } from "../../../../src/oci/source/open.ts";
import { Repository } from "../../../../src/repository/repository.ts";
import { randomBytes, seededRandom } from "../../../fixtures/random.ts";
import { auditRepository } from "../../../fixtures/repository-audit.ts";
import { tar } from "../../../fixtures/tar.ts";
import { goldensDir } from "../../../goldens-dir.ts";
import { openOciGoldens } from "../../golden-layouts.ts";
import { imageOfLayout, sampleImage, sampleLayer, sha256, type Damage, type SampleImage } from "./sample.ts";
import { TRANSPORTS, type Presented, type Transport } from "./transports.ts";

const platform = parsePlatform("linux/amd64");
const { goldenImages, unpackLayout } = openOciGoldens(goldensDir("oci"));
const containers = goldenImages.filter(({ is_container }) => is_container);

let work: string;
let count = 0;
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "composefs-conformance-"));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

async function newRepository(): Promise<Repository> {
  const path = join(work, `repository-${count++}`);
  await Repository.init(path, { algorithm: "sha256", insecure: true });
  return Repository.open(path, { write: true, durability: "none" });
}

/** A folder whose name needs care: a space, letters beyond ASCII, a dot. */
function newFolder(): string {
  const folder = join(work, `bild ünd.${count++}`);
  mkdirSync(folder);
  return folder;
}

function pulled(repository: Repository, presented: Presented, options: PullOptions = {}): Promise<PullResult> {
  const { reference, registry } = presented;
  return pull(repository, reference, { tag: "t", platform, registry, jobs: 1, ...options });
}

async function refusal(
  repository: Repository,
  presented: Presented,
  options: PullOptions = {},
): Promise<ComposefsError> {
  const error: unknown = await pulled(repository, presented, options).catch((e: unknown) => e);
  if (!(error instanceof ComposefsError)) throw new Error(`not refused properly: ${String(error)}`, { cause: error });
  expect(auditRepository(repository.path)).toMatchObject({
    problems: [],
    temporary: [],
    tags: [],
    streams: [],
    images: [],
  });
  return error;
}

const content = (seed: number, size: number) => randomBytes(seededRandom(seed), size);
const base = sampleLayer(
  tar([
    { path: "usr", type: "directory" },
    { path: "usr/small", content: Buffer.from("small") },
    { path: "usr/large", content: content(1, 5000) },
  ]),
);
const top = sampleLayer(tar([{ path: "usr/top", content: content(2, 700) }]));
const basic = sampleImage([base, top]);

/** The same image with another byte in a file: as large, and as well formed. */
function altered(bytes: Buffer): Buffer {
  const packed = bytes[0] === 0x1f && bytes[1] === 0x8b;
  const archive = packed ? gunzipSync(bytes) : Buffer.from(bytes);
  const at = archive.indexOf(content(1, 5000).subarray(0, 16));
  if (at < 0) throw new Error("the layer has no such file");
  archive[at] = (archive[at] ?? 0) ^ 1;
  const stored = packed ? gzipSync(archive, { level: 0 }) : archive;
  expect(stored.length).toBe(bytes.length);
  return stored;
}

describe.each(TRANSPORTS.map((transport) => ({ name: transport.name, transport })))("$name", ({ transport }) => {
  it.each(containers.map((image) => ({ name: `${image.name}:${image.tag}`, image })))(
    "brings the recorded image $name",
    async ({ image: golden }) => {
      const layout = unpackLayout(golden.layout, join(work, `golden-${count++}`));
      const image = await imageOfLayout(layout, golden.source_manifest_digest ?? golden.manifest_digest);
      await using presented = await transport.present([image], newFolder());
      await using repository = await newRepository();
      const result = await pulled(repository, presented);
      expect(result.images.map(({ id }) => id)).toEqual([golden.image_ids?.sha256["v1"]]);
      expect(result.configDigest).toBe(golden.config_digest);
      if (transport.keepsManifest) expect(result.manifestDigest).toBe(golden.manifest_digest);
      const { problems, streams } = auditRepository(repository.path);
      expect(problems).toEqual([]);
      const layers = streams.filter((name) => name.startsWith("oci-layer-"));
      expect(layers).toEqual([...new Set(golden.diff_ids?.map((id) => `oci-layer-${id}`))].toSorted());
    },
  );

  it("stores the manifest as it is, or the one that everybody generates", async () => {
    await using presented = await transport.present([basic], newFolder());
    await using repository = await newRepository();
    await pulled(repository, presented);
    const stored = Buffer.from(await imageManifest(repository, "t"));
    expect(stored.toString("utf8")).toBe(
      (transport.keepsManifest ? basic.manifest : generated(basic)).toString("utf8"),
    );
  });

  it("reads nothing twice", async () => {
    await using presented = await transport.present([basic], newFolder());
    await using repository = await newRepository();
    const first = await pulled(repository, presented);
    const again = await pulled(repository, presented);
    expect(again.stats).toMatchObject({ importedLayers: 0, skippedLayers: 2, newObjects: 0 });
    expect(again).toMatchObject({ verity: first.verity, images: first.images });
  });

  it("chooses the platform", async () => {
    const arm = sampleImage([sampleLayer(tar([{ path: "usr", type: "directory", mode: 0o700 }]))], {
      architecture: "arm64",
    });
    await using presented = await transport.present([basic, arm], newFolder());
    await using repository = await newRepository();
    expect((await refusal(repository, presented, { platform: parsePlatform("linux/s390x") })).message).toMatch(
      /no image for linux\/s390x; it has linux\/amd64, linux\/arm64/,
    );
    const one = await pulled(repository, presented, { tag: "one" });
    const other = await pulled(repository, presented, { tag: "other", platform: parsePlatform("linux/arm64") });
    expect([one.configDigest, other.configDigest]).toEqual([sha256(basic.config), sha256(arm.config)]);
  });

  it("refuses an image of another platform only where it has the choice", async () => {
    const other = sampleImage([base], { architecture: "s390x" });
    await using presented = await transport.present([other], newFolder());
    await using repository = await newRepository();
    const outcome = await pulled(repository, presented).catch((error: unknown) => error);
    // A single manifest of a registry or directory says no platform: it is what was asked for.
    const isChoice = !["docker", "dir"].includes(transport.name);
    if (isChoice) expect(outcome).toMatchObject({ code: "not-found", message: expect.stringContaining("linux/s390x") });
    else expect(outcome).toMatchObject({ configDigest: sha256(other.config) });
  });

  it("brings empty layers, equal layers and names of any bytes", async () => {
    const odd = tar([
      { path: "usr/odd-xx-name", content: content(3, 100) },
      { path: "usr/grüße ☃ \n", content: content(4, 100) },
    ]);
    // Bytes that are no UTF-8; the checksum changes with them.
    const at = odd.indexOf("xx");
    odd[at] = 0xff;
    odd[at + 1] = 0xfe;
    const sum = Number.parseInt(odd.toString("latin1", 148, 154), 8) + 0xff + 0xfe - 2 * 0x78;
    odd.write(sum.toString(8).padStart(6, "0"), 148, "latin1");
    const nothing = sampleLayer(tar([]));
    const image = sampleImage([nothing, base, nothing, sampleLayer(odd), base, nothing]);
    await using presented = await transport.present([image], newFolder());
    await using repository = await newRepository();
    const result = await pulled(repository, presented);
    expect(result.stats.importedLayers).toBe(3);
    expect(auditRepository(repository.path).problems).toEqual([]);
    await using twin = await newRepository();
    await using layout = await TRANSPORTS[0]?.present([image], newFolder());
    expect(result.images).toEqual((await pulled(twin, layout as Presented)).images);
  });

  it("brings layers that are called foreign, Docker's or uncompressed", async () => {
    const plain = await idOf(transport, basic);
    for (const [mediaType, docker] of [
      ["application/vnd.oci.image.layer.v1.tar", false],
      ["application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", false],
      ["application/vnd.docker.image.rootfs.diff.tar.gzip", true],
      ["application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", true],
    ] as const) {
      const layers = [base, top].map((layer) => sampleLayer(layer.tar, mediaType));
      expect(await idOf(transport, sampleImage(layers, { docker })), mediaType).toBe(plain);
    }
  });

  const damages: [string, Damage, readonly string[]][] = [
    ["a layer cut off", { part: 0, change: (b) => b.subarray(0, 3000) }, ["digest-mismatch", "invalid"]],
    ["a layer cut at a block", { part: 0, change: (b) => b.subarray(0, 1024) }, ["digest-mismatch", "invalid"]],
    ["a layer of nothing", { part: 1, change: () => Buffer.alloc(0) }, ["digest-mismatch", "invalid"]],
    ["a layer with another content", { part: 0, change: altered }, ["digest-mismatch"]],
    ["a layer that is longer", { part: 1, change: (b) => Buffer.concat([b, b]) }, ["digest-mismatch"]],
    ["a layer missing", { part: 1, change: () => undefined }, ["not-found"]],
    ["the config missing", { part: "config", change: () => undefined }, ["not-found"]],
    ["a config that is none", { part: "config", change: () => Buffer.from("[]") }, ["digest-mismatch", "invalid"]],
  ];
  it.each(damages)("refuses %s", async (_, damage, codes) => {
    await using repository = await newRepository();
    await using presented = await transport.present([basic], newFolder(), damage);
    const error = await refusal(repository, presented);
    expect(codes, error.message).toContain(error.code);
    expect(`${error.digest ?? ""} ${error.message}`).toMatch(/[0-9a-f]{64}/);
    // What is left of it does not keep the good one out, nor does it come in.
    await using good = await transport.present([basic], newFolder());
    expect((await pulled(repository, good)).images[0]?.id).toBe(await idOf(transport, basic));
    expect(auditRepository(repository.path).problems).toEqual([]);
  });

  it("stops when it is told to", async () => {
    const image = sampleImage([base, sampleLayer(tar([{ path: "usr/big", content: content(5, 3 << 20) }]))]);
    await using presented = await transport.present([image], newFolder());
    await using repository = await newRepository();
    expect((await refusal(repository, presented, { signal: AbortSignal.abort() })).code).toBe("aborted");
    for (const wanted of ["start", "advance"]) {
      const control = new AbortController();
      const error = await refusal(repository, presented, {
        signal: control.signal,
        onProgress: (event) => {
          if (event.type === wanted && (event.type !== "start" || event.kind === "layer")) control.abort();
        },
      });
      expect(error.code, wanted).toBe("aborted");
    }
    await pulled(repository, presented);
  });

  it("stops in the middle of a blob", async () => {
    const image = sampleImage([sampleLayer(tar([{ path: "usr/big", content: content(6, 3 << 20) }]))]);
    await using presented = await transport.present([image], newFolder());
    await using source = await openSource(presented.reference, { registry: presented.registry });
    const { bytes } = await source.resolve({ platform });
    const { layers } = JSON.parse(Buffer.from(bytes).toString("utf8")) as {
      layers: { mediaType: string; digest: string; size: number }[];
    };
    const control = new AbortController();
    let seen = 0;
    const reading = async () => {
      for await (const chunk of source.blob(layers[0] as (typeof layers)[0], { signal: control.signal })) {
        seen += chunk.length;
        control.abort();
      }
    };
    await expect(reading()).rejects.toMatchObject({ code: "aborted" });
    expect(seen).toBeLessThan(3 << 20);
  });
});

const ids = new Map<string, string>();

/** The image id, of a pull through that transport. */
async function idOf(transport: Transport, image: SampleImage): Promise<string | undefined> {
  const key = `${transport.name} ${sha256(image.manifest)}`;
  if (!ids.has(key)) {
    await using presented = await transport.present([image], newFolder());
    await using repository = await newRepository();
    ids.set(key, (await pulled(repository, presented)).images[0]?.id ?? "");
  }
  return ids.get(key);
}

/** The manifest of an archive of docker save (section 4.4), written out here once more. */
function generated({ config, layers }: SampleImage): Buffer {
  const described = (mediaType: string, bytes: Buffer) =>
    `{"mediaType":"${mediaType}","digest":"${sha256(bytes)}","size":${bytes.length}}`;
  const list = layers.map((layer) => described("application/vnd.oci.image.layer.v1.tar", layer.tar)).join(",");
  return Buffer.from(
    `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":${described(
      "application/vnd.oci.image.config.v1+json",
      config,
    )},"layers":[${list}]}`,
  );
}

it("covers every transport that can be opened", async () => {
  const text = readFileSync(new URL("../../../../src/oci/source/open.ts", import.meta.url), "utf8");
  const known = [...text.matchAll(/case "([a-z-]+)"/g)].map(([, name]) => name);
  const covered = new Set(TRANSPORTS.map(({ name }) => name.replace(/ .*/, "")));
  // Stores are recorded ones, which only their own tools can write: containers-storage-goldens.test.ts.
  covered.add("containers-storage");
  expect(known.length).toBeGreaterThan(4);
  expect(known.filter((name) => !covered.has(name ?? ""))).toEqual([]);
});
