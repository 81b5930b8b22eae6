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
const BATCH = 64;

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
  const take = (batch: readonly ObjectId[], bad: readonly BadObject[]) => {
    for (const { id, kind, detail } of bad) {
      damaged.add(id);
      findings.error(kind, `objects/${objectPath(id)}`, { id, ...(detail === undefined ? {} : { detail }) });
    }
    done += batch.length;
    findings.counters.objects_checked += batch.length;
    findings.counters.objects_corrupted += bad.length;
    onProgress?.({ type: "advance", id: "objects", done, total });
  };
  const plain = { path: store.path, algorithm: store.algorithm, secure: store.secure };
  if (workers === 0 || total < WORTH_OBJECTS) {
    const checker = new ObjectChecker(plain);
    for (const batch of batches(ids)) {
      throwIfAborted(signal);
      take(batch, checker.check(batch));
      // Lets signals and the other checks through.
      await new Promise((resolve) => setImmediate(resolve));
    }
  } else {
    await using pool = new WorkerPool(workerEntry("./object-worker", import.meta.url), {
      data: plain,
      ...(workers === undefined ? {} : { size: workers }),
    });
    const source = batches(ids);
    // Two batches per thread are on their way: no thread waits, and nothing piles up.
    const lane = async () => {
      for (const batch of source) {
        throwIfAborted(signal);
        take(batch, await pool.run<BadObject[]>(batch));
      }
    };
    await Promise.all(Array.from({ length: 2 * pool.size }, lane));
  }
  onProgress?.({ type: "done", id: "objects" });
  return damaged;
}

function* batches(ids: Iterable<ObjectId>): Generator<ObjectId[], void, undefined> {
  let batch: ObjectId[] = [];
  for (const id of ids) {
    batch.push(id);
    if (batch.length < BATCH) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}
