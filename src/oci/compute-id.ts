// `oci compute-id`: the image id that an image has or would have, in any format and xattr mode
// (docs/spec/oci.md, section 8). Writes nothing.

import type { ObjectId } from "../bytes/algorithm.ts";
import type { FormatVersion } from "../core/erofs.ts";
import { imageId } from "../image/write.ts";
import type { Repository } from "../repository/repository.ts";
import { imageTree, type ImageTreeOptions } from "./image-tree.ts";

/** Options of {@link computeImageId}. */
export interface ComputeIdOptions extends ImageTreeOptions {
  /** The format; the repository's default when left out. */
  version?: FormatVersion | undefined;
}

/**
 * Computes an image id from the layers.
 *
 * @param name tag, `@DIGEST`, `DIGEST` or `TAG@DIGEST`; of a manifest or a config
 */
export async function computeImageId(
  repository: Repository,
  name: string,
  options: ComputeIdOptions = {},
): Promise<ObjectId> {
  const version = options.version ?? repository.formats[0] ?? 1;
  const tree = await imageTree(repository, name, options);
  return imageId(tree, { version, algorithm: repository.algorithm, dialect: "rs" }).id;
}
