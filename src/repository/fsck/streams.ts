// Checks the streams: header, tables and names, that what they name is there, and that the content is what the content id
// says (docs/spec/repository.md, section 10; docs/spec/splitstream.md, section 6).

import { createHash } from "node:crypto";
import { lstatSync } from "node:fs";
import type { ObjectId } from "../../bytes/algorithm.ts";
import { fsverityFile } from "../../core/fsverity.ts";
import { ComposefsError, throwIfAborted } from "../../error.ts";
import { BLOB, CONFIG, LAYER, MANIFEST } from "../../splitstream/content-type.ts";
import { type PositionedReader, readSplitstream, type Splitstream } from "../../splitstream/read.ts";
import { copyObject } from "../cat.ts";
import type { ObjectSet } from "../gc/object-set.ts";
import type { ObjectStore } from "../object-store.ts";
import type { Findings } from "./finding.ts";
import type { GoodEntry } from "./links.ts";

/** What the checks of streams share. */
export interface StreamsContext {
  store: ObjectStore;
  /** The objects that exist. */
  objects: ObjectSet;
  findings: Findings;
  /** Leave out what reads the contents of objects. */
  metadataOnly: boolean;
  signal?: AbortSignal;
}

/** A content check that is decided later: damaged objects explain it, if there are any. */
export interface ContentProblem {
  path: string;
  kind: "stream-body-invalid" | "stream-misnamed" | "stream-size-mismatch";
  detail: string;
  /** The objects that were read. */
  objects: readonly ObjectId[];
}

const MAX_DOCUMENT = 16 << 20;
const PREFIXES: [string, readonly string[]][] = [
  ["oci-manifest-", [MANIFEST]],
  ["oci-config-", [CONFIG]],
  ["oci-layer-", [LAYER, BLOB]],
  ["oci-blob-", [BLOB]],
];

/**
 * Checks streams one after the other.
 *
 * @returns what their contents showed
 */
export async function checkStreams(entries: readonly GoodEntry[], context: StreamsContext): Promise<ContentProblem[]> {
  const { findings, signal } = context;
  const opened: { entry: GoodEntry; stream: Splitstream }[] = [];
  for (const entry of entries) {
    throwIfAborted(signal);
    try {
      const stream = await readSplitstream(plainReader(context.store, entry.id), context.store.options.algorithm, "it");
      checkReferences(entry, stream, context);
      opened.push({ entry, stream });
    } catch (error) {
      if (!(error instanceof ComposefsError)) throw error;
      findings.error("stream-open-failed", entry.path, { detail: error.message });
      findings.counters.streams_corrupted++;
    }
  }
  const diffIds = await containerDiffIds(opened, context);
  const problems: ContentProblem[] = [];
  for (const { entry, stream } of opened) {
    throwIfAborted(signal);
    if (context.metadataOnly) checkFile(entry, context);
    const problem = await checkContent(entry, stream, diffIds, context);
    if (problem) problems.push({ path: entry.path, objects: [entry.id, ...stream.objectRefs], ...problem });
  }
  return problems;
}

function checkReferences({ path }: GoodEntry, stream: Splitstream, { objects, findings }: StreamsContext): void {
  const missing = (id: ObjectId) => !objects.has(id);
  for (const id of stream.objectRefs.filter(missing)) {
    findings.error("missing-object-ref", path, { id });
    findings.counters.missing_objects++;
  }
  for (const [ref, id] of stream.namedRefs) {
    if (!missing(id)) continue;
    findings.error("missing-named-ref", path, { ref, id });
    findings.counters.missing_objects++;
  }
}

// In a full check the file was hashed with all others.
function checkFile({ path, id }: GoodEntry, { store, findings }: StreamsContext): void {
  let detail: string;
  try {
    const object = store.openSync(id);
    try {
      if (object.verified) return;
      const measured = fsverityFile(store.options.algorithm, object.fd, object.size);
      if (measured === id) return;
      detail = `its object is damaged: measured ${measured}`;
    } finally {
      object.close();
    }
  } catch (error) {
    if (!(error instanceof ComposefsError)) throw error;
    detail = error.message;
  }
  findings.error("stream-body-invalid", path, { detail });
  findings.counters.streams_corrupted++;
}

