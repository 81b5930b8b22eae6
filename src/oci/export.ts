// An image out of a repository, as an OCI layout, an archive of one, or onto a registry (docs/spec/deployments.md, section 4.10; oci.md,
// section 9): layers are the archives that were imported, byte for byte, so that config and diff ids stay what they were.

import {
  closeSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { createGzip } from "node:zlib";
import { utf8ByteString } from "../bytes/byte-string.ts";
import type { ObjectId } from "../bytes/algorithm.ts";
import { ComposefsError, systemError } from "../error.ts";
import type { ProgressListener } from "../progress.ts";
import type { Repository } from "../repository/repository.ts";
import { replaceFile } from "../runtime/replace-file.ts";
import { NO_XATTRS } from "../tree/node.ts";
import { layerName } from "./build-image.ts";
import type { Digest } from "./digest.ts";
import { digestHasher, parseDigest } from "./digest.ts";
import type { ImageTarget } from "./image-target.ts";
import { keptBlob, namedBlobs } from "./kept-blobs.ts";
import { streamBytes } from "./layer-bytes.ts";
import { LayoutWriter } from "./layout-write.ts";
import { type Descriptor, isTarLayer } from "./manifest.ts";
import { parseReference, splitLayoutName, type RegistryName } from "./reference.ts";
import type { RegistryOptions } from "./registry/requests.ts";
import { openImage, type StoredImage } from "./stored-image.ts";
import { type NewTarEntry, tarStream } from "./tar-write.ts";

const LAYER = "application/vnd.oci.image.layer.v1.tar";
const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
// They describe the compressed form that a layer came in.
const OF_THE_BLOB = /^(?:io\.github\.containers\.zstd-chunked\.|io\.containers\.estargz\.|containerd\.io\/snapshot\/)/;

/** Options of {@link exportImage}. */
export interface ExportOptions {
  /** Write layers as plain tar archives; gzip otherwise, but for those that came uncompressed or whose blobs were kept. */
  readonly uncompressed?: boolean | undefined;
  /** How to reach a registry. */
  readonly registry?: RegistryOptions | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

/** What {@link exportImage} wrote. */
export interface ExportedImage {
  /** Digest of the manifest that was written; that of the image when its layers came as plain archives or their blobs were kept. */
  readonly manifest: Digest;
  /** Whether it is the manifest of the image, so that signatures of that hold for what was written. */
  readonly isOriginal: boolean;
  readonly config: Digest;
  /** Digests of the blobs of the layers. */
  readonly layers: readonly Digest[];
}

/**
 * Exports an image.
 *
 * @param name tag, `@DIGEST`, `DIGEST` or `TAG@DIGEST`
 * @param target `oci:DIRECTORY[:TAG]`, `oci-archive:FILE[:TAG]` or `docker://NAME[:TAG]`
 * @throws ComposefsError `not-found` for the image; `digest-mismatch` when a layer is damaged; `usage` for another target; `exists` for a
 *   directory that is no layout
 * @example
 * ```ts
 * await exportImage(repository, "os:v1", "oci-archive:os.tar:v1");
 * ```
 */
export async function exportImage(
  repository: Repository,
  name: string,
  target: string,
  options: ExportOptions = {},
): Promise<ExportedImage> {
  const parsed = parseExportTarget(target);
  const image = await openImage(repository, name);
  if (parsed.transport === "docker") {
    // Loaded only here: nothing else of an export speaks HTTP.
    const { RegistryTarget } = await import("./registry/target.ts");
    await using registry = await RegistryTarget.open(parsed.name, {
      onProgress: options.onProgress,
      ...options.registry,
    });
    return await writeImage(repository, image, registry, options);
  }
  const { transport, path, tag } = parsed;
  if (transport === "oci") return writeImage(repository, image, layoutTarget(LayoutWriter.open(path), tag), options);
  return writeArchive(repository, image, path, tag, options);
}

/** A layout as a place that an image is written to. */
function layoutTarget(layout: LayoutWriter, tag: string | undefined): ImageTarget {
  return {
    async put(blob, content, signal) {
      if (!layout.has(blob)) await layout.put(blob, content(), signal);
    },
    putNew: (content, signal) => layout.putNew(content, signal),
    async publish(bytes, mediaType, platform) {
      const written = await layout.putBytes(bytes, mediaType);
      await layout.publish(written, tag, platform);
      return written;
    },
  };
}

/** A target, taken apart. */
export type ExportTarget =
  | { readonly transport: "oci" | "oci-archive"; readonly path: string; readonly tag: string | undefined }
  | { readonly transport: "docker"; readonly name: RegistryName };

/** Takes a target apart. @throws ComposefsError `usage` for what cannot be written to */
export function parseExportTarget(target: string): ExportTarget {
  if (/^(?:docker|registry):/.test(target)) return parseReference(target) as ExportTarget;
  const colon = target.indexOf(":");
  const transport = target.slice(0, Math.max(colon, 0));
  const { path, tag } = splitLayoutName(target.slice(colon + 1));
  if ((transport === "oci" || transport === "oci-archive") && path !== "")
    return { transport, path, tag: tag === "" ? undefined : tag };
  const isStorage = ["containers-storage", "docker-daemon", "docker-archive", "dir"].includes(transport);
  throw new ComposefsError("usage", `an image cannot be exported to ${JSON.stringify(target)}`, {
    hint: isStorage
      ? `export it to oci-archive:FILE, then run: skopeo copy oci-archive:FILE ${target}`
      : "the targets are oci:DIRECTORY[:TAG], oci-archive:FILE[:TAG] and docker://NAME[:TAG]",
  });
}

async function writeImage(
  repository: Repository,
  image: StoredImage,
  target: ImageTarget,
  options: ExportOptions,
): Promise<ExportedImage> {
  const { manifest, config } = image;
  const { os = "unknown", architecture = "unknown" } = config.value ?? {};
  if (!manifest)
    throw new ComposefsError("invalid", `${image.name} is the digest of a config; an export needs the manifest`, {
      digest: config.digest,
      hint: "name the image by its tag or its manifest digest",
    });
  const { signal, onProgress } = options;
  const kept = namedBlobs(repository, manifest.refs);
  const layers: Descriptor[] = [];
  for (const [index, { digest, id }] of image.layers.entries()) {
    const old = manifest.value.layers[index] as Descriptor;
    const repeated = image.layers.findIndex((layer) => layer.digest === digest);
    // The same archive may have come in several forms; each of them is written.
    if (repeated < index && manifest.value.layers[repeated]?.digest === old.digest) {
      layers.push(layers[repeated] === manifest.value.layers[repeated] ? old : (layers[repeated] as Descriptor));
      continue;
    }
    const label = layerName(index, image.layers.length, digest);
    onProgress?.({ type: "start", id: digest, kind: "layer", label });
    const layer = {
      old,
      diffId: digest,
      isContainer: image.isContainer,
      archive: () => streamBytes(repository, id, signal),
      blob: await keptContent(repository, old.digest, kept.get(old.digest), signal),
    };
    layers.push(await writeLayer(target, layer, options));
    onProgress?.({ type: "done", id: digest });
  }
  await target.put({ digest: config.digest, size: config.bytes.length }, () => [config.bytes], signal);
  const mediaType = manifest.value.mediaType ?? MANIFEST;
  const isSame = layers.every((layer, index) => layer === manifest.value.layers[index]);
  const bytes = isSame ? manifest.bytes : withLayers(manifest.bytes, layers, manifest.value.layers);
  const written = await target.publish(bytes, mediaType, { os, architecture }, signal);
  return {
    manifest: written.digest,
    isOriginal: isSame,
    config: config.digest,
    layers: layers.map((layer) => layer.digest),
  };
}

// What nobody here knows stays.
function withLayers(bytes: Uint8Array, layers: readonly Descriptor[], old: readonly Descriptor[]): Uint8Array {
  const document = JSON.parse(Buffer.from(bytes).toString("utf8")) as { layers: object[] };
  const changed = document.layers.map((layer, index) => (layers[index] === old[index] ? layer : layers[index]));
  return Buffer.from(JSON.stringify({ ...document, layers: changed }));
}

interface LayerToWrite {
  readonly old: Descriptor;
  readonly diffId: Digest;
  readonly isContainer: boolean;
  /** The archive as it was imported. */
  readonly archive: () => AsyncIterable<Uint8Array>;
  /** The blob that it came in, if that was kept. */
  readonly blob: (() => AsyncIterable<Uint8Array>) | undefined;
}

async function keptContent(
  repository: Repository,
  digest: Digest,
  named: ObjectId | undefined,
  signal: AbortSignal | undefined,
): Promise<LayerToWrite["blob"]> {
  const id = await keptBlob(repository, digest, named);
  return id === undefined ? undefined : () => streamBytes(repository, id, signal);
}

async function writeLayer(
  target: ImageTarget,
  { old, diffId, isContainer, archive, blob }: LayerToWrite,
  { uncompressed = false, signal }: ExportOptions,
): Promise<Descriptor> {
  if (blob !== undefined && !uncompressed) {
    await target.put(old, blob, signal);
    return old;
  }
  if (!isContainer && isTarLayer(old.mediaType) && /[+.](?:gzip|zstd)$/.test(old.mediaType)) {
    throw new ComposefsError("unsupported", `the layer ${old.digest} of the artifact is stored unpacked only`, {
      digest: old.digest,
      hint: "an artifact's layers are known by their compressed form: pull it again with --keep-compressed",
    });
  }
  // It came as it is.
  if (old.digest === diffId) {
    await target.put(old, archive, signal);
    return old;
  }
  const hasher = await digestHasher(diffId);
  async function* hashed(): AsyncGenerator<Uint8Array> {
    for await (const chunk of archive()) {
      hasher.update(chunk);
      yield chunk;
    }
    const actual = `${parseDigest(diffId).algorithm}:${hasher.digest("hex")}`;
    if (actual !== diffId)
      throw new ComposefsError("digest-mismatch", `the layer ${diffId} is stored with another content: ${actual}`, {
        digest: diffId,
        hint: "the repository is damaged; pull the image again",
      });
  }
  const written = await target.putNew(uncompressed ? hashed() : gzipped(hashed()), signal);
  const annotations = Object.entries(old.annotations ?? {}).filter(([key]) => !OF_THE_BLOB.test(key));
  return {
    mediaType: uncompressed ? LAYER : `${LAYER}+gzip`,
    ...written,
    ...(annotations.length > 0 && { annotations: Object.fromEntries(annotations) }),
  };
}

// Chunks are copied: their buffers are used again before zlib has read them.
async function* gzipped(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  async function* copies(): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) yield Buffer.from(chunk);
  }
  const source = Readable.from(copies(), { objectMode: false });
  const zip = createGzip();
  source.on("error", (error) => zip.destroy(error));
  source.pipe(zip);
  try {
    for await (const chunk of zip) yield chunk as Uint8Array;
  } finally {
    source.destroy();
  }
}

