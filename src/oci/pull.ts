// Pulls an image into a repository (docs/spec/oci.md, section 6): resolve, check, import the layers that are missing,
// build, publish. Everything is verified before the first link is made, so a refused image leaves only objects.

import { availableParallelism } from "node:os";

import { DIGEST_SIZE, isObjectId, type ObjectId } from "../bytes/algorithm.ts";
import type { FormatVersion } from "../core/erofs.ts";
import { ComposefsError } from "../error.ts";
import type { ProgressListener } from "../progress.ts";
import type { Repository } from "../repository/repository.ts";
import { CONFIG } from "../splitstream/content-type.ts";
import type { BootImage, BootRequest } from "./boot-images.ts";
import { importBlob } from "./blob-import.ts";
import { runBounded } from "./bounded.ts";
import { layerName, type StoredLayer } from "./build-image.ts";
import { ContentFinder } from "./chunked/known-content.ts";
import { importInParts } from "./chunked/import.ts";
import { commitImage, type ImageOfVersion, type ImageParts } from "./commit.ts";
import { parseImageConfig } from "./config.ts";
import type { Compression } from "./decompress.ts";
import { verifyDigest, type Digest } from "./digest.ts";
import { convertDockerManifest, isDockerManifest } from "./docker-schema2.ts";
import { type ImportedLayer, type ImportLayerOptions, importLayer } from "./layer/import.ts";
import { importUnpackedLayer } from "./layer/import-unpacked.ts";
import type { EntryBudget, Share } from "./layer/split.ts";
import { ObjectPool } from "./layer/object-pool.ts";
import { type LocalFetch, ZeroCopy } from "./layer/zero-copy.ts";
import {
  checkVerifiable,
  isContainerManifest,
  isTarLayer,
  parseManifest,
  type Descriptor,
  type Manifest,
} from "./manifest.ts";
import type { Platform } from "./platform.ts";
import { aboutImage, withoutBootImage } from "./pull-errors.ts";
import type { ImageReference } from "./reference.ts";
import type { RegistryOptions } from "./registry/requests.ts";
import type { StoreSelection } from "./source/containers-storage/discover.ts";
import { readDocument } from "./source/document.ts";
import { KeepingSource } from "./source/keeping.ts";
import { openSource } from "./source/open.ts";
import type { ImageSource } from "./source/source.ts";
import { usableLayer } from "./stored-layer.ts";
import { checkStreamDigest, configStream, readDocumentStream } from "./streams.ts";
import { checkTag } from "./tag-name.ts";

/** Options of {@link pull}. */
export interface PullOptions {
  /** Name to tag the image with, or made from the digest of the manifest as it is stored; the reference itself when left out. */
  tag?: string | ((manifest: Digest) => string) | undefined;
  /** Which image to take from an index; the host's when left out. */
  platform?: Platform | undefined;
  /** Layers imported at once; as many as there are processors, at most 4, when left out. */
  jobs?: number | undefined;
  /** Format versions to build instead of the repository's. */
  formats?: readonly FormatVersion[] | undefined;
  /** Build boot images too, in the same formats. */
  bootable?: boolean | undefined;
  /**
   * Instead of those, find the boot image that has this id, whatever mode of xattrs and format it was made with. Needs `bootable`.
   */
  expectedDigest?: ObjectId | undefined;
  /** Keep the layers in their compressed form too, so that the image can leave with the manifest that it has now. */
  keepCompressed?: boolean | undefined;
  /** Fetch layers whole, also where the repository has files of them and the rest could be fetched alone. */
  wholeLayers?: boolean | undefined;
  /** How to reach a registry, for references that name one. */
  registry?: RegistryOptions | undefined;
  /** Which container store to search, for references that begin with `containers-storage:`; found by its configuration when left out. */
  storage?: StoreSelection | undefined;
  /**
   * Whether contents may be shared with a source that has them as files, a container store: `auto` when left out. With `zerocopy` every
   * other source is refused.
   */
  localFetch?: LocalFetch | undefined;
  /** Called when it is known how many bytes, compressed, the layers have that are not there; what it throws ends the pull. */
  beforeImport?: ((missingBytes: number) => void) | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: ProgressListener | undefined;
}

