// Makes an image out of layers that are in the repository (docs/spec/oci.md, section 6): builds its EROFS images,
// writes config and manifest streams once each, and publishes. What exists already and is whole stays as it is.

import type { ObjectId } from "../bytes/algorithm.ts";
import type { FormatVersion } from "../core/erofs.ts";
import type { ComposefsError } from "../error.ts";
import type { ProgressListener } from "../progress.ts";
import type { Repository } from "../repository/repository.ts";
import { storeImage } from "../repository/store-image.ts";
import { CONFIG, MANIFEST } from "../splitstream/content-type.ts";
import type { Directory } from "../tree/node.ts";
import { type BootImage, type BootRequest, buildBootImages, isBootFailure } from "./boot-images.ts";
import { buildTree, type StoredLayer } from "./build-image.ts";
import type { Digest } from "./digest.ts";
import { type KeptBlobs, namedBlobs } from "./kept-blobs.ts";
import { compareImageRefs, imageRefKey, isImageRef } from "./image-refs.ts";
import { isStoredImage } from "./image-version.ts";
import type { Manifest } from "./manifest.ts";
import { publish } from "./publish.ts";
import { withPublishLock } from "./publish-lock.ts";
import { referrerRef } from "./referrers.ts";
import type { StreamLinks } from "./rewrite.ts";
import { linksToMake, storedDocument, storeDocument } from "./store-documents.ts";
import {
  blobRef,
  blobStream,
  configRef,
  configStream,
  layerStream,
  manifestStream,
  type StoredDocument,
} from "./streams.ts";
import { TAG_PREFIX } from "./tag-name.ts";

/** An image whose layers are stored and verified, and of which nothing is linked yet. */
export interface ImageParts {
  readonly manifestDigest: Digest;
  readonly manifestBytes: Uint8Array;
  readonly manifest: Manifest;
  readonly configDigest: Digest;
  readonly configBytes: Uint8Array;
  readonly isContainer: boolean;
  /** Lowest first, with repetitions: diff_ids of a container, blobs of an artifact. */
  readonly layers: readonly StoredLayer[];
  /** Blobs to keep beside the layers. */
  readonly keptBlobs?: KeptBlobs | undefined;
}