async function writeArchive(
  repository: Repository,
  image: StoredImage,
  path: string,
  tag: string | undefined,
  options: ExportOptions,
): Promise<ExportedImage> {
  let work: string;
  try {
    work = mkdtempSync(join(dirname(path), ".composefs-export-"));
  } catch (error) {
    throw systemError(error, `writing ${path}`, path);
  }
  try {
    const exported = await writeImage(repository, image, layoutTarget(LayoutWriter.open(work), tag), options);
    await replaceFile(path, async (fd) => {
      for await (const chunk of tarStream(archiveEntries(work), options.signal))
        for (let at = 0; at < chunk.length; ) at += writeSync(fd, chunk, at);
    });
    return exported;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

// `oci-layout` and the index come last, as in archives of other tools the order does not matter.
function* archiveEntries(directory: string): Generator<NewTarEntry> {
  const stat = { mode: 0o644, uid: 0, gid: 0, mtimeSec: 0n, mtimeNsec: 0, xattrs: NO_XATTRS };
  for (const name of (readdirSync(directory, { recursive: true }) as string[]).sort()) {
    const path = utf8ByteString(name);
    const full = join(directory, name);
    if (statSync(full).isDirectory()) {
      yield { path, type: "directory", stat: { ...stat, mode: 0o755 } };
      continue;
    }
    const fd = openSync(full, "r");
    try {
      const read = (position: number, length: number) => {
        const bytes = Buffer.alloc(length);
        return bytes.subarray(0, readSync(fd, bytes, 0, length, position));
      };
      yield { path, type: "file", stat, content: { size: fstatSync(fd).size, read } };
    } finally {
      closeSync(fd);
    }
  }
}
