// What makes a merged root file system an image that any machine builds alike (docs/spec/tree.md, section 4.1):
// the root looks like /usr, /run is empty, and host-specific xattrs are gone. Changes the tree in place.
// The boot transform, which comes after this one, has a file of its own.

import { ComposefsError } from "../error.ts";
import { isLookupFailure, walkDirectory } from "./lookup.ts";
import { Directory } from "./node.ts";
import { filterXattrs, type XattrMode } from "./xattr-filter.ts";

/**
 * Applies the transform.
 *
 * @throws ComposefsError `invalid` when `/usr` is missing, or when `/usr` or `/run` is not a directory
 */
export function containerTransform(root: Directory, mode: XattrMode = "allowlist-only"): void {
  const usr = requireDirectory(root, "usr");
  root.stat = usr.stat;
  if (root.entries.has("run")) {
    const run = requireDirectory(root, "run");
    run.entries.clear();
    run.stat = { ...run.stat, mtimeSec: usr.stat.mtimeSec, mtimeNsec: usr.stat.mtimeNsec };
  }
  filterXattrs(root, mode);
}

function requireDirectory(root: Directory, name: string): Directory {
  const node = walkDirectory(root, [name]);
  if (!isLookupFailure(node)) return node;
  const problem = node.reason === "missing" ? "there is no directory" : "not a directory:";
  throw new ComposefsError("invalid", `${problem} /${name} in the root file system`, {
    path: `/${name}`,
    reason: node.reason === "missing" ? "not-found" : "not-a-directory",
    hint: "composefs images are whole root file systems: /usr is a directory, and so is /run if there is one",
  });
}
