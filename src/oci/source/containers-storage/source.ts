// Images in the store of podman, `containers-storage:` (docs/spec/containers-storage.md): documents from its big data, layers put together
// again from their files. Reads only; what it says is verified by whoever imports it.

import { lstatSync } from "node:fs";

import { ComposefsError, throwIfAborted } from "../../../error.ts";
import { parseImageConfig } from "../../config.ts";
import { contentDigest, isDigest, type Digest } from "../../digest.ts";
import { isContainerManifest, mediaTypeKind, parseManifest, type Descriptor, type Manifest } from "../../manifest.ts";
import { formatPlatform, platformRank } from "../../platform.ts";
import type { FileContent, ImageSource, ResolvedManifest, ResolveOptions, UnpackedLayer } from "../source.ts";
import { readBigData } from "./big-data.ts";
import { findStores, type StoreSelection } from "./discover.ts";
import { storageError } from "./fault.ts";
import { findImage, type FoundImage } from "./find-image.ts";
import { readImages, type StoredImage } from "./image-index.ts";
import { layersOfImage, type ListedLayer, readLayers } from "./layer-index.ts";
import { rebuildArchive } from "./rebuild.ts";
import { parseStorageReference } from "./storage-reference.ts";
import { layersStamp, lockLayers } from "./store-lock.ts";
import { recipeLines, recipeText } from "./tar-split.ts";
import { NamespaceReader } from "./namespace-reader.ts";

/** An image in a store. */
export class ContainersStorageSource implements ImageSource {
  readonly transport = "containers-storage";
  readonly #roots: readonly string[];
  readonly #found: FoundImage;
  readonly #documents = new Map<Digest, Uint8Array>();
  #diffIds: readonly Digest[] = [];

  private constructor(roots: readonly string[], found: FoundImage) {
    this.#roots = roots;
    this.#found = found;
  }

  /**
   * Finds the stores, and the image in them.
   *
   * @param name what follows `containers-storage:`
   * @param selection the stores; a root in the name comes before it
   * @throws ComposefsError with the reasons `no-store`, `driver`, `bad-index`, `no-image`, `ambiguous`
   */
  static async open(name: string, selection: StoreSelection = {}): Promise<ContainersStorageSource> {
    const reference = parseStorageReference(name);
    const roots = await findStores({
      root: reference.root ?? selection.root,
      additional: [...reference.additional, ...(selection.additional ?? [])],
    });
    return new ContainersStorageSource(roots, findImage(roots.flatMap(readImages), reference.name));
  }

  async resolve({ platform }: ResolveOptions = {}): Promise<ResolvedManifest> {
    const { image } = this.#found;
    const resolved = this.#chooseManifest();
    const manifest = parseManifest(resolved.bytes, describe(image, "manifest"));
    const config = this.#readConfig(manifest.config);
    if (isContainerManifest(manifest) || resolved.mediaType.includes("docker")) {
      const parsed = parseImageConfig(config, describe(image, "config"));
      if (platform !== undefined && platformRank(parsed, platform) === undefined) {
        throw new ComposefsError(
          "not-found",
          `${describe(image, "image")} is for ${formatPlatform(parsed)}, not for ${formatPlatform(platform)}`,
          { hint: "pull the other one with `podman pull --platform OS/ARCH` first" },
        );
      }
      this.#diffIds = parsed.diffIds;
    }
    return resolved;
  }

  async *blob(descriptor: Descriptor): AsyncIterable<Uint8Array> {
    const document = this.#documents.get(descriptor.digest);
    if (document !== undefined) yield document;
    else {
      const { image } = this.#found;
      throw new ComposefsError("not-found", `${describe(image, "image")} does not have the blob ${descriptor.digest}`, {
        digest: descriptor.digest,
        hint: "container stores keep the layers of container images only, unpacked",
      });
    }
  }

