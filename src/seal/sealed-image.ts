// The sealed image as an image source: what a pull, or the writer of a layout, takes it from.

import { type Descriptor, MEDIA_TYPE } from "../oci/manifest.ts";
import { contentDigest, digestHasher } from "../oci/digest.ts";
import type { ImageSource, ResolvedManifest } from "../oci/source/source.ts";
import { type NewTarEntry, tarStream } from "../oci/tar-write.ts";
import type { Base } from "./base.ts";
import { type SealedDocument, type SealIds, sealedConfig, sealedManifest } from "./documents.ts";

/** A sealed image that has not been written anywhere. Its blobs can be read as long as its base is open. */
export interface SealedImage extends ImageSource {
  readonly manifest: SealedDocument;
  readonly config: SealedDocument;
  readonly ids: SealIds;
  /** All blobs but the manifest: config, then layers. */
  readonly blobs: readonly Descriptor[];
}

/**
 * Makes documents and layer.
 *
 * @param entries of the new layer; their contents are read twice, now and by whoever reads the layer
 * @param stays the image stays in its repository: its layers are described as they were when it came, and nobody reads them
 */
export async function makeSealedImage(
  base: Base,
  entries: readonly NewTarEntry[],
  ids: SealIds,
  stays: boolean,
  signal?: AbortSignal,
): Promise<SealedImage> {
  const layers = stays ? base.manifest.value.layers : base.layers;
  const hasher = await digestHasher(contentDigest(new Uint8Array()));
  let size = 0;
  for await (const chunk of tarStream(entries, signal)) {
    hasher.update(chunk);
    size += chunk.length;
  }
  const layer: Descriptor = { mediaType: MEDIA_TYPE.ociLayer, digest: `sha256:${hasher.digest("hex")}`, size };
  const config = sealedConfig(base.image.config.bytes, layer.digest, ids);
  const manifest = sealedManifest(base.manifest.bytes, config, layer, ids, stays ? undefined : layers);
  const described: Descriptor = {
    mediaType: MEDIA_TYPE.ociConfig,
    digest: config.digest,
    size: config.bytes.length,
  };
  const resolved: ResolvedManifest = {
    bytes: manifest.bytes,
    digest: manifest.digest,
    mediaType: MEDIA_TYPE.ociManifest,
  };
  return {
    transport: "seal",
    manifest,
    config,
    ids,
    blobs: [described, ...layers, layer],
    resolve: async () => resolved,
    blob: (descriptor) => {
      if (descriptor.digest === config.digest) return once(config.bytes);
      return descriptor.digest === layer.digest ? tarStream(entries, signal) : base.blob(descriptor);
    },
    [Symbol.asyncDispose]: async () => {},
  };
}

async function* once(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield bytes;
}
