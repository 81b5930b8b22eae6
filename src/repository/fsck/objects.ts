// Checks all objects, on worker threads once that pays. Memory is bounded by the names, whatever the objects hold.

import type { ObjectId } from "../../bytes/algorithm.ts";
import { objectPath } from "../../bytes/algorithm.ts";
import { throwIfAborted } from "../../error.ts";
import type { ProgressListener } from "../../progress.ts";
import { WorkerPool, workerEntry } from "../../runtime/workers.ts";
import type { ObjectSet } from "../gc/object-set.ts";
import type { ObjectStoreOptions } from "../object-store.ts";
import { type BadObject, ObjectChecker } from "./check-object.ts";
import type { Findings } from "./finding.ts";

/** Objects from which threads pay: starting them costs as much as checking some hundreds. */
const WORTH_OBJECTS = 1500;
const BATCH = 512;
/** Batches on their way per thread: as much as is checked while this thread is at something else. */
const BATCHES = 4;

/** Options of {@link checkObjects}. */
export interface ObjectsOptions {
  /** Number of threads; 0 checks on this one. */
  workers?: number;
  signal?: AbortSignal;
  onProgress?: ProgressListener;
}

/**
 * Checks the content of objects.
 *
 * @returns the ids of those that are damaged
 */
export async function checkObjects(
  store: ObjectStoreOptions,
  ids: ObjectSet,
  findings: Findings,
  options: ObjectsOptions = {},
): Promise<Set<ObjectId>> {
  const { workers, signal } = options;
  const damaged = new Set<ObjectId>();
  const total = ids.size;
  // A few objects are checked before anybody could read about it.
  const onProgress = total < WORTH_OBJECTS ? undefined : options.onProgress;
  let done = 0;
  onProgress?.({ type: "start", id: "objects", kind: "objects", label: "checking objects", total });
  const take = (count: number, bad: readonly BadObject[]) => {
    for (const { id, kind, detail } of bad) {
      damaged.add(id);
      findings.error(kind, `objects/${objectPath(id)}`, { id, ...(detail === undefined ? {} : { detail }) });
    }
    done += count;
    findings.counters.objects_checked += count;
    findings.counters.objects_corrupted += bad.length;
    onProgress?.({ type: "advance", id: "objects", done, total });
  };
  const plain = { path: store.path, algorithm: store.algorithm, secure: store.secure };
  if (workers === 0 || total < WORTH_OBJECTS) {
    using checker = new ObjectChecker(plain);
    for (const { count, digests } of batches(ids)) {
      throwIfAborted(signal);
      take(count, checker.check(digests));
      // Lets signals and the other checks through.
      await new Promise((resolve) => setImmediate(resolve));
    }
  } else {
    await using pool = new WorkerPool(workerEntry("./object-worker", import.meta.url), {
      data: plain,
      ...(workers === undefined ? {} : { size: workers }),
    });
    const source = batches(ids);
    // Bounded, so that nothing piles up.
    const lane = async () => {
      for (const { count, digests } of source) {
        throwIfAborted(signal);
        take(count, await pool.run<BadObject[]>(digests));
      }
    };
    await Promise.all(Array.from({ length: BATCHES * pool.size }, lane));
  }
  onProgress?.({ type: "done", id: "objects" });
  return damaged;
}

function* batches(ids: ObjectSet): Generator<{ count: number; digests: Uint8Array }, void, undefined> {
  for (let from = 0; from < ids.size; from += BATCH) {
    // A copy of its own, for a message takes along all of the memory that it is a view of.
    const digests = new Uint8Array(ids.digests(from, from + BATCH));
    yield { count: Math.min(BATCH, ids.size - from), digests };
  }
}
