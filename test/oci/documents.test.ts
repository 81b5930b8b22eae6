// Manifests, indexes and configs: what is read of them, what is refused, what Docker's become.

import { describe, expect, it } from "vitest";

import { parseImageConfig } from "../../src/oci/config.ts";
import { contentDigest } from "../../src/oci/digest.ts";
import { convertDockerManifest, generateManifest, isDockerManifest } from "../../src/oci/docker-schema2.ts";
import { isContainerManifest, isTarLayer, MEDIA_TYPE, parseIndex, parseManifest } from "../../src/oci/manifest.ts";
import { nearNames } from "../../src/oci/near-names.ts";
import { parsePlatform } from "../../src/oci/platform.ts";
import { chooseManifest, documentKind, REF_NAME } from "../../src/oci/source/choose.ts";
import type { Descriptor } from "../../src/oci/manifest.ts";

const D = (digit: string) => `sha256:${digit.repeat(64)}`;
const bytes = (value: unknown) => Buffer.from(JSON.stringify(value));
const descriptor = (mediaType: string, digit: string, size = 1) => ({ mediaType, digest: D(digit), size });
const manifest = (more: object = {}) => ({
  schemaVersion: 2,
  config: descriptor(MEDIA_TYPE.ociConfig, "a"),
  layers: [descriptor(MEDIA_TYPE.ociLayer, "b")],
  ...more,
});

describe("manifests", () => {
  it("may lack a media type, may have nulls and unknown keys", () => {
    const parsed = parseManifest(
      bytes(manifest({ annotations: null, subject: null, artifactType: null, future: [1] })),
    );
    expect(parsed.annotations).toEqual({});
    expect(parsed.subject).toBeUndefined();
    expect(isContainerManifest(parsed)).toBe(true);
    expect(isContainerManifest(parseManifest(bytes(manifest({ config: descriptor("x/y", "a") }))))).toBe(false);
  });

  it.each([
    ["config", { config: undefined }, /config: is missing/],
    ["layers", { layers: undefined }, /layers: is missing/],
    ["schemaVersion", { schemaVersion: "2" }, /schemaVersion/],
    ["a layer's size", { layers: [{ ...descriptor("x", "b"), size: 1.5 }] }, /layers\.0\.size/],
    ["a size beyond 2^53", { layers: [{ ...descriptor("x", "b"), size: 2 ** 53 }] }, /layers\.0\.size/],
    ["a digest", { layers: [{ ...descriptor("x", "b"), digest: "sha256:B" }] }, /layers\.0\.digest/],
    ["annotations", { annotations: { a: 1 } }, /annotations\.a/],
  ])("without a proper %s are refused, and the place is named", (_what, more, message) => {
    expect(() => parseManifest(bytes(manifest(more)), "the manifest X")).toThrowError(message);
    expect(() => parseManifest(bytes(manifest(more)), "the manifest X")).toThrowError("the manifest X");
  });

  it("of Docker's schema 1 are refused as what they are", () => {
    const old = { schemaVersion: 1, name: "x", fsLayers: [], history: [] };
    expect(() => parseManifest(bytes(old))).toThrowError(expect.objectContaining({ code: "unsupported" }));
  });

  it("keep free maps free: annotations may repeat a key, the last one counts", () => {
    const text = JSON.stringify(manifest({ annotations: { digest: "1" } })).replace(
      '"digest":"1"',
      '"digest":"1","digest":"2"',
    );
    expect(parseManifest(Buffer.from(text)).annotations).toEqual({ digest: "2" });
  });

  it.each([
    [MEDIA_TYPE.ociLayer, true],
    [`${MEDIA_TYPE.ociForeignLayer}+zstd`, true],
    [`${MEDIA_TYPE.dockerLayer}.gzip`, true],
    [MEDIA_TYPE.dockerForeignLayer, true],
    [`${MEDIA_TYPE.ociLayer}+xz`, false],
    ["text/plain", false],
  ])("%s: a tar layer is %s", (type, expected) => {
    expect(isTarLayer(type)).toBe(expected);
  });

  it.each([
    ["manifest", manifest(), undefined],
    ["manifest", {}, MEDIA_TYPE.dockerManifest],
    ["index", { manifests: [] }, "application/json"],
    ["index", { mediaType: MEDIA_TYPE.dockerList }, "text/plain"],
    ["unknown", { layers: [] }, undefined],
    ["unknown", [], undefined],
  ])("%s is told from its body and type", (kind, body, type) => {
    expect(documentKind(bytes(body), type)).toBe(kind);
    expect(documentKind(Buffer.from("not json"), undefined)).toBe("unknown");
  });
});

