// A file that is written beside its place and takes it when it is complete; until then an old one stays as it was.

import { closeSync, openSync, renameSync, statSync, unlinkSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { failedTo } from "./c-tool.ts";

/** A file in the making. */
export interface Replacement {
  readonly fd: number;
  /** Puts it in its place. */
  commit(): void;
  /** Removes what is unfinished; nothing after a commit. */
  discard(): void;
}

/** Starts one. A device or a pipe cannot be replaced; what is no regular file is written in place. */
export function openReplacement(path: string): Replacement {
  const special = statSync(path, { throwIfNoEntry: false })?.isFile() === false;
  const temporary = special ? path : join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);
  let fd: number;
  try {
    fd = openSync(temporary, special ? "w" : "wx", 0o666);
  } catch (error) {
    throw failedTo(`failed to open '${path}'`, error);
  }
  let isOpen = true;
  let isTemporary = !special;
  const close = () => {
    if (isOpen) closeSync(fd);
    isOpen = false;
  };
  return {
    fd,
    commit() {
      close();
      try {
        if (isTemporary) renameSync(temporary, path);
      } catch (error) {
        throw failedTo(`failed to write '${path}'`, error);
      }
      isTemporary = false;
    },
    discard() {
      close();
      if (isTemporary) unlinkSync(temporary);
      isTemporary = false;
    },
  };
}
