// Which extended attributes are written when `/etc` and `/var` are filled and merged (docs/spec/deployments.md, section 3.3): without
// root only those of users can be, and what was not written must not be compared either.

import type { ByteString } from "../bytes/byte-string.ts";
import { Directory, type Node, type Xattrs } from "../tree/node.ts";

/** All attributes, those of users, or none. */
export type XattrChoice = "full" | "user" | "none";

/**
 * Whether an attribute is written.
 *
 * @param owners whether owners are, too; without root, `security.*` and `trusted.*` cannot be
 */
export function isCarried(name: ByteString, choice: XattrChoice, owners: boolean): boolean {
  if (choice === "none") return false;
  if (choice === "user") return name.startsWith("user.");
  return owners || !/^(?:security|trusted)\./.test(name);
}

/** Takes the attributes that are not written out of a tree, which is changed: compared with what was written it is the same then. */
export function keepCarriedXattrs(root: Directory, choice: XattrChoice, owners: boolean): void {
  const reduced = new Map<Xattrs, Xattrs>();
  const pending: Node[] = [root];
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    const { xattrs } = node.stat;
    let carried = reduced.get(xattrs);
    if (carried === undefined) {
      carried = new Map([...xattrs].filter(([name]) => isCarried(name, choice, owners)));
      reduced.set(xattrs, carried);
    }
    if (carried.size !== xattrs.size) node.stat = { ...node.stat, xattrs: carried };
    if (node instanceof Directory) pending.push(...node.entries.values());
  }
}