/** Counts of a pull: external objects of the layers imported now. */
export interface PullStats {
  /** Objects written. */
  newObjects: number;
  /** Objects that were there already. */
  presentObjects: number;
  /** Bytes of the objects written. */
  storedBytes: number;
  /** Bytes kept inline in the layers' streams. */
  inlineBytes: number;
  /** Those of the objects written that share their blocks with files of the source. */
  reflinked: Share;
  /** Those that are files of the source under another name. */
  hardlinked: Share;
  /** Layers imported. */
  importedLayers: number;
  /** Layers that were there already. */
  skippedLayers: number;
  /** Compressed bytes of the imported layers that were not fetched, because the repository had the files. */
  sparedBytes: number;
}

/** What a pull did. */
export interface PullResult {
  /** Digest of the manifest as stored. */
  manifestDigest: Digest;
  /** Digest of the Docker manifest that the stored one was made from. */
  sourceManifestDigest: Digest | undefined;
  configDigest: Digest;
  /** Object id of the manifest's stream, as linked. */
  verity: ObjectId;
  tag: string;
  isContainer: boolean;
  /** The EROFS images in the order of the formats; empty for artifacts. */
  images: readonly ImageOfVersion[];
  /** The boot images, if they were asked for. */
  bootImages: readonly BootImage[];
  stats: PullStats;
}

/**
 * Pulls an image and tags it.
 *
 * @example
 * ```ts
 * await using repository = await Repository.open("/var/lib/images", { write: true });
 * const { images } = await pull(repository, "oci:./image:v1", { tag: "os:latest" });
 * console.log(images[0]?.id);
 * ```
 * @throws ComposefsError; the repository then holds no link to anything of the image. Only when the image is sound and its boot image
 *   is not to be had, it is pulled and tagged, and the error says so
 */
export async function pull(
  repository: Repository,
  reference: string | ImageReference,
  options: PullOptions = {},
): Promise<PullResult> {
  const name = typeof reference === "string" ? reference : reference.text;
  const tag = options.tag ?? name;
  // Before anything is fetched: a pull that cannot be stored or tagged is no use.
  repository.checkWritable();
  if (typeof tag === "string") checkTag(tag);
  bootRequest(repository, options);
  const { onProgress, signal, registry, storage } = options;
  await using source = await openSource(reference, { onProgress, signal, registry, storage });
  // Awaited here: the source must stay open until the pull is done.
  return await pullFrom(repository, source, { ...options, tag, name });
}

/**
 * Like {@link pull}, from a source that is open already.
 *
 * @param options.name what the image is called in messages; its digest when left out
 */
export async function pullFrom(
  repository: Repository,
  source: ImageSource,
  options: PullOptions & { tag: NonNullable<PullOptions["tag"]>; name?: string },
): Promise<PullResult> {
  const { tag, ...result } = await pullOne(repository, source, options);
  return { ...result, tag: tag as string };
}

/** What a pull did that set no tag. */
export type UntaggedPull = Omit<PullResult, "tag">;

/** Like {@link pullFrom}, without a tag: for manifests that something else keeps. */
export async function pullUntagged(
  repository: Repository,
  source: ImageSource,
  options: Omit<PullOptions, "tag"> = {},
): Promise<UntaggedPull> {
  const { tag: _, ...result } = await pullOne(repository, source, { ...options, tag: undefined });
  return result;
}

