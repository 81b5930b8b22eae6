// Which extended attributes stay in an image (docs/spec/tree.md, section 4.1).

import type { ByteString } from "../bytes/byte-string.ts";
import { Directory, NO_XATTRS, type Node, type Stat, type Xattrs } from "./node.ts";

/** `allowlist-only` keeps `security.capability`; `keep-user-xattrs` keeps `user.*` too. */
export type XattrMode = "allowlist-only" | "keep-user-xattrs";

/** Every mode, the default first. */
export const XATTR_MODES: readonly XattrMode[] = ["allowlist-only", "keep-user-xattrs"];

function keeps(name: ByteString, mode: XattrMode): boolean {
  return name === "security.capability" || (mode === "keep-user-xattrs" && name.startsWith("user."));
}

/** Removes from every node of the tree what the mode does not keep. */
export function filterXattrs(root: Directory, mode: XattrMode): void {
  // Maps are shared among nodes; filter each once, so that the results are shared too.
  const filtered = new Map<Xattrs, Xattrs>([[NO_XATTRS, NO_XATTRS]]);
  const filter = (stat: Stat): Stat => {
    let kept = filtered.get(stat.xattrs);
    if (kept === undefined) {
      const entries = [...stat.xattrs].filter(([name]) => keeps(name, mode));
      kept = entries.length === stat.xattrs.size ? stat.xattrs : entries.length === 0 ? NO_XATTRS : new Map(entries);
      filtered.set(stat.xattrs, kept);
    }
    return kept === stat.xattrs ? stat : { ...stat, xattrs: kept };
  };
  const pending: Directory[] = [root];
  root.stat = filter(root.stat);
  for (let directory = pending.pop(); directory !== undefined; directory = pending.pop()) {
    for (const node of directory.entries.values() as Iterable<Node>) {
      if (node.stat.xattrs !== NO_XATTRS) node.stat = filter(node.stat);
      if (node instanceof Directory) pending.push(node);
    }
  }
}
