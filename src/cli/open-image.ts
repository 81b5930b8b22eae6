// Images that are named on the command line of the programs named after the C tools, and why they cannot be read.

import { closeSync, openSync, readSync } from "node:fs";
import { CToolError, failedTo } from "./c-tool.ts";
import { OutputError } from "./output.ts";

/** Opens a file that should be an image, hands its descriptor on, and closes it. */
export function withImage<T>(path: string, use: (fd: number) => T): T {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (error) {
    throw failedTo(`Failed to open '${path}'`, error);
  }
  try {
    return use(fd);
  } catch (error) {
    // What the sink of the output throws is about the output.
    if (error instanceof CToolError || error instanceof OutputError) throw error;
    throw failedTo(`Failed to load '${path}'`, error, whatItIs(fd, path));
  } finally {
    closeSync(fd);
  }
}

/** A remedy for a file that is something else than an image. */
function whatItIs(fd: number, path: string): string | undefined {
  const start = Buffer.alloc(1152);
  let length: number;
  try {
    length = readSync(fd, start, 0, start.length, 0);
  } catch {
    return undefined;
  }
  if (length < 2) return "the file is empty";
  const text = start.subarray(0, length);
  if (/^\/ [0-9]+ [0-7]+ /.test(text.toString("latin1")))
    return `the file is a dump; make an image of it with \`mkcomposefs --from-file ${path} IMAGE\``;
  if (text.every((byte) => byte >= 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09)) return "the file is text";
  const magic = length >= 1028 ? start.readUInt32LE(1024) : 0;
  if (magic === 0xe0f5e1e2 && start.readUInt32LE(0) !== 0xd078629a)
    return "the file is an EROFS image that composefs did not make, as by mkfs.erofs";
  return undefined;
}
