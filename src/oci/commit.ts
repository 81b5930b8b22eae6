// Makes an image out of layers that are in the repository (docs/spec/oci.md, section 6): builds its EROFS images,
// writes config and manifest streams once each, and publishes. What exists already and is whole stays as it is.

import type { ObjectId } from "../bytes/algorithm.ts";
import type { FormatVersion } from "../core/erofs.ts";
import { ComposefsError } from "../error.ts";
import type { ProgressListener } from "../progress.ts";
import type { Repository } from "../repository/repository.ts";
import { storeImage } from "../repository/store-image.ts";
import { CONFIG, MANIFEST } from "../splitstream/content-type.ts";
import type { Directory } from "../tree/node.ts";
import { buildTree, type StoredLayer } from "./build-image.ts";
import type { Digest } from "./digest.ts";
import { compareImageRefs, imageRefKey, isImageRef } from "./image-refs.ts";
import type { Manifest } from "./manifest.ts";
import { linkedObject, publish } from "./publish.ts";
import { withPublishLock } from "./publish-lock.ts";
import { referrerRef } from "./referrers.ts";
import { rewriteDependents, type StreamLinks } from "./rewrite.ts";
import {
  configRef,
  configStream,
  layerStream,
  manifestStream,
  readDocumentStream,
  sameRefs,
  writeDocumentStream,
  type DocumentType,
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
}

/** Options of {@link commitImage}. */
export interface CommitOptions {
  /** File name of the tag to set; see `checkTag`. */
  readonly tagFile?: string | undefined;
  /** Format versions to build; the repository's when left out. */
  readonly formats?: readonly FormatVersion[] | undefined;
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
  const before = await storedConfig(repository, parts);
  const images = parts.isContainer ? await wantedImages(repository, parts, before?.refs ?? new Map(), options) : [];
  return withPublishLock(repository, options.signal, () => publishImage(repository, parts, images, options));
}

async function publishImage(
  repository: Repository,
  parts: ImageParts,
  images: readonly ImageOfVersion[],
  options: CommitOptions,
): Promise<CommittedImage> {
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

  const configRefs = new Map([
    ...layers,
    ...otherRefs,
    ...[...imageRefs].toSorted(([a], [b]) => compareImageRefs(a, b)),
  ]);
  const configId = await storeDocument(repository, stored, parts.configBytes, CONFIG, configRefs);
  const manifestName = manifestStream(parts.manifestDigest);
  const storedManifest = await storedDocument(repository, manifestName, parts.manifestDigest, MANIFEST);
  const manifestRefs = new Map([[configRef(parts.configDigest), configId], ...layers]);
  const manifestId = await storeDocument(repository, storedManifest, parts.manifestBytes, MANIFEST, manifestRefs);

  const own: StreamLinks = new Map([
    ...[...layers].map(([digest, id]): [string, ObjectId] => [layerStream(digest), id]),
    [configStream(parts.configDigest), configId],
    [manifestName, manifestId],
  ]);
  await publish(repository, {
    images: images.map(({ id }) => id),
    streams: await linksToMake(repository, own, options.onProgress),
    refs: refsToSet(parts, options.tagFile),
  });
  return { manifestId, configId, images };
}

function storedConfig(repository: Repository, { configDigest }: ImageParts): Promise<StoredDocument | undefined> {
  return storedDocument(repository, configStream(configDigest), configDigest, CONFIG);
}

/** The stored config or manifest; undefined when there is none that can be used. */
async function storedDocument(
  repository: Repository,
  name: string,
  digest: Digest,
  type: DocumentType,
): Promise<StoredDocument | undefined> {
  const id = repository.stream(name);
  if (id === undefined) return undefined;
  try {
    return await readDocumentStream(repository, id, digest, type);
  } catch (error) {
    // Damaged: written anew, which is how a pull repairs a repository.
    if (
      error instanceof ComposefsError &&
      ["corrupt", "not-found", "invalid", "digest-mismatch"].includes(error.code)
    ) {
      return undefined;
    }
    throw error;
  }
}

/** Keeps a stream that says what it should, whatever the order of its refs; writes it otherwise. */
async function storeDocument(
  repository: Repository,
  stored: StoredDocument | undefined,
  bytes: Uint8Array,
  type: DocumentType,
  refs: ReadonlyMap<string, ObjectId>,
): Promise<ObjectId> {
  if (stored !== undefined && sameRefs(stored.refs, refs)) return stored.id;
  return writeDocumentStream(repository, bytes, type, refs);
}

async function wantedImages(
  repository: Repository,
  parts: ImageParts,
  existing: ReadonlyMap<string, ObjectId>,
  options: CommitOptions,
): Promise<ImageOfVersion[]> {
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
    if (known !== undefined && repository.hasObject(known) && hasVersion(repository, known, version)) {
      images.push({ version, id: known });
      continue;
    }
    const progress = { id: `image-v${version}`, kind: "image", label: `image (format V${version})` } as const;
    options.onProgress?.({ type: "start", ...progress });
    tree ??= await buildTree(repository, parts.layers, { signal: options.signal });
    images.push({ version, id: await storeImage(repository, tree, version) });
    options.onProgress?.({ type: "done", id: progress.id });
  }
  return images;
}

/** Whether a stored image has the version. Only 0 and 1 can be taken for each other. */
function hasVersion(repository: Repository, id: ObjectId, version: FormatVersion): boolean {
  if (version === 2) return true;
  const object = repository.openObject(id);
  const head = object.read(0, 16);
  object.close();
  return head.length === 16 && new DataView(head.buffer, head.byteOffset).getUint32(12, true) === version;
}

/** The links that do not exist as wanted, and those of other images that have to follow. */
async function linksToMake(
  repository: Repository,
  own: StreamLinks,
  onProgress: ProgressListener | undefined,
): Promise<StreamLinks> {
  const make: StreamLinks = new Map();
  const changed: StreamLinks = new Map();
  for (const [name, id] of own) {
    if (repository.stream(name) === id) continue;
    make.set(name, id);
    if (linkedObject(repository, "streams", name) !== undefined) changed.set(name, id);
  }
  const dependents = await rewriteDependents(repository, changed, new Set(own.keys()), onProgress);
  return new Map([...make, ...dependents].toSorted(([a], [b]) => linkRank(a) - linkRank(b)));
}

/** Layers are linked first, then configs, then manifests. */
function linkRank(name: string): number {
  return name.startsWith("oci-layer-") ? 0 : name.startsWith("oci-config-") ? 1 : 2;
}

function refsToSet(parts: ImageParts, tagFile: string | undefined): Map<string, string> {
  const target = manifestStream(parts.manifestDigest);
  const refs = new Map<string, string>();
  const { subject } = parts.manifest;
  if (subject !== undefined) refs.set(referrerRef(subject.digest, parts.manifestDigest), target);
  if (tagFile !== undefined) refs.set(`${TAG_PREFIX}/${tagFile}`, target);
  return refs;
}
