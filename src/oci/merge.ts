// Layers become one tree (docs/spec/oci.md, section 7): entries in archive order, later ones over earlier ones,
// whiteouts acting on the tree as it is at that moment. Nothing is invented: no implied parents, no symlinks followed.

import { displayBytes } from "../bytes/byte-string.ts";
import { ComposefsError } from "../error.ts";
import {
  describeFailure,
  isLookupFailure,
  pathComponents,
  walk,
  walkDirectory,
  type LookupFailure,
} from "../tree/lookup.ts";
import { mergeNode } from "../tree/merge.ts";
import { Directory, Leaf, NO_XATTRS, type Content, type Node, type Stat } from "../tree/node.ts";
import { NAME_LIMIT, type TarEntry } from "./tar-entry.ts";

const WHITEOUT = ".wh.";
const OPAQUE = ".wh..wh..opq";

const ROOT_STAT: Stat = { mode: 0, uid: 0, gid: 0, mtimeSec: 0n, mtimeNsec: 0, xattrs: NO_XATTRS };

/** An entry whose file content has been placed: what the merge takes. */
export interface MergeEntry extends Pick<TarEntry, "path" | "type" | "stat" | "size" | "link" | "rdev"> {
  /** Content of a regular file; undefined for all other types. */
  readonly content?: Content | undefined;
}

/**
 * Merges layers.
 *
 * @example
 * ```ts
 * const merger = new LayerMerger();
 * for (const entry of entries) merger.apply(entry, "layer 1");
 * containerTransform(merger.root);
 * ```
 */
export class LayerMerger {
  /** The tree so far. */
  readonly root: Directory = new Directory(ROOT_STAT);

  /**
   * Applies one entry.
   *
   * @param layer names the layer in errors
   * @throws ComposefsError `invalid`; its message names layer and entry, and the tree is of no use any more
   */
  apply(entry: MergeEntry, layer: string): void {
    const components = pathComponents(entry.path);
    const name = components.at(-1);
    if (name === undefined || name === "..") {
      if (entry.type !== "directory") {
        throw fault(layer, entry, "the root of the tree must be a directory");
      }
      this.root.stat = entry.stat;
      return;
    }
    const long = components.find((component) => component.length > NAME_LIMIT);
    if (long !== undefined) {
      throw fault(layer, entry, `a name of ${long.length} bytes is too long (${NAME_LIMIT} at most)`);
    }
    if (components.includes("..")) throw fault(layer, entry, `its path contains ".."`);
    // Before the name is looked at: even a whiteout that is a hard link needs its target.
    const node = this.#build(entry, layer);
    const parent = walkDirectory(this.root, components, components.length - 1);
    if (isLookupFailure(parent)) {
      // Some tools write whiteouts below a directory that the same layer turns into a file.
      if (name.startsWith(WHITEOUT)) return;
      throw fault(layer, entry, parentProblem(parent));
    }
    if (name === OPAQUE) parent.entries.clear();
    else if (name.startsWith(WHITEOUT)) parent.entries.delete(name.slice(WHITEOUT.length));
    else mergeNode(parent, name, node);
  }

  #build(entry: MergeEntry, layer: string): Node {
    switch (entry.type) {
      case "directory":
        return new Directory(entry.stat);
      case "hardlink":
        return this.#linked(entry, layer);
      case "symlink":
        return new Leaf(entry.stat, { kind: "symlink", target: entry.link });
      case "char":
      case "block":
        return new Leaf(entry.stat, { kind: entry.type, rdev: entry.rdev });
      case "fifo":
        return new Leaf(entry.stat, { kind: "fifo" });
      default:
        if (entry.content === undefined) throw fault(layer, entry, "its content is missing");
        return new Leaf(entry.stat, entry.content);
    }
  }

  #linked(entry: MergeEntry, layer: string): Leaf {
    const target = `hard link target "${displayBytes(entry.link)}"`;
    const components = pathComponents(entry.link);
    if (components.length === 0) throw fault(layer, entry, `the ${target} is not a file name`);
    const node = walk(this.root, components);
    if (isLookupFailure(node)) {
      throw fault(layer, entry, `the ${target} cannot be followed: ${describeFailure(node, displayBytes)}`);
    }
    if (node instanceof Directory) throw fault(layer, entry, `the ${target} is a directory`);
    return node;
  }
}

function parentProblem(failure: LookupFailure): string {
  const problem = describeFailure(failure, displayBytes);
  return failure.reason === "missing"
    ? `its directory ${problem}, neither in this layer before it nor in a lower one`
    : `${problem}, so nothing can be below it (symbolic links are not followed)`;
}

function fault(layer: string, entry: MergeEntry, problem: string): ComposefsError {
  const path = displayBytes(entry.path);
  return new ComposefsError("invalid", `${layer}: entry "${path}": ${problem}`, { path });
}
