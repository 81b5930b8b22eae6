// Streaming SHA-2 of OCI blobs (docs/spec/wasm-core.md, section 4.4): the runtime's own hash, which is the faster one on every
// runtime that was measured, and hash-wasm where the runtime has none.

import { createHash } from "node:crypto";
import { backendChoice } from "./backend.ts";

/** The algorithms of OCI digests that can be verified. */
export type BlobAlgorithm = "sha256" | "sha384" | "sha512";

/** A hash in progress. */
export interface BlobHasher {
  update(bytes: Uint8Array): unknown;
  /** Ends it. Usable once. */
  digest(encoding: "hex"): string;
}

/**
 * A new hash. Asynchronous because the portable one is compiled when it is first needed; `COMPOSEFS_HASH=wasm` forces that.
 *
 * @example
 * ```ts
 * const hasher = await blobHasher("sha256");
 * for await (const bytes of source) hasher.update(bytes);
 * console.log(`sha256:${hasher.digest("hex")}`);
 * ```
 */
export async function blobHasher(algorithm: BlobAlgorithm): Promise<BlobHasher> {
  if (backendChoice() !== "wasm") {
    try {
      return createHash(algorithm);
    } catch {
      // Builds without it, or a policy against it: the portable one does.
    }
  }
  const { createSHA256, createSHA384, createSHA512 } = await import("hash-wasm");
  switch (algorithm) {
    case "sha256":
      return createSHA256();
    case "sha384":
      return createSHA384();
    default:
      return createSHA512();
  }
}
