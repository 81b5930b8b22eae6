// Which object an entry should lead to, from what other streams name and from what the objects hold.

import { createHash } from "node:crypto";
import { type Algorithm, isObjectId, type ObjectId } from "../../bytes/algorithm.ts";
import { ComposefsError, throwIfAborted } from "../../error.ts";
import { CONFIG, MANIFEST } from "../../splitstream/content-type.ts";
import { looksLikeSplitstream, readSplitstream, type Splitstream } from "../../splitstream/read.ts";
import type { Objects } from "../gc/object-set.ts";
import type { ObjectStore } from "../object-store.ts";
import { storedStreamReader } from "../stream-file.ts";

const MAX_DOCUMENT = 16 << 20;

/** Names that are derivable: path of an entry to object. */
export type DerivedNames = Map<string, ObjectId>;

/**
 * Looks at every object that is a splitstream: configs and manifests are known by their content, layers and images by
 * the configs and manifests that name them. Where several fit, one all of whose references exist is preferred.
 *
 * @param objects those that exist and are whole
 */
export async function deriveNames(store: ObjectStore, objects: Objects, signal?: AbortSignal): Promise<DerivedNames> {
  const names: DerivedNames = new Map();
  const whole = new Set<string>();
  const offer = (path: string, id: ObjectId, complete: boolean) => {
    if (!objects.has(id) || (names.has(path) && (whole.has(path) || !complete))) return;
    names.set(path, id);
    if (complete) whole.add(path);
  };
  for (const id of objects) {
    throwIfAborted(signal);
    const stream = await openStream(store, id);
    if (stream === undefined) continue;
    const complete = [...stream.objectRefs, ...stream.namedRefs.values()].every((object) => objects.has(object));
    const path = documentPath(store, stream);
    if (path !== undefined) offer(path, id, complete);
    for (const [name, target] of stream.namedRefs)
      for (const named of namedPaths(name, target, store.options.algorithm)) offer(named, target, complete);
  }
  return names;
}

function namedPaths(name: string, target: ObjectId, algorithm: Algorithm): string[] {
  if (name.startsWith("composefs.image")) return isObjectId(target, algorithm) ? [`images/${target}`] : [];
  if (name.startsWith("config:") && isDigest(name.slice(7))) return [`streams/oci-config-${name.slice(7)}`];
  if (name.startsWith("blob:") && isDigest(name.slice(5))) return [`streams/oci-blob-${name.slice(5)}`];
  return isDigest(name) ? [`streams/oci-layer-${name}`] : [];
}

function documentPath(store: ObjectStore, stream: Splitstream): string | undefined {
  const kind = stream.contentType === MANIFEST ? "manifest" : stream.contentType === CONFIG ? "config" : undefined;
  const [body] = stream.objectRefs;
  if (kind === undefined || body === undefined || stream.objectRefs.length !== 1) return undefined;
  try {
    const digest = createHash("sha256").update(store.readSync(body, MAX_DOCUMENT)).digest("hex");
    return `streams/oci-${kind}-sha256:${digest}`;
  } catch (error) {
    if (error instanceof ComposefsError) return undefined;
    throw error;
  }
}

async function openStream(store: ObjectStore, id: ObjectId): Promise<Splitstream | undefined> {
  try {
    const object = store.openUncheckedSync(id);
    try {
      if (!looksLikeSplitstream(object.read(0, 32))) return undefined;
    } finally {
      object.close();
    }
    return await readSplitstream(storedStreamReader(store, id), store.options.algorithm);
  } catch (error) {
    if (error instanceof ComposefsError) return undefined;
    throw error;
  }
}

// Only what can be a file name.
function isDigest(text: string): boolean {
  return /^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/.test(text);
}
