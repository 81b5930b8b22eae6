// Documents of an image in a store, its "big data": which file has a key (docs/spec/containers-storage.md, section 4.2).

import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";

import { ComposefsError, systemError } from "../../../error.ts";
import { MAX_DOCUMENT_SIZE } from "../../manifest.ts";
import { errnoOf } from "./fault.ts";

/**
 * The file name of a key in the directory of its image; undefined when no file can have it. The last character of a key is not looked
 * at: so writers do.
 *
 * @example
 * ```ts
 * bigDataFile("sha256:abc"); // "=c2hhMjU2OmFiYw=="
 * bigDataFile("manifest"); // "manifest"
 * ```
 */
export function bigDataFile(key: string): string | undefined {
  const bad = /[^.0-9a-z]/u.exec(key);
  const isLast = bad !== null && bad.index + bad[0].length === key.length;
  const name = bad === null || isLast ? key : `=${Buffer.from(key, "utf8").toString("base64")}`;
  return name === "" || name === "." || name === ".." || name.includes("/") || name.includes("\0") ? undefined : name;
}

/**
 * The content of a key; undefined when there is none.
 *
 * @param directory the directory of the image
 * @throws ComposefsError `limit` beyond 4 MiB, `invalid` when it is no regular file, `permission`
 */
export function readBigData(directory: string, key: string): Uint8Array | undefined {
  const name = bigDataFile(key);
  return name === undefined
    ? undefined
    : readSmallFile(`${directory}/${name}`, MAX_DOCUMENT_SIZE, `the file of ${key}`);
}

/**
 * A whole file of a store, which nobody vouches for: no link is followed, no FIFO waited for.
 *
 * @returns undefined when there is none
 */
export function readSmallFile(path: string, limit: number, what: string): Uint8Array | undefined {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return undefined;
    throw systemError(error, `reading ${what} in the container store`, path);
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw new ComposefsError("invalid", `${what} is no regular file: ${path}`, { path });
    if (stat.size > limit) {
      throw new ComposefsError("limit", `${what} has ${stat.size} bytes, at most ${limit} are accepted: ${path}`, {
        path,
      });
    }
    const bytes = Buffer.alloc(stat.size);
    let length = 0;
    for (let count = 1; count > 0 && length < bytes.length; length += count) {
      count = readSync(fd, bytes, length, bytes.length - length, length);
    }
    return bytes.subarray(0, length);
  } finally {
    closeSync(fd);
  }
}
