// The merge of `/etc` (docs/spec/deployments.md, section 5): what was changed locally since the old image is carried over to the `/etc`
// of the new one. A pure function of three trees; it can be repeated on its result, or on any tree between the two.

import { compareBytes, type ByteString } from "../bytes/byte-string.ts";
import { type Content, Directory, Leaf, type Node, type Stat } from "../tree/node.ts";

/** What happens where the image has a directory and the local `/etc` something else, or the other way round. */
export type EtcStrategy =
  /** Nothing is merged. */
  | "fail"
  /** What was changed locally stays, the image's node goes. */
  | "keep-local"
  /** The image's node stays, what was changed locally is dropped. */
  | "take-image";

/** A path that is a directory on one side only. */
export interface EtcConflict {
  readonly path: ByteString;
  /** What it is locally, and what it is in the image. */
  readonly kind: "directory-vs-nondirectory" | "nondirectory-vs-directory";
}

/** One change of the new `/etc`; in the order of the list every parent is a directory. */
export type EtcStep =
  /** A node and everything below it. */
  | { readonly action: "remove"; readonly path: ByteString }
  /** A directory with metadata of the local one; an existing one keeps its entries. */
  | { readonly action: "directory"; readonly path: ByteString; readonly node: Directory }
  /** A file or symlink as it is locally; it takes the place of what is no directory. */
  | { readonly action: "leaf"; readonly path: ByteString; readonly node: Leaf };

/** Options of {@link mergeEtc}. */
export interface EtcMergeOptions {
  /** `fail` when left out. */
  readonly strategy?: EtcStrategy | undefined;
  /**
   * Whether owners and the attributes `security.*` and `trusted.*` count. Without root they were not written when `/etc` was filled,
   * and would make every file a changed one. True when left out.
   */
  readonly owners?: boolean | undefined;
}

/** The plan of a merge. Lists of paths are sorted, and relative to `/etc`. */
export interface EtcMerge {
  readonly added: readonly ByteString[];
  readonly modified: readonly ByteString[];
  /** Only the topmost path of what was removed. */
  readonly removed: readonly ByteString[];
  /** Local pipes, sockets and devices, which are never carried over. */
  readonly ignored: readonly ByteString[];
  /** Only the topmost ones. */
  readonly conflicts: readonly EtcConflict[];
  /** With `take-image`: the local changes that are lost. */
  readonly dropped: readonly ByteString[];
  /** What makes the new `/etc` the result; nothing is left to do when it is that already. */
  readonly steps: readonly EtcStep[];
  /** The merged tree; undefined when conflicts stopped the merge. */
  readonly result: Directory | undefined;
}

/**
 * Plans a merge. The trees stay as they are.
 *
 * @param pristine `/etc` of the image that the local one began as
 * @param current the local `/etc`
 * @param next `/etc` of the new image, or what an earlier run left of it
 * @example
 * ```ts
 * const { conflicts, steps } = mergeEtc(pristine, current, next, { strategy: "keep-local" });
 * ```
 */
export function mergeEtc(
  pristine: Directory,
  current: Directory,
  next: Directory,
  options: EtcMergeOptions = {},
): EtcMerge {
  const { strategy = "fail", owners = true } = options;
  const P = pathsOf(pristine);
  const C = pathsOf(current);
  const local = localChanges(P, C, owners);
  const kept = [...local.added, ...local.modified];
  const R = new MergedTree(next);
  R.dropSpecials();
  const conflicts = findConflicts(kept, P, C, R);
  const common = { ...local, conflicts };
  if (conflicts.length > 0 && strategy === "fail") return { ...common, dropped: [], steps: [], result: undefined };
  const lost = strategy === "take-image" ? new Set(conflicts.map(({ path }) => path)) : new Set<ByteString>();
  const dropped = kept.filter((path) => lost.has(path) || ancestors(path).some((above) => lost.has(above)));
  if (strategy === "keep-local") for (const { path } of conflicts) R.remove(path);
  const isDropped = new Set(dropped);
  for (const path of kept.sort(compareBytes)) {
    if (isDropped.has(path)) continue;
    for (const above of ancestors(path)) if (R.get(above) === undefined) R.put(above, C.get(above) as Node);
    R.put(path, C.get(path) as Node);
  }
  for (const path of local.removed)
    if (ancestors(path).every((above) => R.get(above) instanceof Directory)) R.remove(path);
  return { ...common, dropped: dropped.sort(compareBytes), steps: R.steps, result: R.root };
}

type Paths = ReadonlyMap<ByteString, Node>;

// All nodes below the root by their path.
function pathsOf(root: Directory): Paths {
  const found = new Map<ByteString, Node>();
  const pending: [ByteString, Directory][] = [["", root]];
  for (let top = pending.pop(); top !== undefined; top = pending.pop()) {
    const [prefix, directory] = top;
    for (const [name, node] of directory.entries) {
      found.set(prefix + name, node);
      if (node instanceof Directory) pending.push([`${prefix}${name}/`, node]);
    }
  }
  return found;
}

function isSpecial(node: Node | undefined): boolean {
  return node instanceof Leaf && !["inline", "external", "symlink"].includes(node.content.kind);
}

function ancestors(path: ByteString): ByteString[] {
  const found: ByteString[] = [];
  for (let slash = path.indexOf("/"); slash >= 0; slash = path.indexOf("/", slash + 1))
    found.push(path.slice(0, slash));
  return found;
}

function parentOf(path: ByteString): ByteString {
  return path.slice(0, Math.max(path.lastIndexOf("/"), 0));
}

