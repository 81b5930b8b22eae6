// The tree of a stored image, rebuilt from its layers: for `oci dump` and `oci compute-id`, which write nothing
// (docs/spec/oci.md, section 8).

import type { ObjectId } from "../bytes/algorithm.ts";
import { repositoryBodies } from "../boot/boot-directory.ts";
import { bootableTransform, type EmptiedMtimes } from "../boot/bootable-transform.ts";
import { ComposefsError } from "../error.ts";
import type { Repository } from "../repository/repository.ts";
import type { Directory } from "../tree/node.ts";
import type { XattrMode } from "../tree/xattr-filter.ts";
import { buildTree, layerName } from "./build-image.ts";
import { verifyLayer } from "./layer-bytes.ts";
import { openImage, requireContainer, type StoredImage } from "./stored-image.ts";

/** Options of {@link imageTree}. */
export interface ImageTreeOptions {
  xattrs?: XattrMode | undefined;
  /** Apply the bootable transform, as `oci pull --bootable` does. */
  bootable?: boolean | undefined;
  /** With `bootable`: what /boot and /sysroot take of the time of /usr; `seconds` when left out. */
  mtimes?: EmptiedMtimes | undefined;
  /**
   * The expected object id of the config's stream. With it, an image named by its config is trusted as the stream says;
   * without, its layers are verified against their diff_ids.
   */
  verity?: ObjectId | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Builds the tree of an image.
 *
 * @throws ComposefsError `invalid` for artifacts, `digest-mismatch` when the config's stream is not `verity` or a
 *   layer is not what its diff_id says; with `bootable` as `bootableTransform`
 */
export async function imageTree(
  repository: Repository,
  name: string,
  options: ImageTreeOptions = {},
): Promise<Directory> {
  const image = await openImage(repository, name);
  requireContainer(image);
  await checkConfig(repository, image, options);
  const { xattrs, signal, mtimes, bootable = false } = options;
  const tree = await buildTree(repository, image.layers, { signal, ...(xattrs === undefined ? {} : { xattrs }) });
  if (bootable) await bootableTransform(tree, { readFile: repositoryBodies(repository), mtimes, signal });
  return tree;
}

async function checkConfig(repository: Repository, image: StoredImage, options: ImageTreeOptions): Promise<void> {
  const { verity, signal } = options;
  if (verity !== undefined) {
    if (image.config.id === verity.toLowerCase()) return;
    throw new ComposefsError(
      "digest-mismatch",
      `the config of ${image.name} has the fs-verity digest ${image.config.id}, not ${verity}`,
      { digest: image.config.digest },
    );
  }
  if (image.manifest !== undefined) return;
  for (const [i, { digest, id }] of image.layers.entries()) {
    await verifyLayer(repository, id, digest, layerName(i, image.layers.length, digest), signal);
  }
}
