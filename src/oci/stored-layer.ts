// Layers that are in the repository already: linked, decodable and whole (docs/spec/oci.md, section 6.3).

import type { ObjectId } from "../bytes/algorithm.ts";
import { ComposefsError } from "../error.ts";
import type { Repository } from "../repository/repository.ts";
import { BLOB, LAYER } from "../splitstream/content-type.ts";
import type { Digest } from "./digest.ts";
import { layerStream } from "./streams.ts";

/**
 * The stream of a layer if it can be used as it is: it decodes and all of its objects exist.
 *
 * @param kind a container needs a tar layer; an artifact takes what is there under the digest
 * @param alternative a stream that a config or manifest names, for when the link is lost
 */
export async function usableLayer(
  repository: Repository,
  digest: Digest,
  kind: "container" | "artifact",
  alternative?: ObjectId,
): Promise<ObjectId | undefined> {
  for (const id of new Set([repository.stream(layerStream(digest)), alternative])) {
    if (id !== undefined && (await isWhole(repository, id, kind))) return id;
  }
  return undefined;
}

async function isWhole(repository: Repository, id: ObjectId, kind: "container" | "artifact"): Promise<boolean> {
  try {
    if (!repository.hasObject(id)) return false;
    const stream = await repository.openStream(id);
    if (stream.contentType !== LAYER && (kind === "container" || stream.contentType !== BLOB)) return false;
    return stream.objectRefs.every((object) => repository.hasObject(object));
  } catch (error) {
    if (error instanceof ComposefsError) return false;
    throw error;
  }
}