describe("configs", () => {
  const config = { architecture: "amd64", os: "linux", rootfs: { type: "layers", diff_ids: [D("c")] } };

  it("need little, and nulls are nothing", () => {
    const parsed = parseImageConfig(bytes({ ...config, created: null, variant: null, config: null, history: null }));
    expect(parsed).toEqual({
      architecture: "amd64",
      os: "linux",
      variant: undefined,
      created: undefined,
      diffIds: [D("c")],
      labels: {},
    });
    expect(parseImageConfig(bytes({ ...config, config: { Labels: { a: "b" }, Env: null } })).labels).toEqual({
      a: "b",
    });
  });

  it.each([
    ["architecture", { architecture: undefined }],
    ["os", { os: undefined }],
    ["rootfs", { rootfs: undefined }],
    ["rootfs.type", { rootfs: { diff_ids: [] } }],
    ["rootfs.diff_ids", { rootfs: { type: "layers" } }],
    ["rootfs.diff_ids.0", { rootfs: { type: "layers", diff_ids: ["nothing"] } }],
  ])("without %s are refused", (place, more) => {
    expect(() => parseImageConfig(bytes({ ...config, ...more }))).toThrowError(`${place}: `);
  });
});

describe("Docker schema 2", () => {
  const layers = [
    descriptor(`${MEDIA_TYPE.dockerLayer}.gzip`, "1", 10),
    descriptor(MEDIA_TYPE.dockerLayer, "2", 20),
    { ...descriptor(`${MEDIA_TYPE.dockerForeignLayer}.gzip`, "3", 30), urls: ["https://example.test/x"] },
    descriptor(MEDIA_TYPE.dockerForeignLayer, "4", 40),
    descriptor(`${MEDIA_TYPE.ociLayer}+zstd`, "5", 50),
  ];
  const docker = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.dockerManifest,
    config: descriptor(MEDIA_TYPE.dockerConfig, "a"),
    layers,
  };

  it("becomes exactly this OCI manifest", () => {
    const source = parseManifest(bytes(docker));
    expect(isDockerManifest(MEDIA_TYPE.dockerManifest, source)).toBe(true);
    const converted = convertDockerManifest(source, D("f"));
    const oci = "application/vnd.oci.image.";
    const layer = (type: string, digit: string, size: number, urls = "") =>
      `{"mediaType":"${oci}layer.${type}","digest":"${D(digit)}","size":${size}${urls}}`;
    expect(Buffer.from(converted.bytes).toString()).toBe(
      `{"schemaVersion":2,"mediaType":"${oci}manifest.v1+json",` +
        `"config":{"mediaType":"${oci}config.v1+json","digest":"${D("a")}","size":1},"layers":[` +
        [
          layer("v1.tar+gzip", "1", 10),
          layer("v1.tar", "2", 20),
          layer("nondistributable.v1.tar+gzip", "3", 30, ',"urls":["https://example.test/x"]'),
          layer("nondistributable.v1.tar", "4", 40),
          layer("v1.tar+zstd", "5", 50),
        ].join(",") +
        `],"annotations":{"composefs.source.manifest.digest":"${D("f")}"}}`,
    );
    expect(converted.digest).toBe(contentDigest(converted.bytes));
    expect(isContainerManifest(converted.manifest)).toBe(true);
  });

  it("without a manifest of its own has no annotations", () => {
    const { bytes: text } = generateManifest(docker.config, layers);
    expect(Buffer.from(text).toString()).not.toContain("annotations");
  });

  it("with another config is no image; an OCI manifest with a Docker config is one", () => {
    const plugin = { ...docker, config: descriptor("application/vnd.docker.plugin.v1+json", "a") };
    expect(() => convertDockerManifest(parseManifest(bytes(plugin)), D("f"))).toThrowError(
      expect.objectContaining({ code: "unsupported" }),
    );
    const mixed = parseManifest(bytes(manifest({ mediaType: MEDIA_TYPE.ociManifest, config: docker.config })));
    expect(isDockerManifest(MEDIA_TYPE.ociManifest, mixed)).toBe(true);
    expect(isDockerManifest(MEDIA_TYPE.ociManifest, parseManifest(bytes(manifest())))).toBe(false);
  });
});

