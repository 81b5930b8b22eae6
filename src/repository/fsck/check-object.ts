// Checks the files below `objects/`, one by one and synchronously: usable in a worker thread.

import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { type Algorithm, type ObjectId, objectPath } from "../../bytes/algorithm.ts";
import { fsverityDigest, fsverityFile } from "../../core/fsverity.ts";
import { syscalls } from "../../runtime/syscalls.ts";

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
export class ObjectChecker {
  readonly #options: ObjectCheckOptions;
  readonly #buffer = new Uint8Array(BUFFER);
  // Without koffi a measurement is a child process: done only where the repository requires fs-verity.
  #measures: boolean;

  constructor(options: ObjectCheckOptions) {
    this.#options = options;
    this.#measures = options.secure || syscalls().provider === "koffi";
  }

  /** The bad ones among objects. */
  check(ids: readonly ObjectId[]): BadObject[] {
    const bad: BadObject[] = [];
    for (const id of ids) {
      const found = this.#checkOne(id);
      if (found) bad.push({ id, ...found });
    }
    return bad;
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
