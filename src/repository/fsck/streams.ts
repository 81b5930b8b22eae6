// Checks the streams: header, tables and names, that what they name is there, and that the content is what the content id
// says (docs/spec/repository.md, section 10; docs/spec/splitstream.md, section 6).

import { createHash, type Hash } from "node:crypto";
import { DIGEST_SIZE, type ObjectId } from "../../bytes/algorithm.ts";
import { fsverityFile } from "../../core/fsverity.ts";
import { ComposefsError, throwIfAborted } from "../../error.ts";
import { BLOB, CONFIG, LAYER, MANIFEST } from "../../splitstream/content-type.ts";
import { type PositionedReader, readSplitstream, type Splitstream } from "../../splitstream/read.ts";
import { toHex } from "../../bytes/hex.ts";
import type { ObjectSet } from "../gc/object-set.ts";
import { ObjectFiles, readBuffer } from "../object-files.ts";
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
  const opened: OpenedStream[] = [];
  for (const entry of entries) {
    throwIfAborted(signal);
    try {
      const stream = await readSplitstream(plainReader(context.store, entry.id), context.store.options.algorithm, "it");
      const places = context.objects.placesOf(stream.objectTable);
      checkReferences(entry, stream, places, context);
      opened.push({ entry, stream, places });
    } catch (error) {
      if (!(error instanceof ComposefsError)) throw error;
      findings.error("stream-open-failed", entry.path, { detail: error.message });
      findings.counters.streams_corrupted++;
    }
  }
  const diffIds = await containerDiffIds(opened, context);
  const problems: ContentProblem[] = [];
  using files = new StreamFiles(context);
  for (const one of opened) {
    const { entry, stream } = one;
    throwIfAborted(signal);
    if (context.metadataOnly) checkFile(entry, context);
    const problem = await checkContent(one, diffIds, files, context);
    if (problem) problems.push({ path: entry.path, objects: [entry.id, ...stream.objectRefs], ...problem });
  }
  return problems;
}

/** A stream whose header and tables are good. */
interface OpenedStream {
  entry: GoodEntry;
  stream: Splitstream;
  /** Where the objects of its table are in the set of objects. */
  places: Int32Array;
}

function checkReferences(
  { path }: GoodEntry,
  { objectTable, namedRefs }: Splitstream,
  places: Int32Array,
  { objects, findings }: StreamsContext,
): void {
  const size = objectTable.length / places.length;
  for (let row = places.indexOf(-1); row >= 0; row = places.indexOf(-1, row + 1)) {
    findings.error("missing-object-ref", path, { id: toHex(objectTable.subarray(row * size, (row + 1) * size)) });
    findings.counters.missing_objects++;
  }
  for (const [ref, id] of namedRefs) {
    if (objects.has(id)) continue;
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
  opened: readonly OpenedStream[],
  { store, objects }: StreamsContext,
): Promise<Set<string>> {
  const found = new Set<string>();
  for (const { stream } of opened) {
    if (stream.contentType !== CONFIG) continue;
    const [body] = stream.objectRefs;
    if (body === undefined || !objects.has(body)) continue;
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
  { entry: { name }, stream, places }: OpenedStream,
  diffIds: ReadonlySet<string>,
  files: StreamFiles,
  { metadataOnly, signal }: StreamsContext,
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
  const content = algorithm === undefined ? undefined : new ContentHash(algorithm, files.room);
  let size = 0;
  let judged = true;
  try {
    await stream.walk({
      inline(bytes) {
        content?.update(bytes);
        size += bytes.length;
      },
      external(row) {
        throwIfAborted(signal);
        const place = places[row] as number;
        // One that is missing is reported already, one that cannot be read with the objects: the rest cannot be judged.
        const length = place < 0 ? undefined : content ? files.hash(place, content) : files.size(place);
        judged = length !== undefined;
        size += length ?? 0;
        return judged;
      },
    });
    throwIfAborted(signal);
  } catch (error) {
    if (!(error instanceof ComposefsError) || error.code === "aborted") throw error;
    return { kind: "stream-body-invalid", detail: error.message };
  }
  if (!judged) return undefined;
  if (BigInt(size) !== stream.size)
    return { kind: "stream-size-mismatch", detail: `its parts have ${size} bytes, it announces ${stream.size}` };
  const measured = content?.digest();
  if (measured === undefined || measured === hex) return undefined;
  return { kind: "stream-misnamed", detail: `its content has the digest ${algorithm}:${measured}` };
}

const ROOM = 1 << 18;

/** A plain hash of very many small pieces, which are put together first. */
class ContentHash {
  readonly #hash: Hash;
  readonly #room: Uint8Array;
  #filled = 0;

  /** @param room memory for ROOM bytes, to be used by one hash at a time */
  constructor(algorithm: string, room: Uint8Array) {
    this.#room = room;
    this.#hash = createHash(algorithm);
  }

  /** The free part of the room, at least half of it: what is written there is taken by {@link advance}. */
  room(): Uint8Array {
    if (this.#filled > ROOM / 2) this.#flush();
    return this.#room.subarray(this.#filled);
  }

  advance(length: number): void {
    this.#filled += length;
  }

  update(bytes: Uint8Array): void {
    if (this.#filled + bytes.length > ROOM) this.#flush();
    if (bytes.length > ROOM) {
      this.#hash.update(bytes);
    } else {
      this.#room.set(bytes, this.#filled);
      this.#filled += bytes.length;
    }
  }

  digest(): string {
    this.#flush();
    return this.#hash.digest("hex");
  }

  #flush(): void {
    this.#hash.update(this.#room.subarray(0, this.#filled));
    this.#filled = 0;
  }
}

/** The objects that streams hold, by their places. */
class StreamFiles implements Disposable {
  readonly room: Uint8Array = readBuffer(ROOM);
  readonly #files: ObjectFiles;
  readonly #digests: Uint8Array;
  readonly #digestSize: number;
  // Many streams can hold the same object.
  readonly #sizes: Float64Array;

  constructor({ objects, store, metadataOnly }: StreamsContext) {
    const { path, objects: directory = `${path}/objects`, algorithm } = store.options;
    this.#files = new ObjectFiles(directory, algorithm);
    this.#digests = objects.digests(0, objects.size);
    this.#digestSize = DIGEST_SIZE[algorithm];
    this.#sizes = new Float64Array(metadataOnly ? objects.size : 0).fill(-1);
  }

  size(place: number): number {
    const known = this.#sizes[place] ?? -1;
    if (known >= 0) return known;
    const size = this.#files.size(this.#digests, place * this.#digestSize);
    this.#sizes[place] = size;
    return size;
  }

  /** Hashes the content of an object; answers its size, undefined when it cannot be read. */
  hash(place: number, content: ContentHash): number | undefined {
    try {
      return this.#files.use(this.#digests, place * this.#digestSize, ({ fd, read }) => {
        let size = 0;
        for (;;) {
          const room = content.room();
          const count = read(fd, room, room.length, size);
          if (count === 0) return size;
          content.advance(count);
          size += count;
          // A file of which less comes than was asked for has ended.
          if (count < room.length) return size;
        }
      });
    } catch (error) {
      if (typeof (error as { code?: unknown }).code !== "string") throw error;
      return undefined;
    }
  }

  [Symbol.dispose](): void {
    this.#files[Symbol.dispose]();
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