  async unpackedLayer(diffId: Digest): Promise<UnpackedLayer> {
    const stamps = new Map(this.#roots.map((root) => [root, layersStamp(root)]));
    const listed = layersOfImage(this.#roots.flatMap(readLayers), this.#found.image.layer, this.#diffIds);
    const place = this.#diffIds.indexOf(diffId);
    const layer = listed[place];
    if (layer === undefined)
      throw new ComposefsError("internal", `${diffId} is no layer of the image`, { digest: diffId });
    const where = `layer ${place + 1} of ${listed.length} (${diffId})`;
    return {
      size: layer.size,
      pieces: (signal) => pieces(layer, where, diffId, stamps.get(layer.root) as string, signal),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#documents.clear();
  }

  /** The manifest that was asked for; that under which the image was stored; the one of the store. */
  #chooseManifest(): ResolvedManifest {
    const { image, manifestDigest } = this.#found;
    const current = this.#readManifest("manifest", image.digests.get("manifest"));
    for (const digest of [manifestDigest, image.digest]) {
      if (digest === undefined || digest === current?.digest || !isDigest(digest)) continue;
      const other = this.#readManifest(`manifest-${digest}`, digest);
      if (other !== undefined && this.#describes(other)) return other;
    }
    if (current !== undefined) return current;
    throw storageError("no-manifest", `${describe(image, "image")} has no manifest`, { path: directoryOf(image) });
  }

  /** Whether a manifest is that of an image whose config is here, and not an index. */
  #describes({ bytes, mediaType }: ResolvedManifest): boolean {
    if (mediaTypeKind(mediaType) === "index") return false;
    let manifest: Manifest;
    try {
      manifest = parseManifest(bytes);
    } catch {
      return false;
    }
    return readBigData(directoryOf(this.#found.image), manifest.config.digest) !== undefined;
  }

  #readManifest(key: string, expected: string | undefined): ResolvedManifest | undefined {
    const { image } = this.#found;
    const path = directoryOf(image);
    const bytes = readBigData(path, key);
    if (bytes === undefined) return undefined;
    const digest = contentDigest(bytes);
    if (expected !== undefined && digest !== expected) {
      throw storageError("manifest-digest", `the ${key} of ${describe(image, "image")} is ${digest}, not ${expected}`, {
        digest: expected,
        path,
      });
    }
    return { bytes, digest, mediaType: mediaTypeOf(bytes) };
  }

  #readConfig({ digest }: Descriptor): Uint8Array {
    const { image } = this.#found;
    const path = directoryOf(image);
    const bytes = readBigData(path, digest) ?? readBigData(path, `sha256:${image.id}`);
    if (bytes === undefined) {
      throw storageError("no-config", `${describe(image, "image")} has no config ${digest}`, { path, digest });
    }
    const actual = contentDigest(bytes);
    if (digest.startsWith("sha256:") && actual !== digest) {
      throw storageError("config-digest", `the config of ${describe(image, "image")} is ${actual}, not ${digest}`, {
        path,
        digest,
      });
    }
    this.#documents.set(digest, bytes);
    return bytes;
  }
}

async function* pieces(
  layer: ListedLayer,
  where: string,
  diffId: Digest,
  stamp: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array | FileContent, void, undefined> {
  let lock = await lockLayers(layer.root, signal);
  const directory = `${layer.root}/overlay/${layer.id}`;
  const recipe = `${layer.root}/overlay-layers/${layer.id}.tar-split.gz`;
  await using reader = new NamespaceReader(`${directory}/diff`);
  try {
    if (!exists(recipe)) {
      throw storageError("no-tar-split", `${where} has no recipe of its archive: ${recipe} is missing`, {
        path: recipe,
        digest: diffId,
      });
    }
    if (!exists(`${directory}/diff`)) {
      throw storageError("layer-missing", `${where} is not in the container store: ${directory}/diff is missing`, {
        path: directory,
        digest: diffId,
      });
    }
    refuseComposefsForm(directory, where);
    yield* rebuildArchive(recipeLines(recipeText(recipe, layer.size), recipe), `${directory}/diff`, {
      name: `${where}: ${recipe}`,
      async unreadable(parts, refusal) {
        if (reader.started) return reader.open(parts, refusal);
        // podman, which starts the helper, takes the lock for itself meanwhile.
        lock[Symbol.dispose]();
        const file = await reader.open(parts, refusal);
        lock = await lockLayers(layer.root, signal);
        return file;
      },
      signal,
    });
  } catch (error) {
    throwIfAborted(signal);
    throw vanished(error, layer, where, stamp) ?? error;
  } finally {
    lock[Symbol.dispose]();
  }
}

/** The error to report when something is missing because another program took it away. */
function vanished(error: unknown, layer: ListedLayer, where: string, stamp: string): ComposefsError | undefined {
  if (!(error instanceof ComposefsError)) return undefined;
  if (!["missing", "no-tar-split", "layer-missing", "format"].includes(error.reason ?? "")) return undefined;
  if (layersStamp(layer.root) === stamp) return undefined;
  return storageError("vanished", `${where} was removed or changed while it was read: ${error.message}`, {
    cause: error,
    path: `${layer.root}/overlay/${layer.id}`,
    hint: "is podman running? Run the same command again when it is done",
  });
}

function refuseComposefsForm(directory: string, where: string): void {
  const blob = `${directory}/composefs-data/composefs.blob`;
  if (!exists(blob)) return;
  throw new ComposefsError(
    "unsupported",
    `${where} is stored in the composefs form of its driver, which is not read: ${blob}`,
    {
      path: blob,
      hint: "copy the image into a layout and pull that: skopeo copy containers-storage:NAME oci:DIR:TAG",
    },
  );
}

function exists(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

function directoryOf({ root, id }: StoredImage): string {
  return `${root}/overlay-images/${id}`;
}

function describe({ id, names, root }: StoredImage, what: string): string {
  return `the ${what} ${names[0] ?? id.slice(0, 12)} in ${root}`;
}

function mediaTypeOf(bytes: Uint8Array): string {
  try {
    const { mediaType } = JSON.parse(Buffer.from(bytes).toString("utf8")) as { mediaType?: unknown };
    return typeof mediaType === "string" ? mediaType : "";
  } catch {
    return "";
  }
}
