// Manifests, indexes and configs from a source: small blobs, read whole and verified against their descriptor.

import { ComposefsError } from "../../error.ts";
import { verifyDigest } from "../digest.ts";
import { MAX_DOCUMENT_SIZE, type Descriptor } from "../manifest.ts";
import type { ImageSource } from "./source.ts";

/**
 * Reads a blob that is a document.
 *
 * @param what names it in errors, as in "the config"
 * @throws ComposefsError `limit` beyond 4 MiB, `digest-mismatch` when size or content are not as promised,
 *   `not-found`
 */
export async function readDocument(
  source: Pick<ImageSource, "blob">,
  descriptor: Descriptor,
  what: string,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  if (descriptor.size > MAX_DOCUMENT_SIZE) {
    throw new ComposefsError("limit", `${what} ${descriptor.digest} is ${descriptor.size} bytes; 4 MiB is the limit`, {
      digest: descriptor.digest,
    });
  }
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of source.blob(descriptor, signal === undefined ? {} : { signal })) {
    size += chunk.length;
    chunks.push(chunk);
  }
  if (size !== descriptor.size) {
    throw new ComposefsError(
      "digest-mismatch",
      `${what} ${descriptor.digest} ended after ${size} of ${descriptor.size} bytes`,
      { digest: descriptor.digest },
    );
  }
  const bytes = Buffer.concat(chunks);
  verifyDigest(bytes, descriptor.digest, `${what} ${descriptor.digest}`);
  return bytes;
}
