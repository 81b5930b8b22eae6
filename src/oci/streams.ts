// The streams that a pull writes, by name and by content (docs/spec/oci.md, section 6.1; splitstream.md, section 5).

import type { ObjectId } from "../bytes/algorithm.ts";
import { ComposefsError, type ErrorDetails } from "../error.ts";
import type { Repository } from "../repository/repository.ts";
import { MANIFEST, type ContentType } from "../splitstream/content-type.ts";
import { SplitstreamWriter } from "../splitstream/write.ts";
import { contentDigest, parseDigest, verifyDigest, type Digest } from "./digest.ts";
import { MAX_DOCUMENT_SIZE } from "./manifest.ts";

/** The stream of a layer: by diff_id, or by the blob's digest for layers of artifacts. */
export function layerStream(digest: Digest): string {
  return `oci-layer-${digest}`;
}

/** The stream of an image config. */
export function configStream(digest: Digest): string {
  return `oci-config-${digest}`;
}

/** The stream of a manifest. */
export function manifestStream(digest: Digest): string {
  return `oci-manifest-${digest}`;
}

/** The stream of a blob that is kept in its compressed form. */
export function blobStream(digest: Digest): string {
  return `oci-blob-${digest}`;
}

/** The named ref by which a manifest stream names such a blob. */
export function blobRef(digest: Digest): string {
  return `blob:${digest}`;
}

/** The named ref by which a manifest stream names its config. */
export function configRef(digest: Digest): string {
  return `config:${digest}`;
}

/** The content types of streams that hold one JSON document. */
export type DocumentType = "ociconfg" | "ocimanif";

/** A config or manifest as stored. */
export interface StoredDocument {
  /** The stream's object id. */
  readonly id: ObjectId;
  /** The document, byte for byte. */
  readonly bytes: Uint8Array;
  /** The object that holds it. */
  readonly body: ObjectId;
  /** What the stream names. */
  readonly refs: ReadonlyMap<string, ObjectId>;
}

/**
 * Reads a config or manifest and verifies it against its digest.
 *
 * @param id the stream's object id
 * @param digest what its content must be
 * @throws ComposefsError `corrupt` when the stream is not what its name says, with the reason `E_MANIFEST_INTEGRITY` or
 *   `E_CONFIG_INTEGRITY` when the document is another one; `not-found` when an object is missing
 */
export async function readDocumentStream(
  repository: Repository,
  id: ObjectId,
  digest: Digest,
  type: DocumentType,
): Promise<StoredDocument> {
  const what = type === MANIFEST ? "manifest" : "config";
  const corrupt = (problem: string, details: ErrorDetails = {}) =>
    new ComposefsError("corrupt", `the stored ${what} ${digest} ${problem}`, {
      digest,
      ...details,
      hint: "pull the image again to repair it",
    });
  const stream = await repository.openStream(id);
  if (stream.contentType !== type) throw corrupt(`is a stream of type ${stream.contentType}`);
  const [body] = stream.objectRefs;
  if (body === undefined || stream.objectRefs.length !== 1) {
    throw corrupt(`refers to ${stream.objectRefs.length} objects instead of one`);
  }
  const bytes = await repository.readObject(body, { limit: MAX_DOCUMENT_SIZE });
  try {
    verifyDigest(bytes, digest, `the stored ${what}`);
  } catch (error) {
    const reason = type === MANIFEST ? "E_MANIFEST_INTEGRITY" : "E_CONFIG_INTEGRITY";
    throw corrupt(`has another content: ${contentDigest(bytes)}`, { cause: error, reason });
  }
  return { id, bytes, body, refs: stream.namedRefs };
}

/** The digest in a stream name with that prefix; undefined when the name is another. */
export function digestOfStream(
  name: string,
  prefix: "oci-layer-" | "oci-config-" | "oci-manifest-",
): Digest | undefined {
  return name.startsWith(prefix) ? name.slice(prefix.length) : undefined;
}

/**
 * Writes the objects of a config or manifest stream, and no link.
 *
 * @param refs in the order in which they are to stand
 * @returns the stream's object id
 */
export async function writeDocumentStream(
  repository: Repository,
  bytes: Uint8Array,
  type: DocumentType,
  refs: Iterable<readonly [string, ObjectId]>,
): Promise<ObjectId> {
  const body = await repository.putObject(bytes);
  return writeStreamAround(repository, body.id, bytes.length, type, refs);
}

/** Like {@link writeDocumentStream}, around a body that is stored already. */
export async function writeStreamAround(
  repository: Repository,
  body: ObjectId,
  size: number,
  type: ContentType,
  refs: Iterable<readonly [string, ObjectId]>,
): Promise<ObjectId> {
  const writer = new SplitstreamWriter(repository.algorithm, type);
  writer.external(body, size);
  for (const [name, id] of refs) writer.namedRef(name, id);
  return repository.storeStream(writer);
}

/** Whether two sets of named refs say the same. */
export function sameRefs(a: ReadonlyMap<string, ObjectId>, b: ReadonlyMap<string, ObjectId>): boolean {
  if (a.size !== b.size) return false;
  for (const [name, id] of a) if (b.get(name) !== id) return false;
  return true;
}

/** Layer digests become file names: refuses those that cannot. */
export function checkStreamDigest(digest: Digest, what: string): void {
  parseDigest(digest, what);
  if (digest.length > 200) {
    throw new ComposefsError("invalid", `${what}: the digest is too long to be a file name`, { digest });
  }
}
