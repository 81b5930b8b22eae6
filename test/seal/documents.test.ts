// Config and manifest of sealed images (docs/spec/oci.md, section 11).

import { describe, expect, it } from "vitest";
import { fsverityDigest } from "../../src/core/fsverity.ts";
import { contentDigest } from "../../src/oci/digest.ts";
import { parseImageConfig } from "../../src/oci/config.ts";
import { parseManifest } from "../../src/oci/manifest.ts";
import { SEAL_LABEL, type SealIds, sealedConfig, sealedManifest } from "../../src/seal/documents.ts";

const ids: SealIds = {
  algorithm: "sha256",
  label: "1".repeat(64),
  merged: "2".repeat(64),
  mergedBootable: "3".repeat(64),
};
const diffId = `sha256:${"a".repeat(64)}`;
const first = `sha256:${"b".repeat(64)}`;
const bytes = (value: unknown) => Buffer.from(JSON.stringify(value));

describe("the config", () => {
  const base = {
    created: "2024-01-02T03:04:05Z",
    architecture: "amd64",
    os: "linux",
    variant: "v2",
    config: { Cmd: ["/sbin/init"], Labels: { a: "b", [SEAL_LABEL]: "old" }, Unknown: { x: [1, null] } },
    rootfs: { type: "layers", diff_ids: [first] },
    history: [{ created_by: "first" }],
    "org.example.unknown": true,
  };

  it("gets the layer, the label and an entry of history; all else stays", () => {
    const sealed = sealedConfig(bytes(base), diffId, ids);
    expect(JSON.parse(Buffer.from(sealed.bytes).toString())).toEqual({
      ...base,
      config: { ...base.config, Labels: { a: "b", [SEAL_LABEL]: ids.label } },
      rootfs: { type: "layers", diff_ids: [first, diffId] },
      history: [...base.history, { created: base.created, created_by: "composefs seal" }],
    });
    expect(sealed.digest).toBe(contentDigest(sealed.bytes));
    expect(parseImageConfig(sealed.bytes).labels[SEAL_LABEL]).toBe(ids.label);
    expect(sealedConfig(bytes(base), diffId, ids)).toEqual(sealed);
  });

  it.each([null, undefined, { Labels: null }, {}])("may have had no labels: %j", (config) => {
    const { labels } = parseImageConfig(
      sealedConfig(bytes({ ...base, config, history: undefined }), diffId, ids).bytes,
    );
    expect(labels).toEqual({ ...(labels["a"] === undefined ? {} : { a: "b" }), [SEAL_LABEL]: ids.label });
  });

  it("keeps keys that JavaScript has a meaning for", () => {
    const text = '{"architecture":"a","os":"l","__proto__":{"x":1},"rootfs":{"type":"layers","diff_ids":[]}}';
    expect(Buffer.from(sealedConfig(Buffer.from(text), diffId, ids).bytes).toString()).toContain('"__proto__":{"x":1}');
  });
});

describe("the manifest", () => {
  it("gets config, layer and annotations; old ones stay", () => {
    const layer = { mediaType: "application/vnd.oci.image.layer.v1.tar", digest: diffId, size: 7 };
    const old = { mediaType: "t", digest: first, size: 3, annotations: { x: "y" } };
    const base = {
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      config: {
        mediaType: "application/vnd.oci.image.config.v1+json",
        digest: first,
        size: 9,
        annotations: { k: "v" },
      },
      layers: [old],
      annotations: { keep: "me" },
    };
    const config = { bytes: Buffer.from("{}"), digest: contentDigest(Buffer.from("{}")) };
    const { bytes: sealed, digest } = sealedManifest(bytes(base), config, layer, ids);
    const manifest = parseManifest(sealed);
    expect(digest).toBe(contentDigest(sealed));
    expect(manifest.layers).toMatchObject([old, layer]);
    expect(manifest.annotations).toEqual({
      keep: "me",
      "composefs.merged.erofs.v1.fsverity-sha256-12": ids.merged,
      "composefs.merged.bootable.erofs.v1.fsverity-sha256-12": ids.mergedBootable,
    });
    expect(manifest.config).toMatchObject({
      digest: config.digest,
      size: 2,
      annotations: {
        k: "v",
        "composefs.config.fsverity-sha256-12": fsverityDigest("sha256", config.bytes),
      },
    });
    expect(parseManifest(sealedManifest(bytes(base), config, layer, ids, [layer]).bytes).layers).toMatchObject([
      layer,
      layer,
    ]);
  });
});
