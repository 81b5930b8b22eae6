// fs-verity digests of whole files, with several threads for big ones (docs/spec/wasm-core.md, section 4.5).

import { closeSync, fstatSync } from "node:fs";
import type { Algorithm, ObjectId } from "../bytes/algorithm.ts";
import { ComposefsError, throwIfAborted } from "../error.ts";
import { fsverityFile } from "./fsverity.ts";
import { openForReading } from "../runtime/open-file.ts";

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
  const { threads, signal } = options;
  throwIfAborted(signal);
  const fd = openForReading(path);
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw new ComposefsError("invalid", `${path} is not a regular file`, { path });
    if (threads === 1 || stat.size < PARALLEL_THRESHOLD) {
      return { digest: fsverityFile(algorithm, fd, stat.size), size: stat.size };
    }
    // Most files are small, and threads are slow to load.
    const { measureTogether } = await import("./parallel.ts");
    return await measureTogether(algorithm, path, fd, threads, signal);
  } finally {
    closeSync(fd);
  }
}
