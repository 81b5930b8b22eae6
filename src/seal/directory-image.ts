// A root file system on disk as an image of one layer: scanned, written as a tar archive, and imported like any other layer, so that
// the digest is that of the layer and not of what happened to be on the disk later.

import { join } from "node:path";
import { openFileSource } from "../boot/file-source.ts";
import { bytesSource } from "../boot/pe/read.ts";
import { type ByteString, compareBytes, displayBytes, fromByteString } from "../bytes/byte-string.ts";
import { ComposefsError } from "../error.ts";
import { commitImage } from "../oci/commit.ts";
import { digestHasher } from "../oci/digest.ts";
import { importLayer } from "../oci/layer/import.ts";
import { type Descriptor, MEDIA_TYPE, parseManifest } from "../oci/manifest.ts";
import { hostPlatform, type Platform } from "../oci/platform.ts";
import { checkTag } from "../oci/tag-name.ts";
import { type NewTarEntry, tarStream } from "../oci/tar-write.ts";
import type { ProgressListener } from "../progress.ts";
import type { Repository } from "../repository/repository.ts";
import { directoryTree } from "../tree/directory-tree.ts";
import { Directory, type Leaf } from "../tree/node.ts";
import { newConfig, newManifest } from "./documents.ts";

/** Options of {@link storeDirectory}. */
export interface StoreDirectoryOptions {
  readonly tag: string;
  /** Of the image; this machine's when left out. */
  readonly platform?: Platform | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

/**
 * Stores a directory as a container image with one layer, and tags it.
 *
 * @throws ComposefsError as a scan; `invalid` when a file changes meanwhile, or when the directory is no root file system
 */
export async function storeDirectory(
  repository: Repository,
  path: string,
  { tag, platform = hostPlatform(), signal, onProgress }: StoreDirectoryOptions,
): Promise<void> {
  const { algorithm } = repository;
  const { root } = await directoryTree(path, { algorithms: [algorithm], containerRoot: false, signal, onProgress });
  const hasher = await digestHasher("sha256:".padEnd(71, "0"));
  let size = 0;
  async function* observed(): AsyncIterable<Uint8Array> {
    for await (const chunk of tarStream(directoryEntries(root, path, onProgress), signal)) {
      hasher.update(chunk);
      size += chunk.length;
      yield chunk;
    }
  }
  const id = `layer of ${path}`;
  onProgress?.({ type: "start", id, kind: "layer", label: path });
  const { streamId, diffId } = await importLayer(repository, observed(), {
    name: path,
    ...(signal === undefined ? {} : { signal }),
    onProgress: (done) => onProgress?.({ type: "advance", id, done }),
  });
  onProgress?.({ type: "done", id });
  const layer: Descriptor = { mediaType: MEDIA_TYPE.ociLayer, digest: `sha256:${hasher.digest("hex")}`, size };
  const config = newConfig(platform.architecture, platform.os, diffId);
  const manifest = newManifest(config, layer);
  const parts = {
    manifestDigest: manifest.digest,
    manifestBytes: manifest.bytes,
    manifest: parseManifest(manifest.bytes),
    configDigest: config.digest,
    configBytes: config.bytes,
    isContainer: true,
    layers: [{ digest: diffId, id: streamId }],
  };
  await commitImage(repository, parts, { tagFile: checkTag(tag), formats: [2], signal, onProgress });
}

/** The tree as entries of an archive, parents first, names in byte order; later names of a file are hard links to its first. */
function* directoryEntries(
  root: Directory,
  path: string,
  onProgress: ProgressListener | undefined,
): Generator<NewTarEntry, void, undefined> {
  const places = new Map<Leaf, ByteString>();
  yield { path: "", type: "directory", stat: root.stat };
  const pending: { path: ByteString; directory: Directory }[] = [{ path: "", directory: root }];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const names = [...next.directory.entries].toSorted(([a], [b]) => compareBytes(a, b));
    const below: typeof pending = [];
    for (const [name, node] of names) {
      const place = next.path === "" ? name : `${next.path}/${name}`;
      if (node instanceof Directory) {
        yield { path: place, type: "directory", stat: node.stat };
        below.push({ path: place, directory: node });
        continue;
      }
      const first = places.get(node);
      if (first === undefined) {
        places.set(node, place);
        yield* leafEntry(node, place, path, onProgress);
      } else yield { path: place, type: "hardlink", stat: node.stat, link: first };
    }
    pending.push(...below.toReversed());
  }
}

function* leafEntry(
  { stat, content }: Leaf,
  place: ByteString,
  root: string,
  onProgress: ProgressListener | undefined,
): Generator<NewTarEntry, void, undefined> {
  switch (content.kind) {
    case "inline":
      yield { path: place, type: "file", stat, content: bytesSource(content.bytes) };
      return;
    case "external": {
      // Names are bytes, and need not be text.
      using file = openFileSource(Buffer.concat([Buffer.from(join(root, "/")), fromByteString(place)]));
      if (file.size !== content.size) {
        throw new ComposefsError("invalid", `${displayBytes(place)} was changed while ${root} was read`, {
          path: displayBytes(place),
          hint: "is something writing to it?",
        });
      }
      yield { path: place, type: "file", stat, content: file };
      return;
    }
    case "symlink":
      yield { path: place, type: "symlink", stat, link: content.target };
      return;
    case "char":
    case "block":
      yield { path: place, type: content.kind, stat, rdev: content.rdev };
      return;
    case "fifo":
      yield { path: place, type: "fifo", stat };
      return;
    default:
      onProgress?.({ type: "warning", message: `the socket ${displayBytes(place)} is left out: layers have none` });
  }
}
