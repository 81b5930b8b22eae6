// One publication at a time. A config stream that two images share is read, extended and re-pointed; two pulls doing that
// at once would each lose what the other one added. Objects, layers and images are made outside of this lock, which is
// held for milliseconds. It is a lock of its own, on `streams/`: the one on the repository itself is for the collector.

import { closeSync, constants, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";

import { systemError } from "../error.ts";
import type { Repository } from "../repository/repository.ts";
import { syscalls } from "../runtime/syscalls.ts";

/**
 * Runs an action while no other pull, in this process or another one, publishes into the repository.
 *
 * @throws ComposefsError `aborted` when the signal fires while waiting
 */
export async function withPublishLock<T>(
  repository: Repository,
  signal: AbortSignal | undefined,
  action: () => Promise<T>,
): Promise<T> {
  repository.checkWritable();
  const path = join(repository.path, "streams");
  let fd: number;
  try {
    makeDirectory(path);
    fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    throw systemError(error, "opening the streams of the repository", path);
  }
  try {
    await syscalls().flock(fd, "exclusive", signal === undefined ? {} : { signal });
    return await action();
  } finally {
    closeSync(fd);
  }
}

// Made recursively, Node reports any failure as a missing directory.
function makeDirectory(path: string): void {
  try {
    mkdirSync(path, 0o755);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}
