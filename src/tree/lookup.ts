// Finding nodes by path (docs/spec/tree.md, section 1). Symlinks are never followed.

import type { ByteString } from "../bytes/byte-string.ts";
import { Directory, type Node } from "./node.ts";

/** The components of a path: split at `/`, empty parts and `.` dropped. `..` stays, for {@link walk} to refuse. */
export function pathComponents(path: ByteString): ByteString[] {
  const components = path.split("/");
  // Nearly every path is clean: then the split is the answer.
  return components.every((part) => part !== "" && part !== ".")
    ? components
    : components.filter((part) => part !== "" && part !== ".");
}

/** Why a walk ended before its goal; `path` is as far as it came, that component included. */
export interface LookupFailure {
  readonly reason: "missing" | "not-a-directory" | "parent-reference";
  readonly path: ByteString;
}

/** Whether the result of a walk is a failure. */
export function isLookupFailure(result: Node | LookupFailure): result is LookupFailure {
  return "reason" in result;
}

/** A failure as the end of a sentence: `"usr" does not exist`. */
export function describeFailure(failure: LookupFailure, display: (path: ByteString) => string): string {
  const path = `"${display(failure.path)}"`;
  switch (failure.reason) {
    case "missing":
      return `${path} does not exist`;
    case "not-a-directory":
      return `${path} is not a directory`;
    default:
      return `${path} contains ".."`;
  }
}

/**
 * Walks from a directory along components.
 *
 * @param count how many of the components to walk; all of them when left out
 * @returns the node, or why there is none
 */
export function walk(
  root: Directory,
  components: readonly ByteString[],
  count = components.length,
): Node | LookupFailure {
  let node: Node = root;
  for (let i = 0; i < count; i++) {
    const name = components[i] as ByteString;
    if (name === "..") return stopped("parent-reference", components, i + 1);
    if (!(node instanceof Directory)) return stopped("not-a-directory", components, i);
    const child: Node | undefined = node.entries.get(name);
    if (child === undefined) return stopped("missing", components, i + 1);
    node = child;
  }
  return node;
}

/** Like {@link walk}, and the node must be a directory. */
export function walkDirectory(
  root: Directory,
  components: readonly ByteString[],
  count = components.length,
): Directory | LookupFailure {
  const node = walk(root, components, count);
  if (isLookupFailure(node) || node instanceof Directory) return node;
  return stopped("not-a-directory", components, count);
}

function stopped(reason: LookupFailure["reason"], components: readonly ByteString[], count: number): LookupFailure {
  return { reason, path: components.slice(0, count).join("/") };
}
