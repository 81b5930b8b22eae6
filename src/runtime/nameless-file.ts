// A temporary file that has no name any more: it is gone when it is closed, whatever happens to the program.

import { mkdtemp, open, rm, type FileHandle } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * Makes one below the system's directory for temporary files, for reading and writing.
 *
 * @param prefix of the name that it has for a moment
 */
export async function namelessFile(prefix: string): Promise<FileHandle> {
  const directory = await mkdtemp(join(tmpdir(), prefix));
  try {
    return await open(join(directory, "file"), "wx+", 0o600);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
