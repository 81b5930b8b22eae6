// How much room a file system has.

import { statfsSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";

/** Free bytes of the file system that a directory is on or will be on, as far as they are not reserved for root. */
export function freeSpace(path: string): number {
  if (statSync(path, { throwIfNoEntry: false }) === undefined) return freeSpace(dirname(resolve(path)));
  const { bavail, bsize } = statfsSync(path);
  return bavail * bsize;
}