/** Options of {@link commitImage}. */
export interface CommitOptions {
  /** File name of the tag to set; see `checkTag`. */
  readonly tagFile?: string | undefined;
  /** Format versions to build; the repository's when left out. */
  readonly formats?: readonly FormatVersion[] | undefined;
  /** Build boot images too. What the image lacks for that does not keep it from being published. */
  readonly boot?: BootRequest | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

/** An EROFS image of a container image. */
export interface ImageOfVersion {
  readonly version: FormatVersion;
  readonly id: ObjectId;
}

/** What {@link commitImage} made or found. */
export interface CommittedImage {
  /** Object id of the manifest stream, as linked. */
  readonly manifestId: ObjectId;
  /** Object id of the config stream, as linked. */
  readonly configId: ObjectId;
  /** In the order of the formats; empty for artifacts. */
  readonly images: readonly ImageOfVersion[];
  /** The boot images that were asked for. */
  readonly bootImages: readonly BootImage[];
  /** Why there are none of those. */
  readonly bootFailure: ComposefsError | undefined;
}

/**
 * Builds what is missing and publishes the image.
 *
 * @throws ComposefsError `invalid` when the layers do not make a root file system; then nothing has been linked
 */
export async function commitImage(
  repository: Repository,
  parts: ImageParts,
  options: CommitOptions = {},
): Promise<CommittedImage> {
  // Building takes long and disturbs nobody; the streams are read again when nobody else changes them.
  const before = (await storedConfig(repository, parts))?.refs ?? new Map<string, ObjectId>();
  const { images, tree } = await wantedImages(repository, parts, before, options);
  let bootImages: readonly BootImage[] = [];
  let bootFailure: ComposefsError | undefined;
  if (options.boot !== undefined) {
    try {
      bootImages = await buildBootImages(repository, parts, { ...options, known: before, tree }, options.boot);
    } catch (error) {
      if (!isBootFailure(error)) throw error;
      bootFailure = error;
    }
  }
  const streams = await withPublishLock(repository, options.signal, () =>
    publishImage(repository, parts, images, bootImages, options),
  );
  return { ...streams, images, bootImages, bootFailure };
}

async function publishImage(
  repository: Repository,
  parts: ImageParts,
  images: readonly ImageOfVersion[],
  bootImages: readonly BootImage[],
  options: CommitOptions,
): Promise<Pick<CommittedImage, "manifestId" | "configId">> {
  const layers = new Map(parts.layers.map(({ digest, id }) => [digest, id]));
  const stored = await storedConfig(repository, parts);
  const imageRefs = new Map<string, ObjectId>();
  const otherRefs = new Map<string, ObjectId>();
  for (const [key, id] of stored?.refs ?? []) {
    if (!repository.hasObject(id)) continue;
    if (isImageRef(key)) imageRefs.set(key, id);
    else if (!layers.has(key)) otherRefs.set(key, id);
  }
  for (const { version, id } of images) imageRefs.set(imageRefKey({ version }), id);
  for (const { version, xattrs, id } of bootImages) imageRefs.set(imageRefKey({ version, boot: true, xattrs }), id);

  const configRefs = new Map([
    ...layers,
    ...otherRefs,
    ...[...imageRefs].toSorted(([a], [b]) => compareImageRefs(a, b)),
  ]);
  const configId = await storeDocument(repository, stored, parts.configBytes, CONFIG, configRefs);
  const manifestName = manifestStream(parts.manifestDigest);
  const storedManifest = await storedDocument(repository, manifestName, parts.manifestDigest, MANIFEST);
  const blobs = new Map([...namedBlobs(repository, storedManifest?.refs ?? new Map()), ...(parts.keptBlobs ?? [])]);
  const manifestRefs = new Map([
    [configRef(parts.configDigest), configId],
    ...layers,
    ...[...blobs].map(([digest, id]): [string, ObjectId] => [blobRef(digest), id]),
  ]);
  const manifestId = await storeDocument(repository, storedManifest, parts.manifestBytes, MANIFEST, manifestRefs);

  const own: StreamLinks = new Map([
    ...[...layers].map(([digest, id]): [string, ObjectId] => [layerStream(digest), id]),
    ...[...blobs].map(([digest, id]): [string, ObjectId] => [blobStream(digest), id]),
    [configStream(parts.configDigest), configId],
    [manifestName, manifestId],
  ]);
  await publish(repository, {
    images: [...images, ...bootImages].map(({ id }) => id),
    streams: await linksToMake(repository, own, options.onProgress),
    refs: refsToSet(parts, options.tagFile),
  });
  return { manifestId, configId };
}

function storedConfig(repository: Repository, { configDigest }: ImageParts): Promise<StoredDocument | undefined> {
  return storedDocument(repository, configStream(configDigest), configDigest, CONFIG);
}

async function wantedImages(
  repository: Repository,
  parts: ImageParts,
  existing: ReadonlyMap<string, ObjectId>,
  options: CommitOptions,
): Promise<{ images: ImageOfVersion[]; tree: Directory | undefined }> {
  if (!parts.isContainer) return { images: [], tree: undefined };
  const formats = options.formats ?? repository.formats;
  const images: ImageOfVersion[] = [];
  const keys = new Set<string>();
  let tree: Directory | undefined;
  for (const version of formats) {
    const key = imageRefKey({ version });
    // Versions 0 and 1 share a key: the repository's default, which comes first, has it.
    if (keys.has(key)) continue;
    keys.add(key);
    const known = existing.get(key);
    if (isStoredImage(repository, known, version)) {
      images.push({ version, id: known });
      continue;
    }
    const progress = { id: `image-v${version}`, kind: "image", label: `image (format V${version})` } as const;
    options.onProgress?.({ type: "start", ...progress });
    tree ??= await buildTree(repository, parts.layers, { signal: options.signal });
    images.push({ version, id: await storeImage(repository, tree, version) });
    options.onProgress?.({ type: "done", id: progress.id });
  }
  return { images, tree };
}

function refsToSet(parts: ImageParts, tagFile: string | undefined): Map<string, string> {
  const target = manifestStream(parts.manifestDigest);
  const refs = new Map<string, string>();
  const { subject } = parts.manifest;
  if (subject !== undefined) refs.set(referrerRef(subject.digest, parts.manifestDigest), target);
  if (tagFile !== undefined) refs.set(`${TAG_PREFIX}/${tagFile}`, target);
  return refs;
}
