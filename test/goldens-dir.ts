// Where the golden data lies: COMPOSEFS_GOLDENS, or test/goldens of this project.

import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * The folder of one golden area. Throws when it is missing or empty, so that a suite cannot pass without data.
 *
 * @param area fsverity, erofs, dumpfile, tree, repository, oci, cstor, boot or deploy
 */
export function goldensDir(area: string): string {
  const root = process.env["COMPOSEFS_GOLDENS"] ?? fileURLToPath(new URL("./goldens", import.meta.url));
  const folder = join(root, area);
  if (!existsSync(folder) || readdirSync(folder).length === 0) throw new Error(`no goldens in ${folder}`);
  return folder;
}
