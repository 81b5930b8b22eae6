// A file is copied and hashed in one pass (docs/spec/tree.md, section 3.1): the digest is that of the copy, whatever happens to
// the source meanwhile.

import { fstatSync, ftruncateSync, readSync, writeSync } from "node:fs";
import type { Algorithm, ObjectId } from "../bytes/algorithm.ts";
import { FsverityHasher } from "../core/fsverity.ts";

const ZEROS = Buffer.alloc(1 << 20);

/**
 * Copies an open file to an empty one, holes too, and answers the fs-verity digest of the copy. Both descriptors are those of
 * `node:fs`.
 *
 * @param check may throw, before each piece
 */
export function copyHashing(
  algorithm: Algorithm,
  to: number,
  from: number,
  check: () => void = () => undefined,
): ObjectId {
  using hasher = new FsverityHasher(algorithm);
  const { size, blocks } = fstatSync(from);
  const sparse = blocks * 512 < size;
  let at = 0;
  for (let count = 1; count > 0; at += count) {
    check();
    const window = hasher.window();
    count = readSync(from, window, 0, window.length, at);
    const piece = window.subarray(0, count);
    if (!sparse || Buffer.compare(piece, ZEROS.subarray(0, count)) !== 0) writeAllAt(to, piece, at);
    hasher.advance(count);
  }
  if (sparse) ftruncateSync(to, at);
  return hasher.digest();
}

function writeAllAt(fd: number, bytes: Uint8Array, position: number): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at, position + at);
}
