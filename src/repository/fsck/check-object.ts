// Checks the files below `objects/`, one by one and synchronously: usable in a worker thread.

import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { type Algorithm, DIGEST_SIZE, type ObjectId, objectPath } from "../../bytes/algorithm.ts";
import { fsverityDigest, fsverityFile } from "../../core/fsverity.ts";
import { toHex } from "../../bytes/hex.ts";
import { syscalls } from "../../runtime/syscalls.ts";
import { ObjectFiles, readBuffer } from "../object-files.ts";

/** What is checked against; plain data. */
export interface ObjectCheckOptions {
  /** The repository's path. */
  path: string;
  algorithm: Algorithm;
  secure: boolean;
}

/** A file that is no good. */
export interface BadObject {
  id: ObjectId;
  kind: "object-open-failed" | "object-digest-mismatch" | "object-verity-failed" | "object-verity-missing";
  detail?: string;
}

const BUFFER = 1 << 20;

/**
 * Checks objects: the kernel's digest where it keeps one, and that it lets all of the content be read; else, in insecure
 * repositories, the computed digest.
 */
export class ObjectChecker implements Disposable {
  readonly #options: ObjectCheckOptions;
  readonly #buffer = readBuffer(BUFFER);
  readonly #files: ObjectFiles;
  // Without koffi a measurement is a child process: done only where the repository requires fs-verity.
  #measures: boolean;

  constructor(options: ObjectCheckOptions) {
    this.#options = options;
    this.#measures = options.secure || syscalls().provider === "koffi";
    this.#files = new ObjectFiles(`${options.path}/objects`, options.algorithm);
  }

  /**
   * The bad ones among objects.
   *
   * @param digests back to back
   */
  check(digests: Uint8Array): BadObject[] {
    const bad: BadObject[] = [];
    const digits = toHex(digests);
    const size = DIGEST_SIZE[this.#options.algorithm];
    for (let at = 0; at < digests.length; at += size) {
      const id = digits.slice(2 * at, 2 * (at + size));
      const found = this.#isGood(digests, at, id) ? undefined : this.#checkOne(id);
      if (found) bad.push({ id, ...found });
    }
    return bad;
  }

  [Symbol.dispose](): void {
    this.#files[Symbol.dispose]();
  }

  // The fast way for what is nearly always so: whatever it does not find good is checked again, and judged then.
  #isGood(digests: Uint8Array, at: number, id: ObjectId): boolean {
    const { algorithm, secure } = this.#options;
    const buffer = this.#buffer;
    try {
      return this.#files.use(digests, at, ({ fd, read }) => {
        const kernel = this.#measures ? this.#measure(fd, id) : undefined;
        if (secure && kernel !== id) return false;
        const size = read(fd, buffer, BUFFER, 0);
        if (size <= 0 || size === BUFFER) return false;
        if (kernel === id) return read(fd, buffer, BUFFER, size) === 0;
        return fsverityDigest(algorithm, buffer.subarray(0, size)) === id;
      });
    } catch {
      return false;
    }
  }

  #checkOne(id: ObjectId): Omit<BadObject, "id"> | undefined {
    const path = `${this.#options.path}/objects/${objectPath(id)}`;
    let fd: number;
    try {
      // Neither links nor FIFOs are followed or waited for.
      fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | (constants.O_NONBLOCK ?? 0));
    } catch (error) {
      return { kind: "object-open-failed", detail: reason(error) };
    }
    try {
      const stat = fstatSync(fd);
      if (!stat.isFile()) return { kind: "object-verity-failed", detail: "not a regular file" };
      const kernel = this.#measures ? this.#measure(fd, path) : undefined;
      if (kernel === undefined && this.#options.secure) return { kind: "object-verity-missing" };
      // The kernel's digest is what was once enabled; only reading makes it check the data.
      if (kernel === id) this.#readAll(fd, stat.size);
      const measured = kernel ?? this.#digest(fd, stat.size);
      return measured === id ? undefined : { kind: "object-digest-mismatch", detail: `measured ${measured}` };
    } catch (error) {
      return { kind: "object-verity-failed", detail: reason(error) };
    } finally {
      closeSync(fd);
    }
  }

  #measure(fd: number, path: string): ObjectId | undefined {
    const measured = syscalls().measureVerity(fd, path);
    // All objects lie on one file system: asking once is enough.
    if (measured === "unsupported") this.#measures = this.#options.secure;
    return typeof measured === "object" && measured.algorithm === this.#options.algorithm ? measured.digest : undefined;
  }

  #readAll(fd: number, size: number): void {
    for (let at = 0; at < size; ) {
      const count = readSync(fd, this.#buffer, 0, BUFFER, at);
      if (count === 0) return;
      at += count;
    }
  }

  #digest(fd: number, size: number): ObjectId {
    if (size > BUFFER) return fsverityFile(this.#options.algorithm, fd, size);
    let at = 0;
    while (at < size) {
      const count = readSync(fd, this.#buffer, at, size - at, at);
      if (count === 0) break;
      at += count;
    }
    return fsverityDigest(this.#options.algorithm, this.#buffer.subarray(0, at));
  }
}

function reason(error: unknown): string {
  const { code, message } = error as { code?: string; message?: string };
  return code ?? message ?? String(error);
}
