// Ranges of an open file as chunks: blobs in layouts, members of archives.

import type { FileHandle } from "node:fs/promises";

import { ComposefsError, systemError, throwIfAborted } from "../../error.ts";

/** Bytes per read: large enough to cost nothing, small enough for many layers at once. */
const CHUNK_SIZE = 256 * 1024;

/** What {@link readRange} reads. */
export interface FileRange {
  /** Where it begins, in bytes. */
  readonly offset: number;
  /** Bytes of it. */
  readonly size: number;
}

/** What the range is, for errors. */
export interface RangeNames {
  /** As in "the blob sha256:...". */
  readonly what: string;
  readonly path: string;
  readonly digest?: string;
}

/**
 * Reads a range of an open file.
 *
 * @throws ComposefsError `digest-mismatch` when the file ends inside the range; `io`, `aborted`
 */
export async function* readRange(
  file: FileHandle,
  { offset: start, size }: FileRange,
  { what, path, digest }: RangeNames,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  for (let offset = 0; offset < size; ) {
    throwIfAborted(signal);
    const chunk = Buffer.allocUnsafeSlow(Math.min(CHUNK_SIZE, size - offset));
    let bytesRead: number;
    try {
      ({ bytesRead } = await file.read(chunk, 0, chunk.length, start + offset));
    } catch (error) {
      throw systemError(error, `reading ${what}`, path);
    }
    if (bytesRead === 0) {
      throw new ComposefsError("digest-mismatch", `${what} ended after ${offset} of ${size} bytes`, {
        path,
        ...(digest === undefined ? {} : { digest }),
        hint: `it was cut while it was being read; is something writing to ${path}?`,
      });
    }
    offset += bytesRead;
    yield chunk.subarray(0, bytesRead);
  }
}
