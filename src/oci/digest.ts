// OCI content digests, `ALG:VALUE` over the bytes as a registry stores them (docs/spec/oci.md, section 1).
// Not to be confused with fs-verity object ids (src/bytes/algorithm.ts).

import { createHash } from "node:crypto";

import { type BlobAlgorithm, type BlobHasher, blobHasher } from "../core/blob-digest.ts";
import { ComposefsError } from "../error.ts";

/** A digest as text, such as `sha256:e3b0c442...`. */
export type Digest = string;

/** A digest taken apart. */
export interface ParsedDigest {
  readonly algorithm: string;
  readonly value: string;
}

const HEX_LENGTH: Record<string, number> = { sha256: 64, sha384: 96, sha512: 128 };

/** Why the text is no digest, or the parts of it. */
function analyse(text: string): ParsedDigest | string {
  const colon = text.indexOf(":");
  if (colon < 0) return "it has no `:`";
  const algorithm = text.slice(0, colon);
  const value = text.slice(colon + 1);
  if (!/^[a-z0-9]+(?:[+._-][a-z0-9]+)*$/.test(algorithm)) return `\`${algorithm}\` is no algorithm name`;
  if (value === "") return "nothing follows the `:`";
  if (!/^[a-zA-Z0-9=_-]+$/.test(value)) return "its value has characters that digests do not have";
  const length = HEX_LENGTH[algorithm];
  if (length !== undefined) {
    if (value.length !== length) return `${algorithm} needs ${length} hex digits and it has ${value.length}`;
    if (!/^[0-9a-f]+$/.test(value)) return "its value is not lower-case hex";
  }
  return { algorithm, value };
}

/** Whether the text follows the digest syntax. Digests of unknown algorithms do, although nothing can verify them. */
export function isDigest(text: string): text is Digest {
  return typeof analyse(text) !== "string";
}

/**
 * Takes a digest apart.
 *
 * @param what names the digest in the error, as in "the config descriptor"
 * @throws ComposefsError `invalid` when the text is no digest
 */
export function parseDigest(text: string, what = "digest"): ParsedDigest {
  const parsed = analyse(text);
  if (typeof parsed === "string") {
    throw new ComposefsError("invalid", `${what}: ${JSON.stringify(text)} is not a digest: ${parsed}`, {
      digest: text,
      hint: "a digest looks like sha256: and 64 lower-case hex digits",
    });
  }
  return parsed;
}

/**
 * A running hash for that digest's algorithm.
 *
 * @throws ComposefsError `unsupported` for algorithms other than sha256, sha384 and sha512: what cannot be verified
 *   is not imported
 */
export async function digestHasher(digest: Digest): Promise<BlobHasher> {
  return blobHasher(verifiableAlgorithm(digest));
}

function verifiableAlgorithm(digest: Digest): BlobAlgorithm {
  const { algorithm } = parseDigest(digest);
  if (HEX_LENGTH[algorithm] === undefined) {
    throw new ComposefsError("unsupported", `cannot verify ${digest}: the algorithm ${algorithm} is not supported`, {
      digest,
      hint: "sha256, sha384 and sha512 are",
    });
  }
  return algorithm as BlobAlgorithm;
}

/** The digest of the bytes. */
export function contentDigest(bytes: Uint8Array, algorithm: BlobAlgorithm = "sha256"): Digest {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest("hex")}`;
}

/**
 * Checks that the bytes have the digest.
 *
 * @param what names the bytes in the error and has the digest in it, as in "the config sha256:..."
 * @throws ComposefsError `digest-mismatch` when they have another one
 */
export function verifyDigest(bytes: Uint8Array, digest: Digest, what: string): void {
  const actual = contentDigest(bytes, verifiableAlgorithm(digest));
  if (actual !== digest) {
    throw new ComposefsError("digest-mismatch", `${what} is damaged: its content is ${actual}`, {
      digest,
      hint: "fetch or build the image again; its files were changed after it was made",
    });
  }
}
