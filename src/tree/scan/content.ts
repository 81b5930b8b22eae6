// Digests of file contents while a directory is scanned (docs/spec/tree.md, section 2), on the thread that calls.

import type { Algorithm, ObjectId } from "../../bytes/algorithm.ts";
import { fsverityDigest, fsverityFile } from "../../core/fsverity.ts";
import { sparseDigest } from "../../core/sparse.ts";
import { ComposefsError } from "../../error.ts";
import { scanCalls } from "../../runtime/scan-calls.ts";

/** Files up to this size are read in one call, which also shows whether they have grown. */
const WHOLE = 256 << 10;
const PAGE = 4096;

let area: Buffer | undefined;

/** What makes a file that others write to while it is read an error instead of a digest of something that never was. */
export function changedError(): ComposefsError {
  return new ComposefsError("io", "the file was changed while it was read", {
    hint: "run the command again when nothing writes to the directory, or scan a snapshot of it",
  });
}

/** Whether a file of that size is read in one call. */
export function isWhole(size: number): boolean {
  return size <= WHOLE;
}

/** The whole content of a file that is at most 256 KiB long. Valid until the next call. */
export function readWhole(fd: number, size: number): Uint8Array {
  // In the middle of a page: copying out of the page cache to its start is up to four times slower.
  area ??= Buffer.allocUnsafeSlow(WHOLE + PAGE).subarray(PAGE / 2, PAGE / 2 + WHOLE + 1);
  const { read } = scanCalls();
  let length = 0;
  // One byte more than there should be shows growth; a read that ends early is the end, or a file system that gives less.
  for (let n = 1; n > 0 && length < size; length += n) {
    n = read(fd, length === 0 ? area : area.subarray(length), size + 1 - length, length);
  }
  if (length !== size) throw changedError();
  return area.subarray(0, size);
}

/** The fs-verity digests of an open file, one for each algorithm. `check` may throw, before each piece of a large file. */
export function contentDigests(
  fd: number,
  size: number,
  algorithms: readonly Algorithm[],
  check: () => void = () => undefined,
): ObjectId[] {
  if (!isWhole(size)) return algorithms.map((algorithm) => largeDigest(fd, size, algorithm, check));
  const content = readWhole(fd, size);
  return algorithms.map((algorithm) => fsverityDigest(algorithm, content));
}

function largeDigest(fd: number, size: number, algorithm: Algorithm, check: () => void): ObjectId {
  const calls = scanCalls();
  const read: typeof calls.read = (from, target, length, position) => {
    check();
    return calls.read(from, target, length, position);
  };
  if (calls.nextHole(fd, 0) >= size) return fsverityFile(algorithm, fd, size, read);
  return sparseDigest(algorithm, {
    size,
    read: (target, length, position) => read(fd, target, length, position),
    nextData: (position) => calls.nextData(fd, position),
    nextHole: (position) => calls.nextHole(fd, position),
  });
}
