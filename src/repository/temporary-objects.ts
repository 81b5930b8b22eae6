// Temporary files in `objects/`, which become objects under their final names (docs/spec/repository.md, section 6), and the system calls and
// errors around them.

import {
  closeSync,
  constants,
  fstatSync,
  linkSync,
  mkdirSync,
  openSync,
  renameSync,
  statfsSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { randomBytes } from "node:crypto";
import type { Algorithm, ObjectId } from "../bytes/algorithm.ts";
import { ComposefsError, systemError } from "../error.ts";
import { syscalls } from "../runtime/syscalls.ts";
import { type AdoptableFile, linkObstacle } from "./adopt-file.ts";

/** First characters of the names of temporary files in `objects/`. */
export const TEMPORARY_OBJECT = ".tmp-object-";

/** The temporary files of one store. */
export class TemporaryObjects {
  readonly #objects: string;
  readonly #options: { readonly path: string; readonly algorithm: Algorithm };
  readonly #prefix: string;
  #count = 0;

  /** @param objects the directory */
  constructor(objects: string, options: { readonly path: string; readonly algorithm: Algorithm }) {
    this.#objects = objects;
    this.#options = options;
    this.#prefix = `${objects}/${TEMPORARY_OBJECT}${randomBytes(6).toString("hex")}-`;
  }

  /** A new file. */
  create(access: number = constants.O_WRONLY): Temporary {
    const flags = access | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    for (let attempt = 0; ; attempt++) {
      const path = `${this.#prefix}${this.#count++}`;
      try {
        return { fd: openSync(path, flags, 0o644), path };
      } catch (error) {
        if (attempt > 0 || errorCode(error) !== "ENOENT") throw writeError(this.#options.path, error, undefined, 0);
        makeDirectory(this.#objects);
      }
    }
  }

  /** A file that shares the blocks of another; else why it cannot, in words that follow "because". */
  clone({ fd }: AdoptableFile): Temporary | string {
    const temporary = this.create(constants.O_RDWR);
    if (syscalls().cloneFile(temporary.fd, fd)) return temporary;
    this.drop(temporary);
    return "the file systems of both cannot share blocks";
  }

  /** Another name of a file; else why it cannot have one. */
  link(file: AdoptableFile): Temporary | string {
    makeDirectory(this.#objects);
    const source = fstatSync(file.fd, { bigint: true });
    const obstacle = linkObstacle(source, statSync(this.#objects, { bigint: true }), file.fd, this.#options.algorithm);
    if (obstacle !== undefined) return obstacle;
    const path = `${this.#prefix}${this.#count++}`;
    try {
      linkSync(file.path, path);
    } catch (error) {
      const { code = "", message } = error as { code?: string; message: string };
      if (["EPERM", "EACCES", "EXDEV", "EMLINK", "EOPNOTSUPP"].includes(code)) return `linking it fails with ${code}`;
      throw systemError(error, `linking a file as an object: ${message}`, this.#options.path);
    }
    try {
      const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
      const linked = fstatSync(fd, { bigint: true });
      if (linked.dev === source.dev && linked.ino === source.ino) return { fd, path, linked: true };
      closeSync(fd);
    } catch (error) {
      unlinkSync(path);
      throw error;
    }
    unlinkSync(path);
    throw fileChanged();
  }

  /** Closes and removes it. */
  drop(temporary: Temporary): void {
    closeTemporary(temporary);
    try {
      unlinkSync(temporary.path);
    } catch {
      // The error that led here is the one to report; gc removes the file.
    }
  }
}

/** Gives a file a name that no other has; false when it is taken. */
export function linkNew(from: string, to: string): boolean {
  const renamed = syscalls().renameNoReplace?.(from, to);
  if (renamed !== undefined) return renamed;
  try {
    linkSync(from, to);
  } catch (error) {
    if (errorCode(error) === "EEXIST") return false;
    throw error;
  }
  unlinkSync(from);
  return true;
}

/** The error for a write that failed. */
export function writeError(path: string, error: unknown, id: ObjectId | undefined, size: number): ComposefsError {
  const action = id === undefined ? "writing an object" : `writing object ${id}`;
  if (errorCode(error) !== "ENOSPC") return systemError(error, action, path);
  return noSpace(error, action, path, size);
}

/** An open file in `objects/` that has no id yet; `fd` is -1 once it is closed. */
export interface Temporary {
  fd: number;
  path: string;
  /** It is another name of a file that someone else owns. */
  linked?: boolean;
}

/** Closes it; harmless when it is closed. */
export function closeTemporary(temporary: Temporary): void {
  if (temporary.fd >= 0) closeSync(temporary.fd);
  temporary.fd = -1;
}

/** Puts a file in the place of a damaged object. A directory there must go first: rename does not replace it by a file. */
export function replaceObject(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if (errorCode(error) !== "EISDIR") throw error;
    throw new ComposefsError("corrupt", `a directory is in the place of the object ${to}`, {
      path: to,
      hint: "remove it by hand: it does not belong to the repository",
    });
  }
}

/** Makes a directory, if need be. */
export function makeDirectory(path: string): void {
  try {
    mkdirSync(path, 0o755);
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw systemError(error, "making a directory", path);
  }
}

/** Writes all of it. */
export function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at);
}

/** The error for a file that is not what it was. */
export function fileChanged(): ComposefsError {
  return new ComposefsError("io", "the file changed while it was stored", {
    hint: "run the command again when nothing writes to it",
  });
}

function noSpace(cause: unknown, action: string, path: string, size: number): ComposefsError {
  let free = "";
  try {
    const { bavail, bsize, ffree, files } = statfsSync(path);
    free =
      files > 0 && ffree === 0
        ? ": no inodes are left"
        : `: ${size} bytes were to be written, ${bavail * bsize} are free`;
  } catch {
    // The message is good without it.
  }
  return new ComposefsError("no-space", `${action}: no space left on the file system of ${path}${free}`, {
    cause,
    path,
    hint: "free some space, for example with `composefs gc`, and run the same command again",
  });
}

/** The symbol of a system's error. */
export function errorCode(error: unknown): unknown {
  return (error as { code?: unknown } | null)?.code;
}
