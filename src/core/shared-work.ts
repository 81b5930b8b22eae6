// One big file that several threads hash: the segments that are left and the digests that are done lie in shared memory.

import { closeSync, fstatSync } from "node:fs";
import type { Algorithm } from "../bytes/algorithm.ts";
import { ComposefsError } from "../error.ts";
import { backend } from "./backend.ts";
import { hashSegment, SEGMENT_SIZE, segmentResultSize } from "./segment.ts";
import { openForReading } from "../runtime/open-file.ts";

/** Plain data that every thread gets. */
export interface SharedWork {
  path: string;
  /** Identity of the file, as it may be replaced while threads start. */
  inode: bigint;
  size: number;
  algorithm: Algorithm;
  /** One counter: the next segment to take. */
  next: Int32Array;
  /** Second-level digests of all segments; only the last one has fewer than the others. */
  digests: Uint8Array;
}

/** Sets up the work on an open file. */
export function shareWork(path: string, fd: number, algorithm: Algorithm): SharedWork {
  const { ino, size } = fstatSync(fd, { bigint: true });
  const segments = Math.ceil(Number(size) / SEGMENT_SIZE);
  return {
    path,
    inode: ino,
    size: Number(size),
    algorithm,
    next: new Int32Array(new SharedArrayBuffer(4)),
    digests: new Uint8Array(new SharedArrayBuffer(segments * segmentResultSize(algorithm))),
  };
}

/** Opens the file of the work in this thread. */
export function openShared({ path, inode, size }: SharedWork): Disposable & { readonly fd: number } {
  const fd = openForReading(path);
  const stat = fstatSync(fd, { bigint: true });
  if (stat.ino !== inode || stat.size !== BigInt(size)) {
    closeSync(fd);
    throw new ComposefsError("io", `${path} was changed while it was read`, { path });
  }
  return { fd, [Symbol.dispose]: () => closeSync(fd) };
}

/** Takes segments and hashes them until none is left; yields after each. */
export function* hashSharedSegments(work: SharedWork, fd: number): Iterable<number> {
  const { algorithm, size, next, digests } = work;
  const chosen = backend(algorithm, size);
  const length = segmentResultSize(algorithm);
  for (;;) {
    const segment = Atomics.add(next, 0, 1);
    const start = segment * SEGMENT_SIZE;
    if (start >= size) return;
    const end = Math.min(start + SEGMENT_SIZE, size);
    const result = digests.subarray(segment * length, (segment + 1) * length);
    yield hashSegment(chosen, algorithm, fd, start, end, result);
  }
}

/** Makes all threads stop after their current segment. */
export function cancelWork({ next }: SharedWork): void {
  Atomics.store(next, 0, 0x3fffffff);
}
