// A part of a disk image that is being written: blocks of zeros are left out, so that they are holes of the file.

import { writeSync } from "node:fs";
import { ComposefsError } from "../../error.ts";

/** Blocks of file systems and of the trees of fs-verity, in bytes. */
export const BLOCK = 4096;
const ZEROS = Buffer.alloc(BLOCK);

/** Where bytes go. The file has its size already, and reads as zeros. */
export interface BlockOutput {
  /**
   * Writes at a position of the part, in bytes.
   *
   * @throws the operating system's error; ComposefsError `internal` outside of the part
   */
  write(position: number, bytes: Uint8Array): void;
}

/** A part of an open file as an output. */
export class SparseOutput implements BlockOutput {
  readonly #fd: number;
  readonly #offset: number;
  readonly #size: number;

  /**
   * @param offset where the part begins in the file, a multiple of 4096
   * @param size of the part in bytes
   */
  constructor(fd: number, offset: number, size: number) {
    this.#fd = fd;
    this.#offset = offset;
    this.#size = size;
  }

  write(position: number, bytes: Uint8Array): void {
    const { length } = bytes;
    if (position < 0 || position + length > this.#size)
      throw new ComposefsError("internal", `${length} bytes at ${position} are outside of ${this.#size}`);
    let start = 0;
    for (let at = 0; at < length; ) {
      const end = Math.min(length, at + BLOCK - ((position + at) % BLOCK));
      if (isZero(bytes, at, end)) {
        this.#put(position, bytes, start, at);
        start = end;
      }
      at = end;
    }
    this.#put(position, bytes, start, length);
  }

  #put(position: number, bytes: Uint8Array, start: number, end: number): void {
    for (let at = start; at < end; ) at += writeSync(this.#fd, bytes, at, end - at, this.#offset + position + at);
  }
}

function isZero(bytes: Uint8Array, start: number, end: number): boolean {
  // Most blocks differ at once; what is left is one comparison in native code.
  return bytes[start] === 0 && ZEROS.subarray(0, end - start).equals(bytes.subarray(start, end));
}
