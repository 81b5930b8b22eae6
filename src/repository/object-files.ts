// Many objects, one after the other: their files by paths below the open directory of objects, through the system calls themselves
// where those can be called, which takes half the time. What is read is believed by nobody yet (docs/spec/repository.md, section 10).

import { closeSync, constants, lstatSync, openSync, readSync } from "node:fs";
import { type Algorithm, DIGEST_SIZE, objectPath } from "../bytes/algorithm.ts";
import { toHex } from "../bytes/hex.ts";
import { type ScanCalls, scanCallsIfAny } from "../runtime/scan-calls.ts";

/** An object's file, open. Its descriptor may be one that `node:fs` does not know. */
export interface ObjectFile {
  readonly fd: number;
  /** Reads up to `length` bytes at a position; 0 at the end. */
  readonly read: (fd: number, target: Uint8Array, length: number, position: number) => number;
}

// Neither links nor FIFOs are followed or waited for.
const FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | (constants.O_NONBLOCK ?? 0);
const PAGE = 4096;

/** The files of a directory of objects. Dispose it. All methods throw errors that have the symbolic errno as their code. */
export class ObjectFiles implements Disposable {
  readonly #directory: string;
  readonly #size: number;
  readonly #calls: ScanCalls | undefined;
  #fd = -1;
  readonly #read: ObjectFile["read"];
  // `xx/rest` and a NUL: for system calls paths are written here, where a string for each would cost as much as a call.
  readonly #path: Uint8Array;

  /** @param directory path of the directory of objects */
  constructor(directory: string, algorithm: Algorithm) {
    this.#directory = directory;
    this.#size = DIGEST_SIZE[algorithm];
    this.#path = new Uint8Array(2 * this.#size + 2);
    this.#path[2] = 0x2f;
    this.#calls = scanCallsIfAny();
    this.#read = this.#calls?.read ?? ((fd, target, length, position) => readSync(fd, target, 0, length, position));
  }

  /** Bytes of the file of the object whose digest is at `at`; it is not opened. */
  size(digests: Uint8Array, at: number): number {
    const calls = this.#calls;
    return calls
      ? calls.look(this.#opened(calls), this.#relative(digests, at)).size
      : lstatSync(this.#absolute(digests, at)).size;
  }

  /** Opens the file of the object whose digest is at `at` for an action, and closes it. */
  use<T>(digests: Uint8Array, at: number, action: (file: ObjectFile) => T): T {
    const calls = this.#calls;
    const fd = calls
      ? calls.open(this.#opened(calls), this.#relative(digests, at), "file", false)
      : openSync(this.#absolute(digests, at), FLAGS);
    try {
      return action({ fd, read: this.#read });
    } finally {
      if (calls) calls.close(fd);
      else closeSync(fd);
    }
  }

  [Symbol.dispose](): void {
    if (this.#fd >= 0) this.#calls?.close(this.#fd);
    this.#fd = -1;
  }

  #opened(calls: ScanCalls): number {
    if (this.#fd < 0) this.#fd = calls.openRoot(`${this.#directory}/.`);
    return this.#fd;
  }

  #relative(digests: Uint8Array, at: number): Uint8Array {
    const path = this.#path;
    for (let i = 0; i < this.#size; i++) {
      const byte = digests[at + i] as number;
      const to = i === 0 ? 0 : 2 * i + 1;
      path[to] = DIGITS[byte >> 4] as number;
      path[to + 1] = DIGITS[byte & 15] as number;
    }
    return path;
  }

  #absolute(digests: Uint8Array, at: number): string {
    return `${this.#directory}/${objectPath(toHex(digests.subarray(at, at + this.#size)))}`;
  }
}

const DIGITS = Buffer.from("0123456789abcdef", "latin1");

/**
 * A buffer to read into that begins in the middle of a page: copying from the page cache to where the C library puts large blocks, 16
 * bytes behind the start of a page, is up to four times slower on current x86 processors.
 */
export function readBuffer(size: number): Uint8Array {
  return new Uint8Array(new ArrayBuffer(size + PAGE), PAGE / 2, size);
}
