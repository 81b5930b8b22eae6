// Files that people name, opened for reading.

import { openSync } from "node:fs";
import { systemError } from "../error.ts";

/**
 * A descriptor, which the caller closes.
 *
 * @param name what the message calls it, where that is not the path
 * @throws ComposefsError `not-found`, `permission`, `io`
 */
export function openForReading(path: string, name = path): number {
  try {
    return openSync(path, "r");
  } catch (error) {
    throw systemError(error, `opening ${name}`, path);
  }
}
