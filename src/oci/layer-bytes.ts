// A stored layer as bytes: the tar archive again, byte for byte.

import type { ObjectId } from "../bytes/algorithm.ts";
import { ComposefsError, throwIfAborted } from "../error.ts";
import type { Repository } from "../repository/repository.ts";
import { digestHasher, parseDigest, type Digest } from "./digest.ts";

/** The bytes of a splitstream, objects put back in. Every object is verified against its id. */
export async function* streamBytes(
  repository: Repository,
  id: ObjectId,
  signal?: AbortSignal,
): AsyncIterable<Uint8Array> {
  const stream = await repository.openStream(id);
  for await (const chunk of stream.chunks()) {
    throwIfAborted(signal);
    if (chunk.kind === "inline") yield chunk.bytes;
    else yield* repository.objectChunks(chunk.id);
  }
}

/**
 * Checks that the bytes of a layer have its digest.
 *
 * @param name names the layer in the error
 * @throws ComposefsError `digest-mismatch`
 */
export async function verifyLayer(
  repository: Repository,
  id: ObjectId,
  digest: Digest,
  name: string,
  signal?: AbortSignal,
): Promise<void> {
  const hasher = digestHasher(digest);
  for await (const bytes of streamBytes(repository, id, signal)) hasher.update(bytes);
  const actual = `${parseDigest(digest).algorithm}:${hasher.digest("hex")}`;
  if (actual !== digest) {
    throw new ComposefsError("digest-mismatch", `${name} is stored with another content: ${actual}`, {
      digest,
      hint: "the repository is damaged; remove the image, collect garbage and pull it again",
    });
  }
}
