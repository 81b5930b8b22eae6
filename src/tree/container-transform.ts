// What makes a merged root file system an image that any machine builds alike (docs/spec/tree.md, section 4.1):
// the root looks like /usr, /run is empty, and host-specific xattrs are gone. Changes the tree in place.
// The boot transform, which comes after this one, has a file of its own.

import { displayBytes } from "../bytes/byte-string.ts";
import { ComposefsError } from "../error.ts";
import { describeFailure, isLookupFailure, walkDirectory } from "./lookup.ts";
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
  const what = node.reason === "missing" ? "does not exist" : "is not a directory";
  throw new ComposefsError("invalid", `the root file system is not usable: ${describeFailure(node, displayBytes)}`, {
    path: `/${name}`,
    hint: `/${name} ${what}; composefs images are whole operating system or application roots with a /usr directory`,
  });
}