async function pullOne(
  repository: Repository,
  source: ImageSource,
  options: PullOptions & { name?: string },
): Promise<UntaggedPull & { tag: string | undefined }> {
  if (typeof options.tag === "string") checkTag(options.tag);
  checkOptions(options);
  const boot = bootRequest(repository, options);
  repository.checkWritable();
  if (options.localFetch === "zerocopy" && source.unpackedLayer === undefined) throw mustBeCopied(source);
  const resolved = await resolveImage(source, options);
  const tag = typeof options.tag === "function" ? options.tag(resolved.digest) : options.tag;
  const tagFile = tag === undefined ? undefined : checkTag(tag);
  const config = await readConfig(repository, source, resolved, options);
  const plan = planLayers(resolved, config.bytes, source.unpackedLayer !== undefined);
  const keeping = keepingSource(repository, source, plan, options);
  const { layers, stats } = await importLayers(repository, keeping ?? source, plan, config.refs, options);
  const parts: ImageParts = {
    manifestDigest: resolved.digest,
    manifestBytes: resolved.bytes,
    manifest: resolved.manifest,
    configDigest: resolved.manifest.config.digest,
    configBytes: config.bytes,
    isContainer: resolved.isContainer,
    layers,
    keptBlobs: await keeping?.keepRest(options.signal),
  };
  const { signal, onProgress, formats } = options;
  let committed;
  try {
    committed = await commitImage(repository, parts, { tagFile, formats, boot, signal, onProgress });
  } catch (error) {
    throw aboutImage(error, options.name ?? resolved.digest, resolved.digest);
  }
  if (committed.bootFailure !== undefined) throw withoutBootImage(committed.bootFailure, tag ?? resolved.digest);
  return {
    manifestDigest: resolved.digest,
    sourceManifestDigest: resolved.sourceDigest,
    configDigest: resolved.manifest.config.digest,
    verity: committed.manifestId,
    tag,
    isContainer: resolved.isContainer,
    images: committed.images,
    bootImages: committed.bootImages,
    stats,
  };
}

function mustBeCopied({ transport }: ImageSource): ComposefsError {
  return new ComposefsError(
    "unsupported",
    `the layers of ${transport} are archives: their files can only be copied out`,
    {
      reason: "E_ZERO_COPY",
      hint: "pull from containers-storage:, or leave zerocopy out",
    },
  );
}

function checkOptions({ jobs, formats }: PullOptions): void {
  if (jobs !== undefined && !(Number.isInteger(jobs) && jobs > 0)) {
    throw new ComposefsError("usage", `jobs must be a positive number of layers, not ${jobs}`);
  }
  if (formats?.length === 0) throw new ComposefsError("usage", "formats must name at least one image format");
}

function bootRequest({ algorithm }: Repository, options: PullOptions): BootRequest | undefined {
  const { bootable = false, expectedDigest } = options;
  if (expectedDigest === undefined) return bootable ? {} : undefined;
  if (!bootable) throw new ComposefsError("usage", "an expected digest is that of a boot image: it needs bootable");
  const digest = expectedDigest.toLowerCase();
  if (isObjectId(digest, algorithm)) return { expectedDigest: digest };
  throw new ComposefsError("invalid", `${JSON.stringify(expectedDigest)} is not the digest of an image`, {
    hint: `in this repository digests are ${algorithm} and have ${2 * DIGEST_SIZE[algorithm]} hex digits`,
  });
}

/** A manifest in the form in which it will be stored. */
export interface ResolvedImage {
  readonly digest: Digest;
  readonly bytes: Uint8Array;
  readonly manifest: Manifest;
  readonly sourceDigest: Digest | undefined;
  readonly isContainer: boolean;
}

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

interface ConfigOfImage {
  readonly bytes: Uint8Array;
  /** Named refs of the stored config: layers whose own link may be lost. */
  readonly refs: ReadonlyMap<string, ObjectId>;
}

/** The config from the repository, or from the source when it is not there or damaged. */
async function readConfig(
  repository: Repository,
  source: ImageSource,
  { manifest }: ResolvedImage,
  options: PullOptions,
): Promise<ConfigOfImage> {
  const { digest, size } = manifest.config;
  const report = (skipped: boolean) => options.onProgress?.({ type: "done", id: digest, skipped });
  options.onProgress?.({ type: "start", id: digest, kind: "config", label: `config ${digest}`, total: size });
  const id = repository.stream(configStream(digest));
  if (id !== undefined) {
    try {
      const stored = await readDocumentStream(repository, id, digest, CONFIG);
      report(true);
      return stored;
    } catch (error) {
      if (!(error instanceof ComposefsError)) throw error;
    }
  }
  const bytes = await readDocument(source, manifest.config, "the config", options.signal);
  report(false);
  return { bytes, refs: new Map() };
}

