// Names in a directory as parts of one text: for directories of very many, where what is done for each name alone would cost
// more than the system call.

import { lstatSync, readdirSync } from "node:fs";
import type { ByteString } from "../bytes/byte-string.ts";
import { scanCallsIfAny } from "./scan-calls.ts";

/** Is given one name, a byte string, as a part of a text. */
export type NameVisitor = (text: ByteString, start: number, end: number) => void;

/**
 * Visits the names in a directory, in no order.
 *
 * @returns false when there is no directory of that path; a symbolic link is none
 * @throws what reading the directory does, with the symbolic errno as its code
 */
export function listNames(path: string, visit: NameVisitor): boolean {
  const calls = scanCallsIfAny();
  if (calls === undefined) {
    if (!lstatSync(path, { throwIfNoEntry: false })?.isDirectory()) return false;
    for (const name of readdirSync(path, { encoding: "buffer" })) visit(name.toString("latin1"), 0, name.length);
    return true;
  }
  let fd: number;
  try {
    fd = calls.openRoot(path);
  } catch (error) {
    if (NO_DIRECTORY.has((error as { code: string }).code)) return false;
    throw error;
  }
  try {
    calls.names(fd, visit);
    return true;
  } finally {
    calls.close(fd);
  }
}

const NO_DIRECTORY = new Set(["ENOENT", "ENOTDIR", "ELOOP"]);