function localChanges(
  P: Paths,
  C: Paths,
  owners: boolean,
): Pick<EtcMerge, "added" | "modified" | "removed" | "ignored"> {
  const added: ByteString[] = [];
  const modified: ByteString[] = [];
  const ignored: ByteString[] = [];
  for (const [path, node] of C) {
    const before = P.get(path);
    if (isSpecial(node)) ignored.push(path);
    else if (before === undefined || isSpecial(before)) added.push(path);
    else if (!sameNode(before, node, owners)) modified.push(path);
  }
  const removed = [...P].flatMap(([path, node]) => {
    if (isSpecial(node) || C.has(path)) return [];
    const parent = parentOf(path);
    return parent === "" || C.get(parent) instanceof Directory ? [path] : [];
  });
  for (const list of [added, modified, removed, ignored]) list.sort(compareBytes);
  return { added, modified, removed, ignored };
}

// Everything but times and link counts.
function sameNode(a: Node, b: Node, owners: boolean): boolean {
  if (a instanceof Directory || b instanceof Directory)
    return a instanceof Directory && b instanceof Directory && sameStat(a.stat, b.stat, owners, true);
  const isLink = a.content.kind === "symlink";
  return sameContent(a.content, b.content) && sameStat(a.stat, b.stat, owners, !isLink);
}

function sameStat(a: Stat, b: Stat, owners: boolean, mode: boolean): boolean {
  if (mode && a.mode !== b.mode) return false;
  if (owners && (a.uid !== b.uid || a.gid !== b.gid)) return false;
  const names = new Set([...a.xattrs.keys(), ...b.xattrs.keys()]);
  for (const name of names)
    if ((owners || !/^(?:security|trusted)\./.test(name)) && a.xattrs.get(name) !== b.xattrs.get(name)) return false;
  return true;
}

function sameContent(a: Content, b: Content): boolean {
  if (a.kind === "inline" && b.kind === "inline") return Buffer.compare(a.bytes, b.bytes) === 0;
  if (a.kind === "external" && b.kind === "external") return a.size === b.size && a.digest === b.digest;
  return a.kind === "symlink" && b.kind === "symlink" && a.target === b.target;
}

function findConflicts(kept: readonly ByteString[], P: Paths, C: Paths, N: MergedTree): EtcConflict[] {
  const isKept = new Set(kept);
  const conflicts: EtcConflict[] = [];
  const found = new Set<ByteString>();
  for (const path of [...new Set(kept.flatMap((one) => [...ancestors(one), one]))].sort(compareBytes)) {
    const next = N.get(path);
    if (next === undefined || ancestors(path).some((above) => found.has(above))) continue;
    const before = P.get(path);
    const isDirectory = next instanceof Directory;
    // Only the local side changed the kind.
    if (before !== undefined && !isSpecial(before) && before instanceof Directory === isDirectory) continue;
    const isLocalDirectory = C.get(path) instanceof Directory;
    if (isLocalDirectory === isDirectory || (isDirectory && !isKept.has(path))) continue;
    found.add(path);
    conflicts.push({ path, kind: isLocalDirectory ? "directory-vs-nondirectory" : "nondirectory-vs-directory" });
  }
  return conflicts;
}

// A copy of the new tree that is changed step by step, and remembers the steps.
class MergedTree {
  readonly root: Directory;
  readonly steps: EtcStep[] = [];

  constructor(tree: Directory) {
    this.root = copyOf(tree);
  }

  get(path: ByteString): Node | undefined {
    let node: Node | undefined = this.root;
    for (const name of path.split("/")) node = node instanceof Directory ? node.entries.get(name) : undefined;
    return node;
  }

  dropSpecials(): void {
    const specials = [...pathsOf(this.root)].filter(([, node]) => isSpecial(node)).map(([path]) => path);
    for (const path of specials.sort(compareBytes)) this.remove(path);
  }

  remove(path: ByteString): void {
    const parent = this.#parent(path);
    if (parent?.entries.delete(nameOf(path))) this.steps.push({ action: "remove", path });
  }

  // The local node in the place of what is there; a directory keeps the entries of one that is there.
  put(path: ByteString, node: Node): void {
    const old = this.get(path);
    if (old !== undefined && isSame(old, node)) return;
    if (old instanceof Directory && node instanceof Directory) {
      old.stat = node.stat;
      this.steps.push({ action: "directory", path, node });
      return;
    }
    // One node of another kind cannot be renamed over the other.
    if (old instanceof Directory || (old !== undefined && node instanceof Directory)) this.remove(path);
    this.#parent(path)?.entries.set(nameOf(path), node instanceof Directory ? new Directory(node.stat) : node);
    this.steps.push(node instanceof Directory ? { action: "directory", path, node } : { action: "leaf", path, node });
  }

  #parent(path: ByteString): Directory | undefined {
    const parent = parentOf(path);
    const node = parent === "" ? this.root : this.get(parent);
    return node instanceof Directory ? node : undefined;
  }
}

// With times: a run that follows a complete one has nothing to do.
function isSame(a: Node, b: Node): boolean {
  const sameTime = a.stat.mtimeSec === b.stat.mtimeSec && a.stat.mtimeNsec === b.stat.mtimeNsec;
  // The time of a directory changes with what is written into it.
  return sameNode(a, b, true) && (sameTime || a instanceof Directory);
}

function nameOf(path: ByteString): ByteString {
  return path.slice(path.lastIndexOf("/") + 1);
}

function copyOf(tree: Directory): Directory {
  const root = new Directory(tree.stat);
  const pending: [Directory, Directory][] = [[tree, root]];
  for (let top = pending.pop(); top !== undefined; top = pending.pop()) {
    const [from, to] = top;
    for (const [name, node] of from.entries) {
      const copy = node instanceof Directory ? new Directory(node.stat) : node;
      to.entries.set(name, copy);
      if (node instanceof Directory && copy instanceof Directory) pending.push([node, copy]);
    }
  }
  return root;
}
