// From a directory to the tree of a container image: scan, then transform (docs/spec/tree.md, section 4).

import { lstatSync } from "node:fs";
import { join } from "node:path";
import { ComposefsError } from "../error.ts";
import { containerTransform } from "./container-transform.ts";
import type { Directory } from "./node.ts";
import { scanDirectory, type ScannedTree, type ScanOptions } from "./scan/scan.ts";
import type { XattrMode } from "./xattr-filter.ts";

/** Options of {@link directoryTree}. */
export interface DirectoryTreeOptions extends ScanOptions {
  /** Whether the directory becomes a container root, as any machine would have it; true when left out. */
  readonly containerRoot?: boolean | undefined;
  /** Which xattrs a container root keeps; `allowlist-only` when left out. */
  readonly xattrMode?: XattrMode | undefined;
  /** Changes the tree at the end: the bootable transform. */
  readonly transform?: ((root: Directory) => Promise<void>) | undefined;
}

/**
 * Scans a directory and makes it a container root.
 *
 * @throws ComposefsError as {@link scanDirectory}; `invalid` when it has no `/usr`
 */
export async function directoryTree(path: string, options: DirectoryTreeOptions = {}): Promise<ScannedTree> {
  if (options.containerRoot !== false) checkUsr(path);
  const scanned = await scanDirectory(path, options);
  if (options.containerRoot !== false) containerTransform(scanned.root, options.xattrMode);
  await options.transform?.(scanned.root);
  return scanned;
}

// The transform would refuse it too, but only after everything has been read.
function checkUsr(path: string): void {
  if (!lstatSync(path, { throwIfNoEntry: false })?.isDirectory()) return;
  if (lstatSync(join(path, "usr"), { throwIfNoEntry: false })?.isDirectory() === true) return;
  throw new ComposefsError("invalid", `${path}: there is no directory /usr in it`, {
    path: join(path, "usr"),
    hint: "images are whole root file systems; take any other directory as it is with --no-propagate-usr-to-root",
  });
}
