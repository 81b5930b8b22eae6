// Config and manifest streams as a publication needs them (docs/spec/oci.md, section 6): what is stored and sound stays, what is not is
// written, and the streams that name a changed one follow it.

import type { ObjectId } from "../bytes/algorithm.ts";
import { ComposefsError } from "../error.ts";
import type { ProgressListener } from "../progress.ts";
import type { Repository } from "../repository/repository.ts";
import type { Digest } from "./digest.ts";
import { linkedObject } from "./publish.ts";
import { rewriteDependents, type StreamLinks } from "./rewrite.ts";
import {
  readDocumentStream,
  sameRefs,
  writeDocumentStream,
  type DocumentType,
  type StoredDocument,
} from "./streams.ts";

/** The stored config or manifest; undefined when there is none that can be used. */
export async function storedDocument(
  repository: Repository,
  name: string,
  digest: Digest,
  type: DocumentType,
): Promise<StoredDocument | undefined> {
  const id = repository.stream(name);
  if (id === undefined) return undefined;
  try {
    return await readDocumentStream(repository, id, digest, type);
  } catch (error) {
    // Damaged: written anew, which is how a pull repairs a repository.
    if (
      error instanceof ComposefsError &&
      ["corrupt", "not-found", "invalid", "digest-mismatch"].includes(error.code)
    ) {
      return undefined;
    }
    throw error;
  }
}

/** Keeps a stream that says what it should, whatever the order of its refs; writes it otherwise. */
export async function storeDocument(
  repository: Repository,
  stored: StoredDocument | undefined,
  bytes: Uint8Array,
  type: DocumentType,
  refs: ReadonlyMap<string, ObjectId>,
): Promise<ObjectId> {
  if (stored !== undefined && sameRefs(stored.refs, refs)) return stored.id;
  return writeDocumentStream(repository, bytes, type, refs);
}

/** The links that do not exist as wanted, and those of other images that have to follow. */
export async function linksToMake(
  repository: Repository,
  own: StreamLinks,
  onProgress: ProgressListener | undefined,
): Promise<StreamLinks> {
  const make: StreamLinks = new Map();
  const changed: StreamLinks = new Map();
  for (const [name, id] of own) {
    if (repository.stream(name) === id) continue;
    make.set(name, id);
    if (linkedObject(repository, "streams", name) !== undefined) changed.set(name, id);
  }
  const dependents = await rewriteDependents(repository, changed, new Set(own.keys()), onProgress);
  return new Map([...make, ...dependents].toSorted(([a], [b]) => linkRank(a) - linkRank(b)));
}

/** Layers are linked first, then configs, then manifests. */
function linkRank(name: string): number {
  return name.startsWith("oci-layer-") || name.startsWith("oci-blob-") ? 0 : name.startsWith("oci-config-") ? 1 : 2;
}