/** A layer of the image: what it is called in the repository, and the blob it comes from. */
interface PlannedLayer {
  readonly digest: Digest;
  readonly blob: Descriptor;
  readonly kind: "container" | "artifact";
  readonly name: string;
}

/** Pairs blobs with the names of their streams, and checks what can be checked before anything is fetched. */
function planLayers(
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

function keepingSource(
  repository: Repository,
  source: ImageSource,
  plan: readonly PlannedLayer[],
  { keepCompressed = false, onProgress }: PullOptions,
): KeepingSource | undefined {
  if (!keepCompressed) return undefined;
  if (source.unpackedLayer === undefined) return new KeepingSource(repository, source, blobsToKeep(plan));
  onProgress?.({ type: "warning", message: `${source.transport} has layers unpacked only: there is nothing to keep` });
  return undefined;
}

/** What cannot be made again from the stored layers: their archives are, their compressed forms are not. */
function blobsToKeep(plan: readonly PlannedLayer[]): Descriptor[] {
  return plan
    .filter(({ digest, blob, kind }) =>
      kind === "container"
        ? blob.digest !== digest
        : isTarLayer(blob.mediaType) && announcedCompression(blob.mediaType) !== "none",
    )
    .map(({ blob }) => blob);
}

/** Entries that a pull keeps for the merge instead of reading them back: about 40 MB. */
const KEPT_ENTRIES = 100_000;

async function importLayers(
  repository: Repository,
  source: ImageSource,
  plan: readonly PlannedLayer[],
  configRefs: ReadonlyMap<string, ObjectId>,
  options: PullOptions,
): Promise<{ layers: StoredLayer[]; stats: PullStats }> {
  const stats: PullStats = {
    newObjects: 0,
    presentObjects: 0,
    storedBytes: 0,
    inlineBytes: 0,
    reflinked: { objects: 0, bytes: 0 },
    hardlinked: { objects: 0, bytes: 0 },
    importedLayers: 0,
    skippedLayers: 0,
    sparedBytes: 0,
  };
  const stored = new Map<Digest, StoredLayer>();
  const missing: PlannedLayer[] = [];
  const distinct = new Map(plan.map((layer) => [layer.digest, layer]));
  for (const layer of distinct.values()) {
    const id = await usableLayer(repository, layer.digest, layer.kind, configRefs.get(layer.digest));
    if (id === undefined) {
      missing.push(layer);
      continue;
    }
    stored.set(layer.digest, { digest: layer.digest, id });
    stats.skippedLayers++;
    options.onProgress?.({ type: "done", id: layer.digest, skipped: true });
  }
  options.beforeImport?.(missing.reduce((sum, { blob }) => sum + blob.size, 0));
  // Largest first: the longest one decides when all are done.
  missing.sort((a, b) => b.blob.size - a.blob.size);
  const jobs = options.jobs ?? Math.min(availableParallelism(), 4);
  await using pool = new ObjectPool(repository.store.options);
  pool.expect(missing.reduce((sum, { blob }) => sum + blob.size, 0));
  const keepEntries = { left: KEPT_ENTRIES };
  const zeroCopy = new ZeroCopy(repository.store, options.localFetch ?? "auto", options.onProgress);
  const finder = options.wholeLayers === true ? undefined : new ContentFinder(repository);
  const context: LayerImport = { repository, source, pool, zeroCopy, keepEntries, stats, finder };
  await runBounded(missing, jobs, options.signal, async (layer, signal) => {
    stored.set(layer.digest, await importOne(context, layer, signal, options.onProgress));
    stats.importedLayers++;
  });
  return { layers: plan.map(({ digest }) => stored.get(digest) as StoredLayer), stats };
}

interface LayerImport {
  readonly repository: Repository;
  readonly source: ImageSource;
  readonly pool: ObjectPool;
  readonly zeroCopy: ZeroCopy;
  readonly keepEntries: EntryBudget;
  readonly stats: PullStats;
  /** Finds the files that need not be fetched; undefined where all shall be. */
  readonly finder: ContentFinder | undefined;
}

async function importOne(
  context: LayerImport,
  layer: PlannedLayer,
  signal: AbortSignal,
  onProgress: ProgressListener | undefined,
): Promise<StoredLayer> {
  if (layer.kind === "container" && context.source.unpackedLayer !== undefined) {
    return importUnpacked(context, layer, signal, onProgress);
  }
  const { repository, source, pool, keepEntries, stats, finder } = context;
  const { digest, blob, kind, name } = layer;
  onProgress?.({ type: "start", id: digest, kind: "layer", label: digest, total: blob.size });
  const advance = (done: number) => onProgress?.({ type: "advance", id: digest, done, total: blob.size });
  const content = source.blob(blob, { signal });
  let stored: StoredLayer;
  if (kind === "artifact" && !isTarLayer(blob.mediaType)) {
    const imported = await importBlob(repository, content, blob, { signal, onProgress: advance });
    stats[imported.created ? "newObjects" : "presentObjects"]++;
    if (imported.created) stats.storedBytes += blob.size;
    stored = { digest, id: imported.streamId };
  } else {
    const common = { name, pool, signal, onProgress: advance };
    const parts = { repository, source, finder, blob, diffId: digest, onProgress };
    const inParts = kind === "container" ? await importInParts(parts, { ...common, keepEntries }) : undefined;
    stats.sparedBytes += inParts?.spared ?? 0;
    const options: ImportLayerOptions = {
      ...common,
      ...(kind === "container" ? { diffId: digest, keepEntries } : {}),
      blob: { digest: blob.digest, size: blob.size },
      onCompression: (compression) => {
        if (compression === announcedCompression(blob.mediaType)) return;
        onProgress?.({
          type: "note",
          message: `${name} is called ${blob.mediaType}, its compression is: ${compression}`,
        });
      },
    };
    const imported = inParts?.imported ?? (await importLayer(repository, content, options));
    stored = counted(stats, imported, digest);
  }
  onProgress?.({ type: "done", id: digest });
  return stored;
}

/** A layer whose files lie in the source. It is tried again when another program changed it meanwhile. */
async function importUnpacked(
  { repository, source, pool, zeroCopy, keepEntries, stats }: LayerImport,
  { digest, name }: PlannedLayer,
  signal: AbortSignal,
  onProgress: ProgressListener | undefined,
): Promise<StoredLayer> {
  let gone: unknown;
  for (;;) {
    try {
      const layer = await (source as Required<ImageSource>).unpackedLayer(digest, { signal });
      const total = layer.size === undefined ? {} : { total: layer.size };
      onProgress?.({ type: "start", id: digest, kind: "layer", label: digest, ...total });
      const advance = (done: number) => onProgress?.({ type: "advance", id: digest, done, ...total });
      const options = { name, diffId: digest, pool, zeroCopy, keepEntries, signal, onProgress: advance };
      const stored = counted(stats, await importUnpackedLayer(repository, layer, options), digest);
      onProgress?.({ type: "done", id: digest });
      return stored;
    } catch (error) {
      if (gone !== undefined && error instanceof ComposefsError && error.code === "not-found") throw gone;
      if (gone !== undefined || !(error instanceof ComposefsError) || error.reason !== "vanished") throw error;
      gone = error;
    }
  }
}

function counted(stats: PullStats, { stats: own, streamId: id, entries }: ImportedLayer, digest: Digest): StoredLayer {
  stats.newObjects += own.newObjects;
  stats.presentObjects += own.presentObjects;
  stats.storedBytes += own.storedBytes;
  stats.inlineBytes += own.inlineBytes;
  for (const method of ["reflinked", "hardlinked"] as const) {
    stats[method].objects += own[method].objects;
    stats[method].bytes += own[method].bytes;
  }
  return entries === undefined ? { digest, id } : { digest, id, entries };
}

/** What a media type says about compression; the bytes decide. */
function announcedCompression(mediaType: string): Compression {
  return /[+.]gzip$/.test(mediaType) ? "gzip" : mediaType.endsWith("+zstd") ? "zstd" : "none";
}
