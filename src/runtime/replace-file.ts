// A file that is written beside its place and takes it when it is complete and on the disk; until then an old one stays.

import { randomBytes } from "node:crypto";
import { closeSync, fsyncSync, lstatSync, openSync, readdirSync, renameSync, unlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { systemError } from "../error.ts";

const TEMPORARY = /^\.composefs-[0-9a-f]{16}$/;
/** An unfinished file that has not been changed for an hour is left of a command that was killed. */
const LEFT_OVER_MS = 3_600_000;

/**
 * Writes a file durably: temporary name in the same directory, fsync, rename, fsync of the directory. Whatever fails leaves
 * the old file, if there was one, and no other. What killed commands have left in the directory is removed.
 *
 * @param write fills the open file
 * @param mode permission bits of a new file, before the umask
 * @throws what `write` throws, and ComposefsError for what the operating system refuses
 */
export async function replaceFile<T>(path: string, write: (fd: number) => Promise<T> | T, mode = 0o666): Promise<T> {
  const directory = dirname(path);
  const temporary = join(directory, `.composefs-${randomBytes(8).toString("hex")}`);
  let fd: number;
  try {
    removeLeftOver(directory);
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
    syncDirectory(directory);
    return result;
  } catch (error) {
    quietly(() => unlinkSync(temporary));
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

function removeLeftOver(directory: string): void {
  for (const name of readdirSync(directory)) {
    if (!TEMPORARY.test(name)) continue;
    const path = join(directory, name);
    quietly(() => {
      if (Date.now() - lstatSync(path).mtimeMs > LEFT_OVER_MS) unlinkSync(path);
    });
  }
}

/** For files that may have their name already, or be somebody else's to remove. */
function quietly(action: () => void): void {
  try {
    action();
  } catch {
    // What made it fail before is more important than what is left.
  }
}