describe("indexes", () => {
  /** A source of documents in memory. */
  class Documents {
    readonly blobs = new Map<string, Uint8Array>();
    reads = 0;

    add(value: unknown, mediaType: string, more: Partial<Descriptor> = {}): Descriptor {
      const content = bytes(value);
      const digest = contentDigest(content);
      this.blobs.set(digest, content);
      return { mediaType, digest, size: content.length, ...more };
    }

    async *blob({ digest }: Descriptor): AsyncIterable<Uint8Array> {
      this.reads++;
      yield this.blobs.get(digest) ?? new Uint8Array(0);
    }
  }

  const linux = (architecture: string, os = "linux") => ({ os, architecture });
  const amd64 = parsePlatform("linux/amd64");
  const choose = (source: Documents, manifests: Descriptor[]) =>
    chooseManifest(source, { manifests }, "the index", { platform: amd64 });

  it("are followed through several levels, and not for ever", async () => {
    const source = new Documents();
    let inner = source.add(manifest(), MEDIA_TYPE.ociManifest, { platform: linux("amd64") });
    const { digest } = inner;
    const nest = () => {
      inner = source.add({ schemaVersion: 2, manifests: [inner] }, MEDIA_TYPE.ociIndex);
    };
    for (let level = 0; level < 3; level++) nest();
    expect((await choose(source, [inner])).digest).toBe(digest);
    nest();
    await expect(choose(source, [inner])).rejects.toMatchObject({ code: "limit" });
  });

  it("listed twice are read once", async () => {
    const source = new Documents();
    const image = source.add(manifest(), MEDIA_TYPE.ociManifest, { platform: linux("amd64") });
    const nested = source.add({ schemaVersion: 2, manifests: [image] }, MEDIA_TYPE.dockerList);
    await choose(
      source,
      Array.from({ length: 50 }, () => nested),
    );
    expect(source.reads).toBe(2);
  });

  it("with entries of unknown types and attestations still give the image", async () => {
    const source = new Documents();
    const image = source.add(manifest(), MEDIA_TYPE.ociManifest, { platform: linux("amd64") });
    const attestation = source.add(manifest({ artifactType: "x" }), MEDIA_TYPE.ociManifest, {
      platform: linux("unknown", "unknown"),
    });
    const chosen = await choose(source, [descriptor("application/x-odd", "9"), attestation, image]);
    expect(chosen).toMatchObject({ digest: image.digest, mediaType: MEDIA_TYPE.ociManifest });
    await expect(choose(source, [descriptor("application/x-odd", "9"), attestation])).rejects.toThrow(
      "application/x-odd",
    );
  });

  it("without platforms are decided by the configs", async () => {
    const source = new Documents();
    const image = (architecture: string) => {
      const config = source.add(
        { architecture, os: "linux", rootfs: { type: "layers", diff_ids: [] } },
        MEDIA_TYPE.ociConfig,
      );
      return source.add(manifest({ config, layers: [] }), MEDIA_TYPE.ociManifest);
    };
    const [arm, amd] = [image("arm64"), image("amd64")];
    expect((await choose(source, [arm, amd])).digest).toBe(amd.digest);
    await expect(choose(source, [arm])).rejects.toThrow("linux/arm64");
  });

  it("give an artifact that is alone, and ask for a name among several", async () => {
    const source = new Documents();
    const artifact = (name: string) =>
      source.add(manifest({ config: descriptor("x/y", "a"), artifactType: name }), MEDIA_TYPE.ociManifest, {
        annotations: { [REF_NAME]: name },
      });
    const [one, two] = [artifact("one"), artifact("two")];
    expect((await choose(source, [one])).digest).toBe(one.digest);
    await expect(choose(source, [one, two])).rejects.toThrow("one, two");
  });

  it("with a manifest that is not what its digest says are refused", async () => {
    const source = new Documents();
    const image = source.add(manifest(), MEDIA_TYPE.ociManifest, { platform: linux("amd64") });
    source.blobs.set(image.digest, Buffer.from(source.blobs.get(image.digest) ?? []).fill(32, 0, 1));
    await expect(choose(source, [image])).rejects.toMatchObject({ code: "digest-mismatch", digest: image.digest });
    const large = { ...image, size: 5 << 20 };
    await expect(choose(source, [large])).rejects.toMatchObject({ code: "limit" });
  });

  it("need a list", () => {
    expect(() => parseIndex(bytes({ schemaVersion: 2, manifests: {} }))).toThrowError(/manifests/);
  });
});

describe("near names", () => {
  it.each([
    ["os:latets", ["os:latest", "db:latest"], ["os:latest"]],
    ["v3", ["v1", "v2", "big"], ["v1", "v2"]],
    ["LATEST", ["latest"], ["latest"]],
    ["debian", ["docker://docker.io/library/debian:12"], ["docker://docker.io/library/debian:12"]],
    ["entirely", ["unrelated"], []],
    ["x", [], []],
  ])("of %s among %j are %j", (wanted, names, near) => {
    expect(nearNames(wanted, names)).toEqual(near);
  });
});
