// Streams that name a stream which gets another id are rewritten with it (docs/spec/oci.md, section 6.3, D19 and D20):
// otherwise they keep naming the old one, and a later garbage collection takes their content away.

import type { ObjectId } from "../bytes/algorithm.ts";
import { ComposefsError } from "../error.ts";
import type { ProgressListener } from "../progress.ts";
import { listLinks } from "../repository/links.ts";
import type { Repository } from "../repository/repository.ts";
import { CONFIG, MANIFEST, type ContentType } from "../splitstream/content-type.ts";
import {
  blobRef,
  blobStream,
  configRef,
  configStream,
  digestOfStream,
  layerStream,
  writeStreamAround,
} from "./streams.ts";

/** Streams and the object ids that their links are to have, in the order in which they must be linked. */
export type StreamLinks = Map<string, ObjectId>;

/**
 * Writes the objects of every config and manifest stream that names one of the changed streams by its former id.
 *
 * @param changed links that are about to get another id
 * @param written streams of the current operation, which name the new ids already
 * @returns the links to make after the changed ones: configs, then manifests
 */
export async function rewriteDependents(
  repository: Repository,
  changed: ReadonlyMap<string, ObjectId>,
  written: ReadonlySet<string>,
  onProgress?: ProgressListener,
): Promise<StreamLinks> {
  const rewritten: StreamLinks = new Map();
  if (changed.size === 0) return rewritten;
  const current = new Map(changed);
  const names = listLinks(repository.path, "streams", "refs").map((link) => link.name);
  const passes = [
    { prefix: "oci-config-", type: CONFIG },
    { prefix: "oci-manifest-", type: MANIFEST },
  ] as const;
  for (const { prefix, type } of passes) {
    for (const name of names) {
      if (digestOfStream(name, prefix) === undefined || written.has(name)) continue;
      const id = await rewriteStream(repository, name, type, current, onProgress);
      if (id === undefined) continue;
      current.set(name, id);
      rewritten.set(name, id);
    }
  }
  return rewritten;
}

function isConfigRef(ref: string): boolean {
  return ref.startsWith(configRef(""));
}

/** The stream that a named ref of a config or manifest stands for. */
function namedStream(ref: string): string {
  if (ref.startsWith(blobRef(""))) return blobStream(ref.slice(blobRef("").length));
  return isConfigRef(ref) ? configStream(ref.slice("config:".length)) : layerStream(ref);
}

async function rewriteStream(
  repository: Repository,
  name: string,
  type: ContentType,
  current: ReadonlyMap<string, ObjectId>,
  onProgress: ProgressListener | undefined,
): Promise<ObjectId | undefined> {
  const id = repository.stream(name);
  if (id === undefined) return undefined;
  try {
    const stream = await repository.openStream(id);
    const [body] = stream.objectRefs;
    if (stream.contentType !== type || body === undefined || stream.objectRefs.length !== 1) return undefined;
    const refs = [...stream.namedRefs].map(([ref, target]): [string, ObjectId] => [
      ref,
      current.get(namedStream(ref)) ?? target,
    ]);
    if (refs.every(([ref, target]) => stream.namedRefs.get(ref) === target)) return undefined;
    return await writeStreamAround(repository, body, Number(stream.size), type, orderRefs(refs));
  } catch (error) {
    if (!(error instanceof ComposefsError) || error.code === "no-space" || error.code === "aborted") throw error;
    // A damaged neighbour must not stop this pull; fsck reports it.
    onProgress?.({ type: "warning", message: `${name} could not be read and keeps its references: ${error.message}` });
    return undefined;
  }
}

/** The config first, as everybody writes it; otherwise the order as it was. */
function orderRefs(refs: [string, ObjectId][]): [string, ObjectId][] {
  return refs.toSorted(([a], [b]) => Number(isConfigRef(b)) - Number(isConfigRef(a)));
}
