// `oci copy`: an image from one repository to another (docs/spec/oci.md, section 9). Everything is hashed again, so the
// repositories may differ in algorithm, security and formats.

import type { ObjectId } from "../bytes/algorithm.ts";
import { ComposefsError } from "../error.ts";
import type { ProgressListener } from "../progress.ts";
import type { Repository } from "../repository/repository.ts";
import { BLOB } from "../splitstream/content-type.ts";
import { importBlob } from "./blob-import.ts";
import { layerName, type StoredLayer } from "./build-image.ts";
import { commitImage, type ImageOfVersion } from "./commit.ts";
import type { Digest } from "./digest.ts";
import { streamBytes } from "./layer-bytes.ts";
import { importLayer } from "./layer/import.ts";
import type { Descriptor } from "./manifest.ts";
import { keptBlob, type KeptBlobs, namedBlobs } from "./kept-blobs.ts";
import { openImage, type StoredImage, type StoredManifest } from "./stored-image.ts";
import { usableLayer } from "./stored-layer.ts";
import { checkTag } from "./tag-name.ts";
import { findTag } from "./tags.ts";

/** Options of {@link copyImage}. */
export interface CopyOptions {
  /** Tag in the destination; the source's tag when left out. An image named by digest then gets none. */
  tag?: string | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: ProgressListener | undefined;
}

/** What {@link copyImage} did. */
export interface CopyResult {
  manifestDigest: Digest;
  manifestVerity: ObjectId;
  configDigest: Digest;
  configVerity: ObjectId;
  /** Undefined when the copy has no tag, and the next garbage collection removes it. */
  tag: string | undefined;
  images: readonly ImageOfVersion[];
  copiedLayers: number;
}

/**
 * Copies an image. Boot images are not copied.
 *
 * @param name tag, `@DIGEST`, `DIGEST` or `TAG@DIGEST` in the source
 * @throws ComposefsError `digest-mismatch` when a layer of the source is damaged
 */
export async function copyImage(
  from: Repository,
  to: Repository,
  name: string,
  options: CopyOptions = {},
): Promise<CopyResult> {
  const { signal, onProgress } = options;
  to.checkWritable();
  const tag = options.tag ?? (findTag(from, name) === undefined ? undefined : name);
  const tagFile = tag === undefined ? undefined : checkTag(tag);
  const image = await openImage(from, name);
  const { manifest, config, isContainer } = image;
  if (manifest === undefined) {
    throw new ComposefsError("invalid", `${name} is the digest of a config; a copy needs the manifest`, {
      digest: config.digest,
      hint: "name the image by its tag or its manifest digest",
    });
  }
  const ids = new Map<Digest, ObjectId>();
  let copiedLayers = 0;
  for (const [i, layer] of image.layers.entries()) {
    if (ids.has(layer.digest)) continue;
    const known = await usableLayer(to, layer.digest, isContainer ? "container" : "artifact");
    const skipped = known !== undefined;
    if (!skipped) {
      onProgress?.({ type: "start", id: layer.digest, kind: "layer", label: layer.digest });
      copiedLayers++;
    }
    ids.set(layer.digest, known ?? (await copyLayer(from, to, image, i, signal)));
    onProgress?.({ type: "done", id: layer.digest, skipped });
  }
  const layers: StoredLayer[] = image.layers.map(({ digest }) => ({ digest, id: ids.get(digest) as ObjectId }));
  const keptBlobs = await copyKeptBlobs(from, to, manifest, signal);
  const committed = await commitImage(
    to,
    {
      manifestDigest: manifest.digest,
      manifestBytes: manifest.bytes,
      manifest: manifest.value,
      configDigest: config.digest,
      configBytes: config.bytes,
      isContainer,
      layers,
      keptBlobs,
    },
    { tagFile, signal, onProgress },
  );
  return {
    manifestDigest: manifest.digest,
    manifestVerity: committed.manifestId,
    configDigest: config.digest,
    configVerity: committed.configId,
    tag,
    images: committed.images,
    copiedLayers,
  };
}

/** The compressed blobs that the source has kept. */
async function copyKeptBlobs(
  from: Repository,
  to: Repository,
  manifest: StoredManifest,
  signal: AbortSignal | undefined,
): Promise<KeptBlobs> {
  const copied = new Map<Digest, ObjectId>();
  for (const [digest, id] of namedBlobs(from, manifest.refs)) {
    const blob = manifest.value.layers.find((layer) => layer.digest === digest);
    if (blob === undefined) continue;
    const known = await keptBlob(to, digest);
    copied.set(digest, known ?? (await importBlob(to, streamBytes(from, id, signal), blob, { signal })).streamId);
  }
  return copied;
}

async function copyLayer(
  from: Repository,
  to: Repository,
  image: StoredImage,
  index: number,
  signal: AbortSignal | undefined,
): Promise<ObjectId> {
  const { digest, id } = image.layers[index] as StoredLayer;
  const bytes = streamBytes(from, id, signal);
  const stream = await from.openStream(id);
  if (stream.contentType === BLOB) {
    const blob = image.manifest?.value.layers[index] as Descriptor;
    return (await importBlob(to, bytes, blob, { signal })).streamId;
  }
  const imported = await importLayer(to, bytes, {
    // The tar layers of artifacts are named by their compressed form, which is not kept.
    ...(image.isContainer ? { diffId: digest } : {}),
    name: layerName(index, image.layers.length, digest),
    ...(signal === undefined ? {} : { signal }),
  });
  return imported.streamId;
}
