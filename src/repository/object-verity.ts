// Enabling fs-verity on a new object (docs/spec/repository.md, sections 3 and 6).

import { closeSync, constants, copyFileSync, openSync, renameSync, unlinkSync } from "node:fs";
import type { Algorithm, ObjectId } from "../bytes/algorithm.ts";
import { ComposefsError } from "../error.ts";
import { syscalls } from "../runtime/syscalls.ts";
import { isDamaged } from "./object-read.ts";

/** What is known about the file system. */
export interface VerityState {
  /** undefined until it was tried; tried once only, because each attempt costs an open and an ioctl. */
  supported: boolean | undefined;
}

/**
 * Closes the temporary file and enables fs-verity on it; opens it read-only again as `file.fd`. In insecure repositories a
 * file system that cannot is fine, and remembered.
 *
 * @throws ComposefsError `unsupported` in a secure repository on such a file system; `corrupt` when the kernel measures
 * another digest than was computed
 */
export function enableVerity(
  file: { fd: number; path: string },
  id: ObjectId,
  options: { algorithm: Algorithm; secure: boolean },
  state: VerityState,
): void {
  const calls = syscalls();
  if (!options.secure && calls.provider === "commands") {
    // A child process per object for something that is optional: no.
    state.supported = false;
    return;
  }
  const reopen = () => {
    if (file.fd >= 0) closeSync(file.fd);
    file.fd = -1;
    file.fd = openSync(file.path, constants.O_RDONLY | constants.O_NOFOLLOW);
  };
  reopen();
  let result = calls.enableVerity(file.fd, file.path, options.algorithm);
  // A child process that was forked at this moment holds a copy of the writable descriptor until it execs.
  for (let attempt = 0; result === "busy" && attempt < 3; attempt++) {
    pause(1);
    result = calls.enableVerity(file.fd, file.path, options.algorithm);
  }
  if (result === "busy") {
    const copy = `${file.path}c`;
    try {
      copyFileSync(file.path, copy, constants.COPYFILE_EXCL);
      renameSync(copy, file.path);
    } catch (error) {
      unlinkQuietly(copy);
      throw error;
    }
    reopen();
    result = calls.enableVerity(file.fd, file.path, options.algorithm);
  }
  if (result === "enabled" || result === "already") {
    state.supported = true;
    const measured = calls.measureVerity(file.fd, file.path);
    if (typeof measured === "object" && measured.digest === id) return;
    throw isDamaged(id, typeof measured === "object" ? measured.digest : "of another kind");
  }
  if (result === "unsupported") state.supported = false;
  if (!options.secure) return;
  throw new ComposefsError(
    "unsupported",
    result === "busy"
      ? `fs-verity cannot be enabled on ${file.path}: some process keeps it open for writing`
      : "the file system of the repository does not support fs-verity, which this repository requires",
    { path: file.path },
  );
}

function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

function unlinkQuietly(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // It may not exist.
  }
}
