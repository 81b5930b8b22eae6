// A file that is written beside its place and takes it when it is complete and on the disk; until then an old one stays.

import { closeSync, fsyncSync, openSync, renameSync, unlinkSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { systemError } from "../error.ts";

/**
 * Writes a file durably: temporary name in the same directory, fsync, rename, fsync of the directory. Whatever fails leaves
 * the old file, if there was one, and no other.
 *
 * @param write fills the open file
 * @param mode permission bits of a new file, before the umask
 * @throws what `write` throws, and ComposefsError for what the operating system refuses
 */
export async function replaceFile<T>(path: string, write: (fd: number) => Promise<T> | T, mode = 0o666): Promise<T> {
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);
  let fd: number;
  try {
    fd = openSync(temporary, "wx", mode);
  } catch (error) {
    throw systemError(error, `writing ${path}`, path);
  }
  try {
    let result: T;
    try {
      result = await write(fd);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
    syncDirectory(dirname(path));
    return result;
  } catch (error) {
    try {
      unlinkSync(temporary);
    } catch {
      // It has its name already, or there is nothing to remove.
    }
    throw systemError(error, `writing ${path}`, path);
  }
}

/** Makes the names in a directory durable. */
export function syncDirectory(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
