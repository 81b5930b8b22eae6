// `image-objects`: what an image of a repository refers to (docs/spec/repository.md, section 7.2).

import type { ObjectId } from "../bytes/algorithm.ts";
import { imageObjectList } from "../image/object-list.ts";
import type { Repository } from "./repository.ts";

/** No image is larger (docs/spec/erofs.md, section 17). */
export const MAX_IMAGE_BYTES = 1 << 30;

/**
 * The objects that an image refers to, sorted. The image itself is verified, the objects are not looked at.
 *
 * @param name an image id (also with its prefix, or shortened), or the name of a ref
 * @throws ComposefsError `not-found`, `corrupt`, `invalid`
 */
export async function imageObjects(repository: Repository, name: string): Promise<ObjectId[]> {
  const { id } = repository.resolveImage(name);
  const image = await repository.readObject(id, { limit: MAX_IMAGE_BYTES });
  return imageObjectList(image, repository.algorithm);
}
