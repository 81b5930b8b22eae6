// The tree of an image in a repository (docs/spec/repository.md, section 3).

import { readTree } from "../image/read.ts";
import type { Directory } from "../tree/node.ts";
import { withStoredImage } from "./image-file.ts";
import type { Repository } from "./repository.ts";

/**
 * Reads the tree of an image.
 *
 * @param image its id, or `refs/NAME`
 * @throws ComposefsError `not-found` when there is no such image, `corrupt` when it is damaged
 */
export function storedTree(repository: Repository, image: string): Directory {
  return withStoredImage(repository.store, repository.resolveImage(image).id, (fd, options) => readTree(fd, options));
}
