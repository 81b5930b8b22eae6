// Contents of scanned files become objects: how the scan's threads store a file (docs/spec/tree.md, section 3.1).

import { closeSync, constants, openSync } from "node:fs";
import type { ObjectId } from "../bytes/algorithm.ts";
import { fsDescriptor } from "../runtime/scan-calls.ts";
import { syscalls } from "../runtime/syscalls.ts";
import { workerEntry } from "../runtime/workers.ts";
import { isWhole, readWhole } from "../tree/scan/content.ts";
import type { FileWork } from "../tree/scan/file-pool.ts";
import { ObjectStore, type ObjectStoreOptions } from "./object-store.ts";

/** The work of a scan that stores every file in an object store. */
export function storingWork(options: ObjectStoreOptions): FileWork {
  const store = new ObjectStore(options);
  return {
    here: (fd, size) => [storeFile(store, fd, size)],
    entry: workerEntry("./scan-worker", import.meta.url),
    data: options,
  };
}

/** Stores one open file. `check` may throw, before each piece of a large one. */
export function storeFile(store: ObjectStore, fd: number, size: number, check?: () => void): ObjectId {
  // What is in memory is hashed once, and cannot change between hashing and writing.
  if (isWhole(size)) return store.putSync(readWhole(fd, size)).id;
  const file = fsDescriptor(fd);
  try {
    return store.putFileSync(file.fd, size, check).id;
  } finally {
    file.release();
  }
}

/** Makes what was stored durable: all that the file system of the directory holds. */
export function syncStore(path: string): void {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    syscalls().syncfs(fd, path);
  } finally {
    closeSync(fd);
  }
}
