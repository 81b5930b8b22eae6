// Docker schema 2 manifests become OCI manifests (docs/spec/oci.md, section 4.4). The config's bytes stay; the
// manifest is generated with its keys in a fixed order, so that everybody gets the same digest.

import { ComposefsError } from "../error.ts";
import { contentDigest, type Digest } from "./digest.ts";
import { MEDIA_TYPE, parseManifest, type Descriptor, type Manifest } from "./manifest.ts";

/** The annotation that keeps the digest of the manifest as its registry knows it. */
const SOURCE_DIGEST_ANNOTATION = "composefs.source.manifest.digest";

const LAYER_TYPE: Record<string, string> = {
  [MEDIA_TYPE.dockerLayer]: MEDIA_TYPE.ociLayer,
  [`${MEDIA_TYPE.dockerLayer}.gzip`]: `${MEDIA_TYPE.ociLayer}+gzip`,
  [MEDIA_TYPE.dockerForeignLayer]: MEDIA_TYPE.ociForeignLayer,
  [`${MEDIA_TYPE.dockerForeignLayer}.gzip`]: `${MEDIA_TYPE.ociForeignLayer}+gzip`,
};

/** A generated manifest. */
export interface GeneratedManifest {
  readonly bytes: Uint8Array;
  readonly digest: Digest;
  readonly manifest: Manifest;
}

/** Whether the manifest has to be converted before it is stored: it is Docker's, or its config is. */
export function isDockerManifest(mediaType: string, manifest: Manifest): boolean {
  return (
    mediaType === MEDIA_TYPE.dockerManifest ||
    manifest.mediaType === MEDIA_TYPE.dockerManifest ||
    manifest.config.mediaType === MEDIA_TYPE.dockerConfig
  );
}

/**
 * The OCI manifest of a config and its layers.
 *
 * @param sourceDigest digest of the Docker manifest it stands for; left out where there is none (docker-archive)
 */
export function generateManifest(
  config: Descriptor,
  layers: readonly Descriptor[],
  sourceDigest?: Digest,
): GeneratedManifest {
  const document = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.ociManifest,
    config: { mediaType: MEDIA_TYPE.ociConfig, digest: config.digest, size: config.size },
    layers: layers.map((layer) => ({
      mediaType: LAYER_TYPE[layer.mediaType] ?? layer.mediaType,
      digest: layer.digest,
      size: layer.size,
      ...(layer.urls === undefined ? {} : { urls: layer.urls }),
    })),
    ...(sourceDigest === undefined ? {} : { annotations: { [SOURCE_DIGEST_ANNOTATION]: sourceDigest } }),
  };
  const bytes = Buffer.from(JSON.stringify(document));
  return { bytes, digest: contentDigest(bytes), manifest: parseManifest(bytes, "the generated manifest") };
}

/**
 * Converts a verified Docker manifest.
 *
 * @param digest the digest of its bytes
 * @throws ComposefsError `invalid` when its config is no image config
 */
export function convertDockerManifest(source: Manifest, digest: Digest): GeneratedManifest {
  const type = source.config.mediaType;
  if (type !== MEDIA_TYPE.dockerConfig && type !== MEDIA_TYPE.ociConfig) {
    throw new ComposefsError(
      "unsupported",
      `the Docker manifest ${digest} is no container image: its config is ${JSON.stringify(type)}`,
      { digest },
    );
  }
  return generateManifest(source.config, source.layers, digest);
}
