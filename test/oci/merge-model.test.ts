// The merge against a second, naive statement of its rules: one flat map of paths, no tree. Random layers over few names,
// so that everything collides with everything.

import { array, assert, constantFrom, oneof, property, record, type Arbitrary } from "fast-check";
import { expect, it } from "vitest";

import { ComposefsError } from "../../src/error.ts";
import { LayerMerger, type MergeEntry } from "../../src/oci/merge.ts";
import { Directory, NO_XATTRS, type Node } from "../../src/tree/node.ts";

interface Item {
  directory: boolean;
  /** The entry that made the inode. */
  inode: number;
  /** The entry that set the metadata. */
  stat: number;
}

class Model {
  readonly paths = new Map<string, Item>();

  /** Applies an entry; false when it must be refused. */
  apply({ type, path, link }: MergeEntry, number: number): boolean {
    const parts = clean(path);
    if (parts.length === 0 || parts.at(-1) === "..") return type === "directory";
    let made: Item = { directory: type === "directory", inode: number, stat: number };
    if (type === "hardlink") {
      const target = clean(link);
      const found = this.reach(target) ? this.paths.get(target.join("/")) : undefined;
      if (target.length === 0 || found === undefined || found.directory) return false;
      made = found;
    }
    const name = parts.at(-1) ?? "";
    const parent = parts.slice(0, -1);
    if (parent.includes("..")) return false;
    if (!this.reach(parent, true)) return name.startsWith(".wh.");
    const prefix = parent.map((part) => `${part}/`).join("");
    if (name === ".wh..wh..opq") this.clear(prefix);
    else if (name.startsWith(".wh.")) {
      this.paths.delete(prefix + name.slice(4));
      this.clear(`${prefix}${name.slice(4)}/`);
    } else {
      const full = prefix + name;
      const old = this.paths.get(full);
      if (old?.directory && made.directory) old.stat = number;
      else {
        this.clear(`${full}/`);
        this.paths.set(full, made);
      }
    }
    return true;
  }

  /** Whether all components on the way are directories, the last one too if asked. */
  private reach(parts: string[], last = false): boolean {
    return parts.every((part, i) => {
      const item = this.paths.get(parts.slice(0, i + 1).join("/"));
      return part !== ".." && item !== undefined && (item.directory || (!last && i === parts.length - 1));
    });
  }

  private clear(prefix: string): void {
    for (const path of Array.from(this.paths.keys())) if (path.startsWith(prefix)) this.paths.delete(path);
  }
}

function clean(path: string): string[] {
  return path.split("/").filter((part) => part !== "" && part !== ".");
}

/** The tree as the model has it. Inodes are told by object identity. */
function flatten(root: Directory): Map<string, { directory: boolean; node: Node; stat: number }> {
  const all = new Map<string, { directory: boolean; node: Node; stat: number }>();
  const visit = (directory: Directory, prefix: string): void => {
    for (const [name, node] of directory.entries) {
      all.set(prefix + name, { directory: node instanceof Directory, node, stat: Number(node.stat.mtimeSec) });
      if (node instanceof Directory) visit(node, `${prefix}${name}/`);
    }
  };
  visit(root, "");
  return all;
}

const name = oneof(
  { weight: 8, arbitrary: constantFrom("a", "b", "c") },
  { weight: 2, arbitrary: constantFrom(".wh.a", ".wh.b", ".wh..wh..opq", ".wh.") },
  { weight: 1, arbitrary: constantFrom(".", "..", "") },
);
const path = array(name, { minLength: 1, maxLength: 4 }).map((parts) => parts.join("/"));
const entry = record({
  type: constantFrom("directory", "directory", "directory", "file", "symlink", "hardlink", "char") as Arbitrary<
    MergeEntry["type"]
  >,
  path,
  link: path,
});

it("merges as the model says, refuses what it refuses", () => {
  assert(
    property(array(entry, { maxLength: 60 }), (entries) => {
      const model = new Model();
      const merger = new LayerMerger();
      const inodes = new Map<number, Node>();
      for (const [number, { type, path: where, link }] of entries.entries()) {
        const stat = { mode: 0o755, uid: 0, gid: 0, mtimeSec: BigInt(number), mtimeNsec: 0, xattrs: NO_XATTRS };
        const content = type === "file" ? { kind: "inline" as const, bytes: new Uint8Array(0) } : undefined;
        let accepted = true;
        try {
          merger.apply({ type, path: where, link, stat, size: 0, rdev: 0, content }, "layer");
        } catch (error) {
          expect(error).toBeInstanceOf(ComposefsError);
          accepted = false;
        }
        expect(accepted, `${number}: ${type} ${where} ${link}`).toBe(
          model.apply({ type, path: where, link, stat, size: 0, rdev: 0 }, number),
        );
      }
      const flat = flatten(merger.root);
      expect([...flat.keys()].toSorted((a, b) => (a < b ? -1 : 1))).toEqual(
        [...model.paths.keys()].toSorted((a, b) => (a < b ? -1 : 1)),
      );
      for (const [where, item] of model.paths) {
        const found = flat.get(where);
        expect(found).toMatchObject({ directory: item.directory, stat: item.stat });
        if (item.directory || found === undefined) continue;
        // Same inode in the model, same object in the tree, and the other way round.
        const known = inodes.get(item.inode);
        if (known === undefined) inodes.set(item.inode, found.node);
        else expect(found.node).toBe(known);
      }
      expect(new Set(inodes.values()).size).toBe(inodes.size);
    }),
    { numRuns: 2000 },
  );
});
