// Boot images of container images that are in the repository already (docs/spec/boot.md, section 2; oci.md, section 6.1): made for
// `oci prepare-boot`, and let go.

import type { ObjectId } from "../bytes/algorithm.ts";
import { repositoryBodies } from "../boot/boot-directory.ts";
import { type BootableTree, bootableTransform } from "../boot/bootable-transform.ts";
import type { FormatVersion } from "../core/erofs.ts";
import { ComposefsError } from "../error.ts";
import type { ProgressListener } from "../progress.ts";
import type { Repository } from "../repository/repository.ts";
import { CONFIG } from "../splitstream/content-type.ts";
import { type BootImage, buildBootImages } from "./boot-images.ts";
import { imageTree } from "./image-tree.ts";
import { compareImageRefs, imageRefKey, isBootImageRef, isImageRef } from "./image-refs.ts";
import { publish } from "./publish.ts";
import { withPublishLock } from "./publish-lock.ts";
import { linksToMake, storedDocument, storeDocument } from "./store-documents.ts";
import { openImage, requireContainer, type StoredImage } from "./stored-image.ts";
import { configStream } from "./streams.ts";

/** Options of {@link makeBootImages}. */
export interface MakeBootOptions {
  /** The repository's when left out. */
  readonly formats?: readonly FormatVersion[] | undefined;
  /** The object id that the config's stream must have; see `imageTree`. */
  readonly verity?: ObjectId | undefined;
  /** Instead of the usual ones, the boot image that has this id, whatever mode of xattrs and format it was made with. */
  readonly expectedDigest?: ObjectId | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

/** The boot images of an image, and what they are made of. */
export interface StoredBoot extends BootableTree {
  /** In the order of the formats. The bodies of the resources are inline, or objects of the repository. */
  readonly images: readonly BootImage[];
}

/**
 * Makes the boot images of a stored image where they are missing, and has its config refer to them, so that they are kept.
 *
 * @param name tag, `@DIGEST`, `DIGEST` or `TAG@DIGEST`
 * @throws ComposefsError as `bootableTransform`; `invalid` for an artifact
 * @example
 * ```ts
 * const { images, resources } = await makeBootImages(repository, "os:v1");
 * ```
 */
export async function makeBootImages(
  repository: Repository,
  name: string,
  options: MakeBootOptions = {},
): Promise<StoredBoot> {
  repository.checkWritable();
  const image = await openImage(repository, name);
  requireContainer(image);
  const { signal, verity, expectedDigest } = options;
  const transformed = await imageTree(repository, name, { signal, verity });
  const found = await bootableTransform(transformed, { readFile: repositoryBodies(repository), signal });
  const build = { ...options, known: image.imageRefs, transformed };
  const images = await buildBootImages(repository, image, build, { expectedDigest });
  await changeImageRefs(repository, image, signal, (refs) => {
    for (const { version, xattrs, id } of images) refs.set(imageRefKey({ version, boot: true, xattrs }), id);
  });
  return { ...found, images };
}

/**
 * Has the config of an image refer to no boot image any more, in whatever mode or format. The images themselves are left to the next
 * collection of garbage.
 *
 * @returns the ids that were referred to
 * @throws ComposefsError `not-found` for an unknown image
 */
export async function dropBootImages(
  repository: Repository,
  name: string,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<ObjectId[]> {
  repository.checkWritable();
  const image = await openImage(repository, name);
  const dropped = new Set<ObjectId>();
  await changeImageRefs(repository, image, options.signal, (refs) => {
    for (const [key, id] of refs) {
      if (!isBootImageRef(key)) continue;
      refs.delete(key);
      dropped.add(id);
    }
  });
  return [...dropped];
}

/** Changes which images a config refers to; manifests that name the config follow it. */
async function changeImageRefs(
  repository: Repository,
  { config }: StoredImage,
  signal: AbortSignal | undefined,
  change: (refs: Map<string, ObjectId>) => void,
): Promise<void> {
  const stream = configStream(config.digest);
  await withPublishLock(repository, signal, async () => {
    const stored = await storedDocument(repository, stream, config.digest, CONFIG);
    if (stored === undefined)
      throw new ComposefsError("corrupt", `the config ${config.digest} of ${config.id} is damaged`, {
        digest: config.digest,
        hint: "pull the image again",
      });
    const images = new Map([...stored.refs].filter(([key]) => isImageRef(key)));
    change(images);
    const others = [...stored.refs].filter(([key]) => !isImageRef(key));
    const refs = new Map([...others, ...[...images].toSorted(([a], [b]) => compareImageRefs(a, b))]);
    const id = await storeDocument(repository, stored, stored.bytes, CONFIG, refs);
    await publish(repository, {
      images: [...images.values()].filter((wanted) => repository.hasObject(wanted)),
      streams: await linksToMake(repository, new Map([[stream, id]]), undefined),
      refs: new Map(),
    });
  });
}
