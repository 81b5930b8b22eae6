// `image-objects`: what an image of a repository refers to (docs/spec/repository.md, section 7.2).

import type { ObjectId } from "../bytes/algorithm.ts";
import { ErofsReader } from "../core/erofs-read.ts";
import { imageObjects as objectsOf } from "../image/objects.ts";
import { withStoredImage } from "./image-file.ts";
import type { ObjectStore } from "./object-store.ts";
import type { Repository } from "./repository.ts";

/**
 * The objects that an image refers to, sorted. The image itself is verified, the objects are not looked at.
 *
 * @param name an image id (also with its prefix, or shortened), or the name of a ref
 * @throws ComposefsError `not-found`, `corrupt`, `invalid`
 */
export async function imageObjects(repository: Repository, name: string): Promise<ObjectId[]> {
  return storedImageObjects(repository.store, repository.resolveImage(name).id);
}

/**
 * The same as text for large images: pieces of whole lines, an id each, in order. A piece is valid until the next one.
 *
 * @example
 * ```ts
 * for (const lines of imageObjectLines(repository, "refs/os")) process.stdout.write(lines);
 * ```
 */
export function* imageObjectLines(repository: Repository, name: string): Generator<Uint8Array, void, undefined> {
  const { id } = repository.resolveImage(name);
  using reader = withStoredImage(repository.store, id, (fd, options) => new ErofsReader(fd, options));
  reader.objects();
  yield* reader.pieces();
}

/** {@link imageObjects} by id. */
export function storedImageObjects(store: ObjectStore, id: ObjectId): ObjectId[] {
  return withStoredImage(store, id, objectsOf);
}
