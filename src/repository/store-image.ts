// From a tree to an image among the objects (docs/spec/repository.md, section 5).

import type { ObjectId } from "../bytes/algorithm.ts";
import type { FormatVersion } from "../core/erofs.ts";
import { ComposefsError } from "../error.ts";
import { writeImage } from "../image/write.ts";
import type { Directory } from "../tree/node.ts";
import type { Repository } from "./repository.ts";

/**
 * Writes the image of a tree as an object. Links nothing.
 *
 * @returns the image id
 */
export async function storeImage(repository: Repository, tree: Directory, version: FormatVersion): Promise<ObjectId> {
  const sink = repository.newObject();
  let id: ObjectId;
  try {
    ({ id } = writeImage(tree, { version, algorithm: repository.algorithm, dialect: "rs" }, (chunk) =>
      sink.write(chunk),
    ));
  } catch (error) {
    sink.abort();
    throw error;
  }
  const stored = sink.commit();
  if (stored.id !== id) {
    throw new ComposefsError("internal", `the image was computed as ${id} but stored as ${stored.id}`, { digest: id });
  }
  return id;
}
