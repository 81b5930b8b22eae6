// The two fs-verity hash algorithms and object ids (docs/spec/repository.md, sections 2 and 5).

/** The hash of an fs-verity digest. */
export type Algorithm = "sha256" | "sha512";

/** An fs-verity digest as lower-case hex: 64 digits (sha256) or 128 (sha512). */
export type ObjectId = string;

/** Length of a raw digest in bytes. */
export const DIGEST_SIZE: Record<Algorithm, number> = { sha256: 32, sha512: 64 };

/** The kernel's number of the algorithm, as in descriptors, splitstreams and metacopy xattrs. */
export const ALGORITHM_NUMBER: Record<Algorithm, number> = { sha256: 1, sha512: 2 };

/** Whether the text is an object id of that algorithm: the right number of lower-case hex digits. */
export function isObjectId(text: string, algorithm: Algorithm): text is ObjectId {
  return text.length === 2 * DIGEST_SIZE[algorithm] && /^[0-9a-f]+$/.test(text);
}

/** Path of an object below `objects/`, and of its redirect in images: `xx/rest`. */
export function objectPath(id: ObjectId): string {
  return `${id.slice(0, 2)}/${id.slice(2)}`;
}
