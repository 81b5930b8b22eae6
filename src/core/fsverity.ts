// fs-verity digests: the ids of objects and images (docs/spec/repository.md, section 5).

import { readSync } from "node:fs";
import type { Algorithm, ObjectId } from "../bytes/algorithm.ts";
import { ComposefsError, systemError } from "../error.ts";
import { backend } from "./backend.ts";
import { type TreeHasher, WINDOW_SIZE } from "./tree-hasher.ts";

/**
 * The fs-verity digest of bytes in memory: block size 4096, no salt. Cheap enough for tens of thousands of small files.
 *
 * @example
 * ```ts
 * fsverityDigest("sha256", Buffer.from("hello world"));
 * // "1e2eaa4202d750a41174ee454970b92c1bc2f925b1e35076d8c7d5f56362ba64"
 * ```
 */
export function fsverityDigest(algorithm: Algorithm, data: Uint8Array): ObjectId {
  return backend(algorithm, data.length).digest(algorithm, data);
}

/**
 * A streaming fs-verity digest of up to 2^53-1 bytes in constant memory. Data comes as chunks of any size ({@link update}),
 * or is read straight into the hasher's window ({@link window} and {@link advance}). Dispose it to give its memory back.
 *
 * @example
 * ```ts
 * using hasher = new FsverityHasher("sha512");
 * for (let n: number; (n = readSync(fd, hasher.window())) > 0; ) hasher.advance(n);
 * console.log(hasher.digest());
 * ```
 */
export class FsverityHasher implements Disposable {
  #hasher: TreeHasher | undefined;
  #size = 0;
  #room = 0;

  constructor(algorithm: Algorithm) {
    this.#hasher = backend(algorithm, WINDOW_SIZE).newHasher(algorithm);
  }

  /** Bytes consumed so far. */
  get size(): number {
    return this.#size;
  }

  /** Appends data. */
  update(data: Uint8Array): void {
    this.#active().update(data);
    this.#size += data.length;
    this.#room = 0;
  }

  /**
   * The free part of the input window, to be written to and then consumed with {@link advance}. It is valid until the next
   * call of any method of this library.
   *
   * @param min least number of bytes wanted, at most 1 MiB
   */
  window(min = 1): Uint8Array {
    if (!(min >= 0 && min <= WINDOW_SIZE)) {
      throw new ComposefsError("usage", `a window of ${min} bytes was asked for, the largest is ${WINDOW_SIZE}`);
    }
    const window = this.#active().window(min);
    this.#room = window.length;
    return window;
  }

  /** Consumes the first `n` bytes of the window that the last call of {@link window} gave. */
  advance(n: number): void {
    const hasher = this.#active();
    if (!Number.isInteger(n) || n < 0 || n > this.#room) {
      throw new ComposefsError("usage", `cannot advance by ${n} bytes, the window has ${this.#room}`);
    }
    hasher.advance(n);
    this.#size += n;
    this.#room = 0;
  }

  /** The digest. The hasher is spent afterwards and has given its memory back. */
  digest(): ObjectId {
    const id = this.#active().finish();
    this[Symbol.dispose]();
    return id;
  }

  [Symbol.dispose](): void {
    this.#hasher?.free();
    this.#hasher = undefined;
  }

  #active(): TreeHasher {
    if (this.#hasher === undefined) {
      throw new ComposefsError("usage", "this hasher is spent: it has given its digest or was disposed");
    }
    return this.#hasher;
  }
}

/** Hashers for whole files, one per algorithm and back end. They are only used within one call. */
const scratch = new Map<string, TreeHasher>();

/**
 * The fs-verity digest of an open file, from its start to its end, read synchronously.
 *
 * @param fd a file open for reading; its position is neither used nor changed
 * @param size the file's size if it is known: a file of another size is an error then
 * @param read reads up to `length` bytes at a position into the target; for descriptors that `node:fs` does not know
 * @throws ComposefsError `io` if reading fails or the file is shorter than `size`
 */
export function fsverityFile(
  algorithm: Algorithm,
  fd: number,
  size?: number,
  read: (fd: number, target: Uint8Array, length: number, position: number) => number = readAt,
): ObjectId {
  const chosen = backend(algorithm, size ?? 0);
  const key = `${chosen.name} ${algorithm}`;
  const hasher = scratch.get(key) ?? chosen.newHasher(algorithm);
  // A trap of the core makes the hasher useless: it only comes back when all went well.
  scratch.delete(key);
  let position = 0;
  while (position !== size) {
    const window = hasher.window(1);
    const length = Math.min(window.length, (size ?? Infinity) - position);
    const n = read(fd, window, length, position);
    if (n === 0) break;
    hasher.advance(n);
    position += n;
  }
  const id = hasher.finish();
  hasher.reset();
  scratch.set(key, hasher);
  if (size !== undefined && position !== size) {
    throw new ComposefsError("io", `a file to hash ended after ${position} bytes, expected ${size}`, {
      hint: "the file was changed meanwhile",
    });
  }
  return id;
}

function readAt(fd: number, target: Uint8Array, length: number, position: number): number {
  try {
    return readSync(fd, target, 0, length, position);
  } catch (error) {
    throw systemError(error, "reading a file to hash");
  }
}
