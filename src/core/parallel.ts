// fs-verity digests of big files with several threads (docs/spec/wasm-core.md, section 4.5).

import { setImmediate } from "node:timers/promises";
import { type Algorithm, DIGEST_SIZE } from "../bytes/algorithm.ts";
import { throwIfAborted } from "../error.ts";
import { defaultWorkers, WorkerPool, workerEntry } from "../runtime/workers.ts";
import { backend } from "./backend.ts";
import { coreModules } from "./load.ts";
import type { MeasuredFile } from "./measure.ts";
import type { SegmentWorkerData } from "./segment-worker.ts";
import { cancelWork, hashSharedSegments, shareWork } from "./shared-work.ts";
import { BLOCK_SIZE } from "./tree-hasher.ts";

/**
 * The digest of a big file, computed by several threads. This one is among them: it is there already, while the others need
 * tens of milliseconds to start.
 *
 * @param fd the file, open for reading
 */
export async function measureTogether(
  algorithm: Algorithm,
  path: string,
  fd: number,
  threads = defaultWorkers(),
  signal?: AbortSignal,
): Promise<MeasuredFile> {
  const work = shareWork(path, fd, algorithm);
  const { size } = work;
  const { name } = backend(algorithm, size);
  const data: SegmentWorkerData = { choice: name, modules: name === "wasm" ? coreModules() : undefined };
  await using pool = new WorkerPool(workerEntry("./segment-worker", import.meta.url), { size: threads - 1, data });
  const others = Array.from({ length: threads - 1 }, () => pool.run(work));
  // Their errors are seen below; until then they must not count as unhandled.
  const outcomes = Promise.allSettled(others);
  try {
    for (const _ of hashSharedSegments(work, fd)) {
      await setImmediate();
      throwIfAborted(signal);
    }
    await Promise.all(others);
  } finally {
    cancelWork(work);
    await outcomes;
  }
  const hasher = backend(algorithm, size).newHasher(algorithm);
  try {
    hasher.update(work.digests.subarray(0, secondLevelSize(algorithm, size)));
    return { digest: hasher.finish(size), size };
  } finally {
    hasher.free();
  }
}

/** Length of all second-level digests of a file. */
function secondLevelSize(algorithm: Algorithm, size: number): number {
  const digest = DIGEST_SIZE[algorithm];
  const firstLevel = Math.ceil(size / BLOCK_SIZE) * digest;
  return Math.ceil(firstLevel / BLOCK_SIZE) * digest;
}