/** The names under which layers hash to their content: blobs of compressed artifact layers do not. */
async function containerDiffIds(
  opened: readonly { entry: GoodEntry; stream: Splitstream }[],
  { store, objects }: StreamsContext,
): Promise<Set<string>> {
  const found = new Set<string>();
  for (const { stream } of opened) {
    const [body] = stream.objectRefs;
    if (stream.contentType !== CONFIG || body === undefined || !objects.has(body)) continue;
    try {
      const document: unknown = JSON.parse(Buffer.from(store.readSync(body, MAX_DOCUMENT)).toString("utf8"));
      const ids = (document as { rootfs?: { diff_ids?: unknown } } | null)?.rootfs?.diff_ids;
      if (Array.isArray(ids)) for (const id of ids) if (typeof id === "string") found.add(id);
    } catch (error) {
      // Damage of the document is found elsewhere; text that is no JSON has no diff_ids.
      if (!(error instanceof ComposefsError || error instanceof SyntaxError)) throw error;
    }
  }
  return found;
}

async function checkContent(
  { name }: GoodEntry,
  stream: Splitstream,
  diffIds: ReadonlySet<string>,
  { store, objects, metadataOnly, signal }: StreamsContext,
): Promise<Omit<ContentProblem, "path" | "objects"> | undefined> {
  const prefix = PREFIXES.find(([start]) => name.startsWith(start));
  if (prefix && !prefix[1].includes(stream.contentType))
    return { kind: "stream-misnamed", detail: `it is a stream of type ${stream.contentType}` };
  const digest = prefix ? name.slice(prefix[0].length) : "";
  const hashed = prefix !== undefined && (stream.contentType !== LAYER || diffIds.has(digest));
  // Documents are small: their content is looked at in any case.
  const small = stream.contentType === MANIFEST || stream.contentType === CONFIG;
  const [, algorithm, hex] =
    /^(sha256|sha512):([0-9a-f]+)$/.exec(hashed && (small || !metadataOnly) ? digest : "") ?? [];
  const hash = algorithm === undefined ? undefined : createHash(algorithm);
  let size = 0n;
  try {
    for await (const chunk of stream.chunks()) {
      throwIfAborted(signal);
      if (chunk.kind === "inline") {
        hash?.update(chunk.bytes);
        size += BigInt(chunk.bytes.length);
      } else if (!objects.has(chunk.id)) {
        // Reported already, and the rest cannot be judged.
        return undefined;
      } else if (hash) {
        const read = await hashObject(store, chunk.id, hash, signal);
        // An object that cannot be read is reported with the objects.
        if (read === undefined) return undefined;
        size += BigInt(read);
      } else {
        size += BigInt(lstatSync(store.path(chunk.id)).size);
      }
    }
  } catch (error) {
    if (!(error instanceof ComposefsError) || error.code === "aborted") throw error;
    return { kind: "stream-body-invalid", detail: error.message };
  }
  if (size !== stream.size)
    return { kind: "stream-size-mismatch", detail: `its parts have ${size} bytes, it announces ${stream.size}` };
  const measured = hash?.digest("hex");
  if (measured === undefined || measured === hex) return undefined;
  return { kind: "stream-misnamed", detail: `its content has the digest ${algorithm}:${measured}` };
}

async function hashObject(
  store: ObjectStore,
  id: ObjectId,
  hash: { update(bytes: Uint8Array): unknown },
  signal: AbortSignal | undefined,
): Promise<number | undefined> {
  try {
    return await copyObject(store, id, (bytes) => void hash.update(bytes), signal, { verify: false });
  } catch (error) {
    if (!(error instanceof ComposefsError) || error.code === "aborted") throw error;
    return undefined;
  }
}

/** A reader that believes nothing and verifies nothing: the digest is checked with those of all objects. */
function plainReader(store: ObjectStore, id: ObjectId): PositionedReader {
  const object = open();
  const { size } = object;
  object.close();
  return {
    size,
    read(position, length) {
      const again = open();
      try {
        return again.read(position, length);
      } finally {
        again.close();
      }
    },
  };

  function open() {
    return store.openUncheckedSync(id);
  }
}
