// A file that is written beside its place and takes it when it is complete; until then an old one stays as it was.

import { closeSync, fsyncSync, openSync, renameSync, statSync, unlinkSync, writeSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { outputError } from "./output.ts";

/** A file in the making. */
export interface Replacement {
  /** Appends all of the bytes. */
  write(bytes: Uint8Array | string): void;
  /** Puts it in its place. */
  commit(): void;
  /** Removes what is unfinished; nothing after a commit. */
  discard(): void;
}

/** What a failure to open it becomes; the message names the path. */
type OpenFailure = (error: unknown) => Error;

/**
 * Starts one. A device or a pipe cannot be replaced; what is no regular file is written in place.
 *
 * @throws what `failed` makes of the failure to open it; later an error with a remedy
 */
export function openReplacement(path: string, failed: OpenFailure): Replacement {
  const isSpecial = isSpecialFile(path);
  const temporary = isSpecial ? path : join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);
  let fd: number;
  try {
    fd = openSync(temporary, isSpecial ? "w" : "wx", 0o666);
  } catch (error) {
    throw failed(error);
  }
  let isOpen = true;
  let isTemporary = !isSpecial;
  const close = () => {
    if (isOpen) closeSync(fd);
    isOpen = false;
  };
  const attempt = (action: () => void) => {
    try {
      action();
    } catch (error) {
      const unchanged = isSpecial ? "" : "; what was there is unchanged";
      throw outputError(`writing ${path}`, error as NodeJS.ErrnoException, unchanged);
    }
  };
  return {
    write(data) {
      const bytes = typeof data === "string" ? Buffer.from(data, "latin1") : data;
      attempt(() => {
        for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
      });
    },
    commit() {
      attempt(() => {
        if (isTemporary) fsyncSync(fd);
        close();
        if (isTemporary) renameSync(temporary, path);
      });
      isTemporary = false;
    },
    discard() {
      close();
      if (isTemporary) unlinkSync(temporary);
      isTemporary = false;
    },
  };
}

/** Whether something is there that is no regular file. */
export function isSpecialFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === false;
}
