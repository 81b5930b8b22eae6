// The compressed blobs of layers, kept beside what was made of them, so that an image can leave the repository with the manifest that it
// came with. Each is a stream `oci-blob-DIGEST` of type `oci_blob`; the manifest's stream names it `blob:DIGEST`, which keeps it
// as long as the manifest. Other programs see a named ref and a linked stream; a manifest that they write anew lets the blobs go.

import type { ObjectId } from "../bytes/algorithm.ts";
import { ComposefsError } from "../error.ts";
import type { Repository } from "../repository/repository.ts";
import { BLOB } from "../splitstream/content-type.ts";
import type { Digest } from "./digest.ts";
import { blobRef, blobStream } from "./streams.ts";

/** Kept blobs: their streams by their digests. */
export type KeptBlobs = ReadonlyMap<Digest, ObjectId>;

/** The stream of a blob that is there and whole. */
export async function keptBlob(
  repository: Repository,
  digest: Digest,
  alternative?: ObjectId,
): Promise<ObjectId | undefined> {
  for (const id of new Set([repository.stream(blobStream(digest)), alternative])) {
    if (id !== undefined && (await isWhole(repository, id))) return id;
  }
  return undefined;
}

/** The blobs that a manifest's stream names, as far as they are there. */
export function namedBlobs(repository: Repository, refs: ReadonlyMap<string, ObjectId>): Map<Digest, ObjectId> {
  const blobs = new Map<Digest, ObjectId>();
  const prefix = blobRef("");
  for (const [ref, id] of refs) {
    if (ref.startsWith(prefix) && repository.hasObject(id)) blobs.set(ref.slice(prefix.length), id);
  }
  return blobs;
}

async function isWhole(repository: Repository, id: ObjectId): Promise<boolean> {
  try {
    if (!repository.hasObject(id)) return false;
    const stream = await repository.openStream(id);
    return stream.contentType === BLOB && stream.objectRefs.every((object) => repository.hasObject(object));
  } catch (error) {
    if (error instanceof ComposefsError) return false;
    throw error;
  }
}
