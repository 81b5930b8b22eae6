// Opening objects for reading, and what is checked then (docs/spec/repository.md, sections 2 and 3).

import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import type { Algorithm, ObjectId } from "../bytes/algorithm.ts";
import { ComposefsError, systemError } from "../error.ts";
import { syscalls } from "../runtime/syscalls.ts";
import type { PositionedReader } from "../splitstream/read.ts";

/** An open object. */
export interface StoredObject extends PositionedReader {
  readonly id: ObjectId;
  /** Its descriptor; read-only. */
  readonly fd: number;
  /** Whether the kernel vouches for the content: it keeps the right fs-verity digest and checks every read. */
  readonly verified: boolean;
  /** Closes the descriptor. Harmless when called again. */
  close(): void;
}

/**
 * Opens the file of an object. In secure repositories the kernel's digest must exist and be right; in insecure ones it
 * must be right if there is one, else the caller has to verify the content (`verified` is false).
 *
 * @throws ComposefsError `not-found`, or `corrupt` when it is no regular file or its digest is not the right one
 */
export function openObject(
  path: string,
  id: ObjectId,
  options: { algorithm: Algorithm; secure: boolean; unchecked?: boolean },
): StoredObject {
  const fd = openFile(path, id);
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile())
      throw new ComposefsError("corrupt", `object ${id} is not a regular file`, { path, digest: id, hint: REPAIR });
    const verified = options.unchecked ? false : checkKernelDigest(fd, path, id, options);
    return new FileObject(id, fd, stat.size, verified);
  } catch (error) {
    closeSync(fd);
    throw systemError(error, `opening object ${id}`, path);
  }
}

/** What helps against damage. */
const REPAIR = "run `composefs fsck --repair`, then pull the image again";

/** The error for an object whose content has another digest than its name. */
export function isDamaged(id: ObjectId, measured: ObjectId): ComposefsError {
  return new ComposefsError("corrupt", `object ${id} is damaged: its content has the digest ${measured}`, {
    digest: id,
    hint: REPAIR,
  });
}

// O_NONBLOCK: a FIFO in the place of an object must not make us wait for ever.
const FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | (constants.O_NONBLOCK ?? 0);

function openFile(path: string, id: ObjectId): number {
  try {
    return openSync(path, FLAGS);
  } catch (error) {
    const code = (error as { code?: unknown }).code;
    if (code === "ENOENT")
      throw new ComposefsError("not-found", `object ${id} is missing`, {
        path,
        digest: id,
        cause: error,
        hint: "pull the image again to restore it",
      });
    if (code === "ELOOP" || code === "ENXIO")
      throw new ComposefsError("corrupt", `object ${id} is not a regular file`, { path, digest: id, hint: REPAIR });
    throw systemError(error, `opening object ${id}`, path);
  }
}

function checkKernelDigest(
  fd: number,
  path: string,
  id: ObjectId,
  options: { algorithm: Algorithm; secure: boolean },
): boolean {
  if (!options.secure && !mayHaveVerity(options)) return false;
  const measured = syscalls().measureVerity(fd, path);
  if (typeof measured === "object" && measured.algorithm === options.algorithm) {
    if (measured.digest !== id) throw isDamaged(id, measured.digest);
    return true;
  }
  if (options.secure)
    throw new ComposefsError("corrupt", `object ${id}: fs-verity is not enabled on its file`, {
      path,
      digest: id,
      hint: REPAIR,
    });
  return false;
}

// Without koffi a measurement is a child process: too dear per object where the content is verified in software anyway.
function mayHaveVerity(options: { secure: boolean }): boolean {
  return options.secure || syscalls().provider === "koffi";
}

class FileObject implements StoredObject {
  readonly id: ObjectId;
  readonly size: number;
  readonly verified: boolean;
  #fd: number;

  constructor(id: ObjectId, fd: number, size: number, verified: boolean) {
    this.id = id;
    this.#fd = fd;
    this.size = size;
    this.verified = verified;
  }

  get fd(): number {
    return this.#fd;
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
      if (this.verified && (error as { code?: unknown }).code === "EIO")
        throw new ComposefsError(
          "corrupt",
          `object ${this.id} is damaged: the kernel refuses its data, which fs-verity does not vouch for`,
          {
            digest: this.id,
            cause: error,
            hint: REPAIR,
          },
        );
      throw systemError(error, `reading object ${this.id}`);
    }
    return buffer;
  }

  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }
}
