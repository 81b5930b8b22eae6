// Following symbolic links inside a tree, as if its root were `/` (docs/spec/boot.md, section 2): for the policy of a directory on disk,
// where an absolute link must not lead to files of the host.

import { type ByteString } from "../../bytes/byte-string.ts";
import { Directory, type Node } from "../../tree/node.ts";
import { lookupError } from "../tree-file.ts";

/** Links on the way to one file, like the kernel. */
const MAX_LINKS = 40;

/**
 * Finds a node.
 *
 * @returns the node and its own path, without links; undefined when something is missing on the way
 * @throws ComposefsError `invalid` with the reason `not-a-directory`, or `invalid-name` when links lead in a circle
 */
export function followPath(root: Directory, path: ByteString): { node: Node; path: ByteString } | undefined {
  const pending = path.split("/").reverse();
  const names: ByteString[] = [];
  const parents: Directory[] = [root];
  let node: Node = root;
  let links = 0;
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    if (name === "" || name === ".") continue;
    const directory = parents.at(-1) as Directory;
    if (name === "..") {
      if (names.pop() !== undefined) parents.pop();
      node = parents.at(-1) as Directory;
      continue;
    }
    const child = directory.entries.get(name);
    if (child === undefined) return undefined;
    if (!(child instanceof Directory) && child.content.kind === "symlink") {
      if (++links > MAX_LINKS) throw lookupError("invalid-name", path, { hint: "its symbolic links lead in a circle" });
      const { target } = child.content;
      if (target.startsWith("/")) {
        names.length = 0;
        parents.length = 1;
        node = root;
      }
      pending.push(...target.split("/").reverse());
      continue;
    }
    node = child;
    if (child instanceof Directory) {
      parents.push(child);
      names.push(name);
    } else if (pending.some((rest) => rest !== "")) {
      throw lookupError("not-a-directory", `/${[...names, name].join("/")}`);
    } else return { node, path: `/${[...names, name].join("/")}` };
  }
  return { node, path: `/${names.join("/")}` };
}
