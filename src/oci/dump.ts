// `oci dump`: the tree of an image as dump text (docs/spec/oci.md, section 8; dumpfile.md, section 6).

import type { Repository } from "../repository/repository.ts";
import { dumpTree } from "../tree/dump.ts";
import { imageTree, type ImageTreeOptions } from "./image-tree.ts";

/**
 * The dump of an image, rebuilt from its layers.
 *
 * @param name tag, `@DIGEST`, `DIGEST` or `TAG@DIGEST`; of a manifest or a config
 * @returns lines as byte strings, each with its line feed
 */
export async function dumpImage(
  repository: Repository,
  name: string,
  options: ImageTreeOptions = {},
): Promise<Iterable<string>> {
  return dumpTree(await imageTree(repository, name, options), "rs");
}
