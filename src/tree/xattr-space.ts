// How much room the C tool gives the xattrs of one inode (docs/spec/tree.md, section 2): what it refuses, it cannot read either.

import type { ByteString } from "../bytes/byte-string.ts";
import { displayBytes } from "../bytes/byte-string.ts";
import { ComposefsError } from "../error.ts";
import { Directory, type Node, type Xattrs } from "./node.ts";

const LIMIT = 32767;
const HEAD = 12;
const ENTRY = 7;

/**
 * Fails when the xattrs of a node take more than that.
 *
 * @throws ComposefsError `limit`; `path` says which node
 */
export function checkXattrSpace(root: Directory): void {
  const checked = new Set<Xattrs>();
  const check = (node: Node, path: ByteString): void => {
    const { xattrs } = node.stat;
    if (xattrs.size === 0 || checked.has(xattrs)) return;
    checked.add(xattrs);
    let space = HEAD;
    for (const [name, value] of xattrs) space += ENTRY + name.length + value.length;
    if (space <= LIMIT) return;
    const where = displayBytes(path);
    throw new ComposefsError("limit", `${where}: its xattrs take ${space} bytes, an image has room for ${LIMIT}`, {
      path: where,
      hint: "leave them out with --skip-xattrs, or all but user.* with --user-xattrs",
    });
  };
  check(root, "/");
  const pending: { directory: Directory; path: ByteString }[] = [{ directory: root, path: "" }];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    for (const [name, node] of next.directory.entries) {
      const path = `${next.path}/${name}`;
      check(node, path);
      if (node instanceof Directory) pending.push({ directory: node, path });
    }
  }
}
