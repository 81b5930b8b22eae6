// Small files and directories of a sysroot, read without trust (docs/spec/deployments.md, section 2): no symlink is followed at the end
// of a path, nothing is read that is no regular file, and no more than a file of its kind can have.

import { closeSync, constants, fstatSync, openSync, readdirSync, readSync } from "node:fs";
import { ComposefsError, systemError } from "../error.ts";

/** An entry of a directory. */
export interface SysrootEntry {
  readonly name: string;
  readonly type: "file" | "directory" | "other";
}

const LIMIT = 4 << 20;
const UTF8 = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * The text of a file; U+FFFD stands for what is not UTF-8. Undefined when there is no regular file of that name.
 *
 * @param tooLarge the text of a file of more than 4 MiB, which is none of those that are read here; an error when left out
 * @throws ComposefsError `permission`, `io`, `limit`
 */
export function readText(path: string, tooLarge?: string): string | undefined {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw systemError(error, `reading ${path}`, path);
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) return undefined;
    if (stat.size > LIMIT) {
      if (tooLarge !== undefined) return tooLarge;
      throw new ComposefsError("limit", `${path} is larger than 4 MiB`, { path, hint: "look into it: it is damaged" });
    }
    const bytes = Buffer.alloc(stat.size);
    let length = 0;
    for (let count = 1; count > 0 && length < bytes.length; length += count)
      count = readSync(fd, bytes, length, bytes.length - length, length);
    return UTF8.decode(bytes.subarray(0, length));
  } catch (error) {
    throw systemError(error, `reading ${path}`, path);
  } finally {
    closeSync(fd);
  }
}

/** The entries of a directory; undefined when there is none of that name. @throws ComposefsError `permission` or `io` */
export function listDirectory(path: string): SysrootEntry[] | undefined {
  try {
    return readdirSync(path, { withFileTypes: true })
      .map((entry): SysrootEntry => {
        const type = entry.isFile() ? "file" : entry.isDirectory() ? "directory" : "other";
        return { name: entry.name, type };
      })
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw systemError(error, `reading ${path}`, path);
  }
}

// A symlink or a file in the middle of the path is as good as nothing.
function isMissing(error: unknown): boolean {
  return ["ENOENT", "ENOTDIR", "ELOOP", "ENXIO"].includes(String((error as { code?: unknown }).code));
}
