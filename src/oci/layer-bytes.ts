// A stored layer as bytes: the tar archive again, byte for byte.

import type { ObjectId } from "../bytes/algorithm.ts";
import { FsverityHasher } from "../core/fsverity.ts";
import { ComposefsError, throwIfAborted } from "../error.ts";
import { isDamaged } from "../repository/object-read.ts";
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
    else yield* objectBytes(repository, chunk.id);
  }
}

const PIECE = 1 << 20;

/** The content of an object; a damaged one fails after its last byte. */
async function* objectBytes(repository: Repository, id: ObjectId): AsyncIterable<Uint8Array> {
  const object = repository.openObject(id);
  const hasher = object.verified ? undefined : new FsverityHasher(repository.algorithm);
  try {
    for (let at = 0; at < object.size; ) {
      const bytes = object.read(at, Math.min(PIECE, object.size - at));
      if (bytes.length === 0) throw new ComposefsError("io", `object ${id} became shorter while it was read`);
      hasher?.update(bytes);
      at += bytes.length;
      yield bytes;
    }
    const measured = hasher?.digest() ?? id;
    if (measured !== id) throw isDamaged(id, measured);
  } finally {
    hasher?.[Symbol.dispose]();
    object.close();
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
  const hasher = await digestHasher(digest);
  for await (const bytes of streamBytes(repository, id, signal)) hasher.update(bytes);
  const actual = `${parseDigest(digest).algorithm}:${hasher.digest("hex")}`;
  if (actual !== digest) {
    throw new ComposefsError("digest-mismatch", `${name} is stored with another content: ${actual}`, {
      digest,
      hint: "the repository is damaged; remove the image, collect garbage and pull it again",
    });
  }
}
