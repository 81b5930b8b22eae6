// An image out of a repository, as an OCI layout or an archive of one (docs/spec/deployments.md, section 4.10): layers are the archives
// that were imported, byte for byte, so that config and diff ids stay what they were.

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
import { ComposefsError, systemError } from "../error.ts";
import type { ProgressListener } from "../progress.ts";
import type { Repository } from "../repository/repository.ts";
import { replaceFile } from "../runtime/replace-file.ts";
import { NO_XATTRS } from "../tree/node.ts";
import { layerName } from "./build-image.ts";
import type { Digest } from "./digest.ts";
import { digestHasher, parseDigest } from "./digest.ts";
import { streamBytes } from "./layer-bytes.ts";
import { LayoutWriter } from "./layout-write.ts";
import type { Descriptor } from "./manifest.ts";
import { splitLayoutName } from "./reference.ts";
import { openImage, requireContainer, type StoredImage } from "./stored-image.ts";
import { type NewTarEntry, tarStream } from "./tar-write.ts";

const LAYER = "application/vnd.oci.image.layer.v1.tar";
const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
// They describe the compressed form that a layer came in.
const OF_THE_BLOB = /^(?:io\.github\.containers\.zstd-chunked\.|io\.containers\.estargz\.|containerd\.io\/snapshot\/)/;

/** Options of {@link exportImage}. */
export interface ExportOptions {
  /** Write layers as plain tar archives; gzip otherwise, but for those that came uncompressed. */
  readonly uncompressed?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

/** What {@link exportImage} wrote. */
export interface ExportedImage {
  /** Digest of the manifest that was written; that of the image when its layers came as plain tar archives. */
  readonly manifest: Digest;
  readonly config: Digest;
  /** Digests of the blobs of the layers. */
  readonly layers: readonly Digest[];
}

/**
 * Exports an image.
 *
 * @param name tag, `@DIGEST`, `DIGEST` or `TAG@DIGEST`
 * @param target `oci:DIRECTORY[:TAG]` or `oci-archive:FILE[:TAG]`
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
  const { transport, path, tag } = parseExportTarget(target);
  const image = await openImage(repository, name);
  if (transport === "oci") return writeLayout(repository, image, LayoutWriter.open(path), tag, options);
  return writeArchive(repository, image, path, tag, options);
}

/** Takes a target apart. @throws ComposefsError `usage` for what cannot be written to */
export function parseExportTarget(target: string): {
  readonly transport: "oci" | "oci-archive";
  readonly path: string;
  readonly tag: string | undefined;
} {
  const colon = target.indexOf(":");
  const transport = target.slice(0, Math.max(colon, 0));
  const { path, tag } = splitLayoutName(target.slice(colon + 1));
  if ((transport === "oci" || transport === "oci-archive") && path !== "")
    return { transport, path, tag: tag === "" ? undefined : tag };
  const isStorage = ["containers-storage", "docker-daemon", "docker"].includes(transport);
  throw new ComposefsError("usage", `an image cannot be exported to ${JSON.stringify(target)}`, {
    hint: isStorage
      ? `export it to oci-archive:FILE, then run: skopeo copy oci-archive:FILE ${target}`
      : "the targets are oci:DIRECTORY[:TAG] and oci-archive:FILE[:TAG]",
  });
}

async function writeLayout(
  repository: Repository,
  image: StoredImage,
  layout: LayoutWriter,
  tag: string | undefined,
  options: ExportOptions,
): Promise<ExportedImage> {
  const { os, architecture } = requireContainer(image);
  const { manifest, config } = image;
  if (!manifest)
    throw new ComposefsError("invalid", `${image.name} is the digest of a config; an export needs the manifest`, {
      digest: config.digest,
      hint: "name the image by its tag or its manifest digest",
    });
  const layers: Descriptor[] = [];
  for (const [index, { digest, id }] of image.layers.entries()) {
    const old = manifest.value.layers[index] as Descriptor;
    const label = layerName(index, image.layers.length, digest);
    options.onProgress?.({ type: "start", id: digest, kind: "layer", label });
    layers.push(
      await writeLayer(layout, streamBytes(repository, id, options.signal), { old, diffId: digest }, options),
    );
    options.onProgress?.({ type: "done", id: digest });
  }
  await layout.put({ digest: config.digest, size: config.bytes.length }, [config.bytes]);
  const mediaType = manifest.value.mediaType ?? MANIFEST;
  const isSame = layers.every((layer, index) => layer === manifest.value.layers[index]);
  const bytes = isSame ? manifest.bytes : withLayers(manifest.bytes, layers, manifest.value.layers);
  const written = await layout.putBytes(bytes, mediaType);
  await layout.publish(written, tag, { os, architecture });
  return { manifest: written.digest, config: config.digest, layers: layers.map((layer) => layer.digest) };
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
}

async function writeLayer(
  layout: LayoutWriter,
  archive: AsyncIterable<Uint8Array>,
  { old, diffId }: LayerToWrite,
  { uncompressed = false, signal }: ExportOptions,
): Promise<Descriptor> {
  // It came as it is.
  if (old.digest === diffId) {
    await layout.put(old, archive, signal);
    return old;
  }
  const hasher = await digestHasher(diffId);
  async function* hashed(): AsyncGenerator<Uint8Array> {
    for await (const chunk of archive) {
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
  const blob = await layout.putNew(uncompressed ? hashed() : gzipped(hashed()), signal);
  const annotations = Object.entries(old.annotations ?? {}).filter(([key]) => !OF_THE_BLOB.test(key));
  return {
    mediaType: uncompressed ? LAYER : `${LAYER}+gzip`,
    ...blob,
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
    const exported = await writeLayout(repository, image, LayoutWriter.open(work), tag, options);
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
