// The image that will be sealed, wherever it comes from: in a repository, where its tree can be built and its files read, with its
// layers as blobs for the result. Images from elsewhere go through a repository of their own, which is removed afterwards.

import { join } from "node:path";
import type { Algorithm } from "../bytes/algorithm.ts";
import { ComposefsError } from "../error.ts";
import { streamBytes } from "../oci/layer-bytes.ts";
import { type Descriptor, MEDIA_TYPE } from "../oci/manifest.ts";
import type { Platform } from "../oci/platform.ts";
import { pullFrom } from "../oci/pull.ts";
import { parseReference } from "../oci/reference.ts";
import { openSource } from "../oci/source/open.ts";
import { openImage, requireContainer, type StoredImage, type StoredManifest } from "../oci/stored-image.ts";
import type { ProgressListener } from "../progress.ts";
import { Repository } from "../repository/repository.ts";
import { storeDirectory } from "./directory-image.ts";

/** What is to be sealed. */
export type SealSource =
  /** An image reference, as `oci:./image:v1`. */
  | { readonly kind: "reference"; readonly reference: string }
  /** An image of a repository, by tag or digest. */
  | { readonly kind: "stored"; readonly repository: Repository; readonly name: string }
  /** A root file system on disk. */
  | { readonly kind: "directory"; readonly path: string };

/** Options of {@link openBase}. */
export interface BaseOptions {
  /** Hash for images that are not in a repository yet. */
  readonly algorithm: Algorithm;
  /** An empty directory for what is only needed meanwhile. */
  readonly workDirectory: string;
  readonly platform?: Platform | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

/** The opened image; dispose of it with `await using`. */
export interface Base extends AsyncDisposable {
  readonly repository: Repository;
  readonly image: StoredImage;
  /** An OCI manifest, never Docker's. */
  readonly manifest: StoredManifest;
  /** Its layers as the result can have them, lowest first. */
  readonly layers: readonly Descriptor[];
  /** The bytes of one of these layers. */
  readonly blob: (layer: Descriptor) => AsyncIterable<Uint8Array>;
}

const NAME = "base";

/**
 * Opens the image; what is not in a repository is verified as by a pull.
 *
 * @throws ComposefsError what a pull or a scan throws; `invalid` for artifacts, and configs without a manifest
 */
export async function openBase(source: SealSource, options: BaseOptions): Promise<Base> {
  if (source.kind === "stored") {
    return storedBase(source.repository, source.name, options, async () => {});
  }
  const { algorithm, workDirectory, signal, onProgress, platform } = options;
  const path = join(workDirectory, "repository");
  await Repository.init(path, { algorithm, insecure: true });
  const repository = await Repository.open(path, { write: true });
  const close = async () => repository[Symbol.asyncDispose]();
  try {
    if (source.kind === "directory") {
      await storeDirectory(repository, source.path, { tag: NAME, platform, signal, onProgress });
      return await storedBase(repository, NAME, options, close);
    }
    const name = source.reference;
    const parsed = parseReference(name);
    if (parsed.transport === "docker") {
      throw new ComposefsError("unsupported", `sealing does not fetch ${name}: only a pull uses the network`, {
        hint: `pull it first, as with \`composefs oci pull ${name} NAME\`, and seal NAME`,
      });
    }
    const images = await openSource(parsed, onProgress === undefined ? {} : { onProgress });
    const closeBoth = async () => {
      await images[Symbol.asyncDispose]();
      await close();
    };
    try {
      await pullFrom(repository, images, { tag: NAME, name, formats: [2], platform, signal, onProgress });
      const base = await storedBase(repository, NAME, options, closeBoth);
      const blob = (layer: Descriptor) => images.blob(layer, signal === undefined ? {} : { signal });
      return { ...base, layers: base.manifest.value.layers, blob };
    } catch (error) {
      await images[Symbol.asyncDispose]();
      throw error;
    }
  } catch (error) {
    await close();
    throw error;
  }
}

/** Layers of a repository are there as archives, not in the form that they were fetched in. */
async function storedBase(
  repository: Repository,
  name: string,
  { signal }: BaseOptions,
  close: () => Promise<void>,
): Promise<Base> {
  const image = await openImage(repository, name);
  requireContainer(image);
  const { manifest } = image;
  if (manifest === undefined) {
    throw new ComposefsError("invalid", `${name} is the digest of a config; sealing needs the manifest`, {
      digest: image.config.digest,
      hint: "name the image by its tag or its manifest digest",
    });
  }
  const ids = new Map(image.layers.map(({ digest, id }) => [digest, id]));
  const layers: Descriptor[] = [];
  for (const { digest, id } of image.layers) {
    const { size } = await repository.openStream(id);
    layers.push({ mediaType: MEDIA_TYPE.ociLayer, digest, size: Number(size) });
  }
  const blob = ({ digest }: Descriptor): AsyncIterable<Uint8Array> => {
    const id = ids.get(digest);
    if (id === undefined) throw new ComposefsError("internal", `no layer ${digest}`, { digest });
    return streamBytes(repository, id, signal);
  };
  return { repository, image, manifest, layers, blob, [Symbol.asyncDispose]: close };
}
