// fs-verity digests of whole files, with several threads for big ones (docs/spec/wasm-core.md, section 4.5).

import { closeSync, fstatSync, openSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { type Algorithm, DIGEST_SIZE, type ObjectId } from "../bytes/algorithm.ts";
import { ComposefsError, systemError, throwIfAborted } from "../error.ts";
import { defaultWorkers, WorkerPool, workerEntry } from "../runtime/workers.ts";
import { backend } from "./backend.ts";
import { fsverityFile } from "./fsverity.ts";
import { coreModules } from "./load.ts";
import type { SegmentWorkerData } from "./segment-worker.ts";
import { cancelWork, hashSharedSegments, type SharedWork, shareWork } from "./shared-work.ts";
import { BLOCK_SIZE } from "./tree-hasher.ts";

/** Below this size the threads would start later than one is done. */
const PARALLEL_THRESHOLD = 64 << 20;

/** How {@link measureFile} works. */
export interface MeasureOptions {
  /** Threads for a file of 64 MiB or more, the calling one included; as many as there are processors, at most 4, when left out. */
  threads?: number;
  signal?: AbortSignal;
}

/** What {@link measureFile} finds. */
export interface MeasuredFile {
  digest: ObjectId;
  /** Bytes. */
  size: number;
}

/**
 * The fs-verity digest of a file, as the kernel would compute it with 4096-byte blocks and no salt.
 *
 * @throws ComposefsError `not-found`, `permission`, `io`, or `invalid` when it is no regular file
 * @example
 * ```ts
 * const { digest, size } = await measureFile("sha256", "/usr/bin/env");
 * ```
 */
export async function measureFile(
  algorithm: Algorithm,
  path: string,
  options: MeasureOptions = {},
): Promise<MeasuredFile> {
  const { threads = defaultWorkers(), signal } = options;
  throwIfAborted(signal);
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (error) {
    throw systemError(error, `opening ${path}`, path);
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw new ComposefsError("invalid", `${path} is not a regular file`, { path });
    if (threads <= 1 || stat.size < PARALLEL_THRESHOLD) {
      return { digest: fsverityFile(algorithm, fd, stat.size), size: stat.size };
    }
    const work = shareWork(path, fd, algorithm);
    return { digest: await hashTogether(work, fd, threads, signal), size: work.size };
  } finally {
    closeSync(fd);
  }
}

/** This thread hashes too: it is there already, the others need tens of milliseconds to start. */
async function hashTogether(
  work: SharedWork,
  fd: number,
  threads: number,
  signal: AbortSignal | undefined,
): Promise<ObjectId> {
  const { algorithm, size } = work;
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
    return hasher.finish(size);
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
