// Layers of artifacts that are no tar archives (docs/spec/oci.md, section 4.5): the bytes as one object, and a stream
// that says just that.

import type { ObjectId } from "../bytes/algorithm.ts";
import { ComposefsError, throwIfAborted } from "../error.ts";
import type { Repository } from "../repository/repository.ts";
import { BLOB } from "../splitstream/content-type.ts";
import { digestHasher } from "./digest.ts";
import type { Descriptor } from "./manifest.ts";
import { writeStreamAround } from "./streams.ts";

/** A blob that was imported; nothing is linked yet. */
export interface ImportedBlob {
  /** Object id of the stream. */
  readonly streamId: ObjectId;
  /** Whether its object was new. */
  readonly created: boolean;
}

/**
 * Stores a blob, verifying size and digest.
 *
 * @throws ComposefsError `digest-mismatch`
 */
export async function importBlob(
  repository: Repository,
  source: AsyncIterable<Uint8Array>,
  descriptor: Descriptor,
  options: { signal?: AbortSignal | undefined; onProgress?: ((done: number) => void) | undefined } = {},
): Promise<ImportedBlob> {
  const { digest, size } = descriptor;
  const hasher = await digestHasher(digest);
  const sink = repository.newObject();
  let received = 0;
  try {
    for await (const chunk of source) {
      throwIfAborted(options.signal);
      received += chunk.length;
      hasher.update(chunk);
      sink.write(chunk);
      options.onProgress?.(received);
    }
    const actual = `${digest.slice(0, digest.indexOf(":"))}:${hasher.digest("hex")}`;
    if (received !== size || actual !== digest) {
      const problem = received === size ? `its content is ${actual}` : `it has ${received} bytes instead of ${size}`;
      throw new ComposefsError("digest-mismatch", `the blob ${digest} is damaged: ${problem}`, { digest });
    }
  } catch (error) {
    sink.abort();
    throw error;
  }
  const { id, created } = sink.commit();
  return { streamId: await writeStreamAround(repository, id, size, BLOB, []), created };
}
