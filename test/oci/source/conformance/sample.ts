// Images in memory, for the conformance suite of the transports: made by hand, or taken out of a layout.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

import { decompress } from "../../../../src/oci/decompress.ts";

/** The digest of bytes. */
export const sha256 = (bytes: Uint8Array): string => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

/** A layer in both of its forms. */
export interface SampleLayer {
  readonly tar: Buffer;
  /** As a registry has it. */
  readonly blob: Buffer;
  readonly mediaType: string;
}

/** An image that a transport can present. */
export interface SampleImage {
  readonly layers: readonly SampleLayer[];
  readonly config: Buffer;
  readonly manifest: Buffer;
  readonly mediaType: string;
  readonly platform: { readonly os: string; readonly architecture: string };
}

/** What is wrong with an image: a part of it is stored as something else, or not at all. */
export interface Damage {
  /** The config, or a layer by its place. */
  readonly part: "config" | number;
  readonly change: (bytes: Buffer) => Buffer | undefined;
}

const GZIP = "application/vnd.oci.image.layer.v1.tar+gzip";

/** A layer, compressed without being made smaller, so that damage can keep its size. */
export function sampleLayer(tar: Buffer, mediaType = GZIP): SampleLayer {
  return { tar, mediaType, blob: mediaType.endsWith("gzip") ? gzipSync(tar, { level: 0 }) : tar };
}

/** An image of layers. */
export function sampleImage(
  layers: readonly SampleLayer[],
  { architecture = "amd64", docker = false }: { architecture?: string; docker?: boolean } = {},
): SampleImage {
  const config = Buffer.from(
    JSON.stringify({
      architecture,
      os: "linux",
      rootfs: { type: "layers", diff_ids: layers.map(({ tar }) => sha256(tar)) },
    }),
  );
  const mediaType = docker
    ? "application/vnd.docker.distribution.manifest.v2+json"
    : "application/vnd.oci.image.manifest.v1+json";
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType,
      config: {
        mediaType: docker
          ? "application/vnd.docker.container.image.v1+json"
          : "application/vnd.oci.image.config.v1+json",
        digest: sha256(config),
        size: config.length,
      },
      layers: layers.map((layer) => ({
        mediaType: layer.mediaType,
        digest: sha256(layer.blob),
        size: layer.blob.length,
      })),
    }),
  );
  return { layers, config, manifest, mediaType, platform: { os: "linux", architecture } };
}

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
}

/** The image of a manifest in a layout. */
export async function imageOfLayout(layout: string, digest: string): Promise<SampleImage> {
  const blob = (name: string) => readFileSync(join(layout, "blobs", name.replace(":", "/")));
  const manifest = blob(digest);
  const parsed = JSON.parse(manifest.toString("utf8")) as {
    mediaType?: string;
    config: Descriptor;
    layers: Descriptor[];
  };
  const config = blob(parsed.config.digest);
  const { os, architecture } = JSON.parse(config.toString("utf8")) as { os: string; architecture: string };
  const layers: SampleLayer[] = [];
  for (const layer of parsed.layers) {
    const bytes = blob(layer.digest);
    const tar: Uint8Array[] = [];
    for await (const piece of decompress(pieces(bytes), { name: layer.digest })) tar.push(piece);
    layers.push({ blob: bytes, tar: Buffer.concat(tar), mediaType: layer.mediaType });
  }
  const mediaType = parsed.mediaType ?? "application/vnd.oci.image.manifest.v1+json";
  return { layers, config, manifest, mediaType, platform: { os, architecture } };
}

async function* pieces(bytes: Buffer): AsyncIterable<Uint8Array> {
  yield bytes;
}
