// What a command writes must not lie in the directory that it reads: the image would describe its own making
// (docs/spec/tree.md, section 2; docs/spec/tools-c.md, section 6).

import { realpathSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { ComposefsError, systemError } from "../../error.ts";

/**
 * Fails when a path that will be written lies in the directory.
 *
 * @param what what is written there, for the message: `the image`
 * @throws ComposefsError `usage`
 */
export function checkOutside(directory: string, output: string, what: string): void {
  const source = identity(directory);
  if (source === undefined) return;
  for (let at = existing(resolve(output)); ; at = dirname(at)) {
    if (identity(at) === source) {
      throw new ComposefsError("usage", `${output}: ${what} would lie in the directory ${directory} that is read`, {
        path: output,
        hint: "choose a place outside of it",
      });
    }
    if (at === dirname(at)) return;
  }
}

/** The nearest ancestor that is there, without symlinks. */
function existing(path: string): string {
  for (let at = path; ; at = dirname(at)) {
    try {
      return realpathSync(at);
    } catch (error) {
      const { code } = error as { code?: unknown };
      if ((code !== "ENOENT" && code !== "ENOTDIR") || at === dirname(at)) throw systemError(error, path, path);
    }
  }
}

function identity(path: string): string | undefined {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stat === undefined ? undefined : `${stat.dev}:${stat.ino}`;
}
