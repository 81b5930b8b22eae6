// Pulls an image into a repository (docs/spec/oci.md, section 6): resolve, check, import the layers that are missing,
// build, publish. Everything is verified before the first link is made, so a refused image leaves only objects.

import { DIGEST_SIZE, isObjectId, type ObjectId } from "../bytes/algorithm.ts";
import { ComposefsError } from "../error.ts";
import type { Repository } from "../repository/repository.ts";
import { CONFIG } from "../splitstream/content-type.ts";
import type { BootRequest } from "./boot-images.ts";
import { commitImage, type ImageParts } from "./commit.ts";
import { isTarLayer, type Descriptor } from "./manifest.ts";
import { aboutImage, withoutBootImage } from "./pull-errors.ts";
import type { ImageReference } from "./reference.ts";
import { readDocument } from "./source/document.ts";
import { KeepingSource } from "./source/keeping.ts";
import { openSource } from "./source/open.ts";
import type { ImageSource } from "./source/source.ts";
import { configStream, readDocumentStream } from "./streams.ts";
import { checkTag } from "./tag-name.ts";
import { importLayers } from "./pull-layers.ts";
import type { PullOptions, PullResult } from "./pull-options.ts";
import { announcedCompression, planLayers, type PlannedLayer, type ResolvedImage, resolveImage } from "./pull-plan.ts";

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
