// Content of the files of a directory that becomes a file system.

import { chmodSync } from "node:fs";
import { ComposefsError, systemError } from "../../error.ts";
import { scanCalls } from "../../runtime/scan-calls.ts";
import type { SourceNode } from "./source-tree.ts";

/**
 * Opens a file for reading. One of the caller's own that has no permission to be read, such as `/etc/shadow` of some systems, is given
 * it for that moment.
 *
 * @param shown its path, for messages
 * @returns a descriptor of {@link scanCalls}
 */
export function openContent(rootFd: number, node: SourceNode, shown: string): number {
  const calls = scanCalls();
  try {
    return calls.open(rootFd, node.path, "file", false);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EACCES") throw systemError(error, `reading ${shown}`, shown);
  }
  const mode = node.mode & 0o7777;
  const place = calls.openPath(rootFd, node.path);
  try {
    // By descriptor: whatever has the name meanwhile is not touched.
    const path = `/proc/self/fd/${place}`;
    chmodSync(path, mode | 0o400);
    try {
      return calls.open(rootFd, node.path, "file", false);
    } finally {
      chmodSync(path, mode);
    }
  } catch (error) {
    throw new ComposefsError("permission", `${shown} cannot be read`, {
      cause: error,
      path: shown,
      hint: "run as its owner or as root",
    });
  } finally {
    calls.close(place);
  }
}

/**
 * Reads an open file piece by piece.
 *
 * @param start first byte, and `end` the one behind the last
 * @param area gives where the next piece goes, again for each
 * @param use gets the length of a piece and where it was in the file
 * @throws ComposefsError `io` when the file ends before
 */
export async function readPieces(
  fd: number,
  { start, end, shown }: { start: number; end: number; shown: string },
  area: () => Uint8Array,
  use: (piece: Uint8Array, position: number) => Promise<void> | void,
): Promise<void> {
  const { read } = scanCalls();
  for (let at = start; at < end; ) {
    const target = area();
    const wanted = Math.min(target.length, end - at);
    let filled = 0;
    while (filled < wanted) {
      const n = read(fd, filled === 0 ? target : target.subarray(filled), wanted - filled, at + filled);
      if (n === 0)
        throw new ComposefsError("io", `${shown} was changed while it was read`, {
          path: shown,
          hint: "run the command again when nothing writes to the sysroot",
        });
      filled += n;
    }
    await use(target.subarray(0, filled), at);
    at += filled;
  }
}
