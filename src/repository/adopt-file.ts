// Objects of files that someone else owns, without a copy of their bytes (docs/spec/containers-storage.md, section 8.1): by sharing
// blocks, or by a second name for the same file. This file says when a name may be given, and hashes what was got.

import { type BigIntStats, readSync } from "node:fs";
import type { Algorithm, ObjectId } from "../bytes/algorithm.ts";
import { fsverityDigest, FsverityHasher } from "../core/fsverity.ts";
import { syscalls } from "../runtime/syscalls.ts";

/** A way to get an object without a copy. */
export type AdoptMethod = "reflink" | "hardlink";

/** A file to make an object of. */
export interface AdoptableFile {
  /** Open for reading. */
  readonly fd: number;
  /** A path by which it can be linked. */
  readonly path: string | Buffer;
  /** Bytes. */
  readonly size: number;
  /** Told of the bytes, in order, as they are in the object. */
  update(bytes: Uint8Array): void;
  /** Called after the last one and before the object has its name; throws to refuse it. */
  finish(): void;
}

/** Files that fit are read whole: a hasher for each would take longer than hashing most of them. */
const SMALL = 1 << 20;
let scratch: Uint8Array | undefined;

/** Hashes an open file and tells of its bytes, in one pass. */
export function hashTold(algorithm: Algorithm, fd: number, file: AdoptableFile): { id: ObjectId; size: number } {
  if (file.size < SMALL) {
    scratch ??= new Uint8Array(SMALL);
    let length = 0;
    for (let count = 1; count > 0 && length < SMALL; length += count) {
      count = readSync(fd, scratch, length, SMALL - length, length);
    }
    const bytes = scratch.subarray(0, length);
    file.update(bytes);
    file.finish();
    return { id: fsverityDigest(algorithm, bytes), size: length };
  }
  using hasher = new FsverityHasher(algorithm);
  let size = 0;
  for (;;) {
    const window = hasher.window();
    const count = readSync(fd, window, 0, window.length, size);
    if (count === 0) break;
    file.update(window.subarray(0, count));
    hasher.advance(count);
    size += count;
  }
  file.finish();
  return { id: hasher.digest(), size };
}

/** What keeps an open file from getting a second name as an object; undefined when nothing does. */
export function linkObstacle(
  file: Pick<BigIntStats, "dev">,
  objects: Pick<BigIntStats, "dev">,
  fd: number,
  algorithm: Algorithm,
): string | undefined {
  // First of all: nothing of the file may change when the link fails.
  if (file.dev !== objects.dev) return "it is on another file system than the repository";
  const measured = syscalls().measureVerity(fd, "the file");
  if (measured === "foreign" || (typeof measured === "object" && measured.algorithm !== algorithm)) {
    return "it has fs-verity of another kind than the repository";
  }
  return undefined;
}
