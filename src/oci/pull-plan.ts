// What a pull is about to fetch (docs/spec/oci.md, sections 4 and 6): the manifest that a source has, and its layers with the names that
// they will have. Everything that can be checked before a layer is fetched is checked here.

import { ComposefsError } from "../error.ts";
import { layerName } from "./build-image.ts";
import { parseImageConfig } from "./config.ts";
import type { Compression } from "./decompress.ts";
import { verifyDigest, type Digest } from "./digest.ts";
import { convertDockerManifest, isDockerManifest } from "./docker-schema2.ts";
import {
  checkVerifiable,
  isContainerManifest,
  isTarLayer,
  parseManifest,
  type Descriptor,
  type Manifest,
} from "./manifest.ts";
import type { ImageSource } from "./source/source.ts";
import { checkStreamDigest } from "./streams.ts";

import type { PullOptions } from "./pull-options.ts";

/** A manifest in the form in which it will be stored. */
export interface ResolvedImage {
  readonly digest: Digest;
  readonly bytes: Uint8Array;
  readonly manifest: Manifest;
  readonly sourceDigest: Digest | undefined;
  readonly isContainer: boolean;
}

/**
 * Asks a source for its manifest, in the form in which it will be stored.
 *
 * @throws ComposefsError as the sources; `invalid` and `unsupported` for what cannot be stored
 */
export async function resolveImage(source: ImageSource, options: PullOptions): Promise<ResolvedImage> {
  const { platform, signal, onProgress } = options;
  const resolved = await source.resolve({
    ...(platform === undefined ? {} : { platform }),
    ...(signal === undefined ? {} : { signal }),
  });
  const { bytes, digest, mediaType } = resolved;
  verifyDigest(bytes, digest, `the manifest ${digest}`);
  const manifest = parseManifest(bytes, `the manifest ${digest}`);
  checkVerifiable(manifest.config, `the manifest ${digest}`);
  for (const layer of manifest.layers) checkVerifiable(layer, `the manifest ${digest}`);
  if (isDockerManifest(mediaType, manifest)) {
    onProgress?.({ type: "note", message: `converting the Docker manifest ${digest}` });
    const converted = convertDockerManifest(manifest, digest);
    return { ...converted, sourceDigest: digest, isContainer: true };
  }
  return { bytes, digest, manifest, sourceDigest: undefined, isContainer: isContainerManifest(manifest) };
}

/** A layer of the image: what it is called in the repository, and the blob it comes from. */
export interface PlannedLayer {
  readonly digest: Digest;
  readonly blob: Descriptor;
  readonly kind: "container" | "artifact";
  readonly name: string;
}

/** Pairs blobs with the names of their streams, and checks what can be checked before anything is fetched. */
export function planLayers(
  { manifest, digest, isContainer }: ResolvedImage,
  configBytes: Uint8Array,
  isUnpacked: boolean,
): PlannedLayer[] {
  const { layers } = manifest;
  if (!isContainer) {
    return layers.map((blob, i) => {
      checkStreamDigest(blob.digest, `layer ${i + 1} of the artifact`);
      return { digest: blob.digest, blob, kind: "artifact", name: layerName(i, layers.length, blob.digest) };
    });
  }
  const { diffIds } = parseImageConfig(configBytes, `the config ${manifest.config.digest}`);
  if (diffIds.length !== layers.length) {
    throw new ComposefsError(
      "invalid",
      `the image ${digest} does not fit together: its manifest has ${layers.length} layers, its config ${diffIds.length} diff_ids`,
      { digest, hint: "the image was put together wrongly; build it again" },
    );
  }
  return layers.map((blob, i) => {
    const diffId = diffIds[i] as Digest;
    const name = layerName(i, layers.length, diffId);
    checkVerifiable({ ...blob, digest: diffId }, name);
    // What the blob was does not matter where only its archive is kept.
    if (!isUnpacked && !isTarLayer(blob.mediaType)) {
      throw new ComposefsError("unsupported", `${name} has the media type ${JSON.stringify(blob.mediaType)}`, {
        digest: blob.digest,
        hint: "layers of container images must be tar archives; is this an artifact with a wrong config type?",
      });
    }
    return { digest: diffId, blob, kind: "container", name };
  });
}

/** What a media type says about compression; the bytes decide. */
export function announcedCompression(mediaType: string): Compression {
  return /[+.]gzip$/.test(mediaType) ? "gzip" : mediaType.endsWith("+zstd") ? "zstd" : "none";
}
