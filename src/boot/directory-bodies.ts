// The bodies of files in a directory that was scanned (docs/spec/boot.md, section 2, directory mode).

import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { displayBytes } from "../bytes/byte-string.ts";
import { fsverityDigest } from "../core/fsverity.ts";
import { ComposefsError, systemError } from "../error.ts";
import type { ReadFile } from "./resource.ts";

const FLAGS = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0);

/**
 * Reads files of a scanned directory again, and makes sure that they are what was scanned.
 *
 * @param directory the directory of which the tree is
 * @returns a reader that throws `io` when a file has changed
 */
export function directoryBodies(directory: string): ReadFile {
  return ({ path, leaf: { content } }) => {
    if (content.kind === "inline") return content.bytes;
    const shown = displayBytes(path);
    const changed = () =>
      new ComposefsError("io", `${join(directory, shown)} was changed while the directory was being read`, {
        path: shown,
        hint: "run the command again when nothing writes to the directory",
      });
    if (content.kind !== "external" || content.digest === undefined) throw changed();
    const bytes = read(join(directory, Buffer.from(path, "latin1").toString("utf8")), content.size);
    const algorithm = content.digest.length === 64 ? "sha256" : "sha512";
    if (bytes === undefined || fsverityDigest(algorithm, bytes) !== content.digest) throw changed();
    return bytes;
  };
}

/** The content of a regular file of that size; undefined when it is something else. */
function read(path: string, size: number): Uint8Array | undefined {
  let fd: number;
  try {
    fd = openSync(path, FLAGS);
  } catch (error) {
    throw systemError(error, `reading ${path}`, path);
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile() || stat.size !== size) return undefined;
    const bytes = new Uint8Array(size);
    for (let at = 0; at < size; ) {
      const count = readSync(fd, bytes, at, size - at, at);
      if (count === 0) return undefined;
      at += count;
    }
    return bytes;
  } catch (error) {
    throw systemError(error, `reading ${path}`, path);
  } finally {
    closeSync(fd);
  }
}
