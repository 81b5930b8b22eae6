// A segment of a big file, reduced to digests of its second level, so that threads can share the work and what they hand
// over stays small: 1/16384 of the file (docs/spec/wasm-core.md, section 4.5).

import { readSync } from "node:fs";
import { type Algorithm, DIGEST_SIZE } from "../bytes/algorithm.ts";
import { ComposefsError, systemError } from "../error.ts";
import type { Backend } from "./tree-hasher.ts";
import { BLOCK_SIZE, WINDOW_SIZE } from "./tree-hasher.ts";

/** A multiple of what a second-level digest covers (128 or 64 blocks), so that segments meet at its borders. */
export const SEGMENT_SIZE = 8 << 20;

/** Length of the digests that a whole segment is reduced to. */
export function segmentResultSize(algorithm: Algorithm): number {
  const size = DIGEST_SIZE[algorithm];
  return ((SEGMENT_SIZE / BLOCK_SIZE) * size * size) / BLOCK_SIZE;
}

/**
 * Hashes the bytes `start` to `end` of a file: their blocks, and the blocks of those hashes.
 *
 * @param start a multiple of {@link SEGMENT_SIZE}
 * @param end at most one segment further
 * @param result receives the second-level digests
 * @returns how many bytes of digests there are
 */
export function hashSegment(
  backend: Backend,
  algorithm: Algorithm,
  fd: number,
  start: number,
  end: number,
  result: Uint8Array,
): number {
  const firstLevel = Buffer.alloc((SEGMENT_SIZE / BLOCK_SIZE) * DIGEST_SIZE[algorithm]);
  let used = 0;
  for (let position = start; position < end; position += WINDOW_SIZE) {
    const length = Math.min(WINDOW_SIZE, end - position);
    readFully(fd, backend.blockWindow(), length, position);
    const digests = backend.hashWindow(algorithm, length);
    firstLevel.set(digests, used);
    used += digests.length;
  }
  backend.blockWindow().set(firstLevel.subarray(0, used));
  const digests = backend.hashWindow(algorithm, used);
  result.set(digests);
  return digests.length;
}

function readFully(fd: number, target: Uint8Array, length: number, position: number): void {
  for (let done = 0; done < length; ) {
    let n: number;
    try {
      n = readSync(fd, target, done, length - done, position + done);
    } catch (error) {
      throw systemError(error, "reading a file to hash");
    }
    if (n === 0) {
      throw new ComposefsError("io", `a file to hash ended after ${position + done} bytes`, {
        hint: "the file was changed meanwhile",
      });
    }
    done += n;
  }
}
