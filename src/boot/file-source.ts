// A file on disk as a source of random reads: kernels, initramfs and UKIs are streamed from it, never held whole.

import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { displayBytes, toByteString } from "../bytes/byte-string.ts";
import { ComposefsError, systemError } from "../error.ts";
import type { PeSource } from "./pe/read.ts";

/** An open file; dispose of it with `using`. */
export interface FileSource extends PeSource, Disposable {
  readonly path: string;
}

/**
 * Opens a regular file, or a link to one, for random reads.
 *
 * @param name its path, as text or as bytes
 * @throws ComposefsError `not-found`, `invalid` for what is no regular file, `permission`, `io`
 * @example
 * ```ts
 * using file = openFileSource("linux.efi");
 * console.log(PeFile.read(file, file.path).architecture);
 * ```
 */
export function openFileSource(name: string | Uint8Array): FileSource {
  const path = typeof name === "string" ? name : displayBytes(toByteString(name));
  let fd: number;
  try {
    // O_NONBLOCK: a fifo must not make us wait for ever.
    fd = openSync(
      typeof name === "string" ? name : Buffer.from(name),
      constants.O_RDONLY | (constants.O_NONBLOCK ?? 0),
    );
  } catch (error) {
    throw systemError(error, `opening ${path}`, path);
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw new ComposefsError("invalid", `${path} is not a regular file`, { path });
    return new OpenFile(path, fd, stat.size);
  } catch (error) {
    closeSync(fd);
    throw systemError(error, `opening ${path}`, path);
  }
}

class OpenFile implements FileSource {
  readonly path: string;
  readonly size: number;
  #fd: number;

  constructor(path: string, fd: number, size: number) {
    this.path = path;
    this.#fd = fd;
    this.size = size;
  }

  read(position: number, length: number): Uint8Array {
    const buffer = new Uint8Array(Math.max(0, Math.min(length, this.size - position)));
    try {
      for (let at = 0; at < buffer.length; ) {
        const count = readSync(this.#fd, buffer, at, buffer.length - at, position + at);
        if (count === 0) return buffer.subarray(0, at);
        at += count;
      }
    } catch (error) {
      throw systemError(error, `reading ${this.path}`, this.path);
    }
    return buffer;
  }

  [Symbol.dispose](): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }
}
