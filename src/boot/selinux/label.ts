// Labels every file of a tree by its policy (docs/spec/boot.md, section 3.5). Changes the tree in place. Hard links whose names have
// different labels become files of their own.

import { setImmediate } from "node:timers/promises";
import type { ByteString } from "../../bytes/byte-string.ts";
import { throwIfAborted } from "../../error.ts";
import { Directory, Leaf, NO_XATTRS, type Node, type Stat, type Xattrs } from "../../tree/node.ts";
import { AliasIndex } from "./aliases.ts";
import { Matcher } from "./matcher.ts";
import type { Policy } from "./policy.ts";
import type { AutomatonState } from "./rule-automaton.ts";
import type { Work } from "./work.ts";

/** The xattr of a label; the value has no NUL at its end. */
export const LABEL_XATTR = "security.selinux";

/** Nodes between two looks at the signal. */
const INTERVAL = 16384;

/** The type byte of a node. */
export function typeByte(node: Node): string {
  if (node instanceof Directory) return "d";
  switch (node.content.kind) {
    case "symlink":
      return "l";
    case "char":
      return "c";
    case "block":
      return "b";
    case "fifo":
      return "p";
    case "socket":
      return "s";
    default:
      return "-";
  }
}

/** Removes the label of every node. */
export function stripLabels(root: Directory): void {
  const labels = new Labels();
  const pending = [root];
  labels.set(root, undefined);
  for (let directory = pending.pop(); directory !== undefined; directory = pending.pop()) {
    for (const node of directory.entries.values() as Iterable<Node>) {
      labels.set(node, undefined);
      if (node instanceof Directory) pending.push(node);
    }
  }
}

/** Options of {@link labelTree}. */
export interface LabelOptions {
  readonly signal?: AbortSignal | undefined;
  /** Bounds the steps of matching. */
  readonly work?: Work | undefined;
}

/** A directory whose children are being labelled. */
interface Place {
  readonly directory: Directory;
  readonly names: readonly ByteString[];
  index: number;
  /** The path that its children are matched by, up to and with the slash. */
  readonly base: ByteString;
  readonly state: AutomatonState;
  readonly aliases: ReadonlyMap<ByteString, ByteString> | undefined;
}

/**
 * Gives every node the label that the policy has for it, or none.
 *
 * @throws ComposefsError `invalid` with the reason `selinux-bad-regex` before anything is changed; `limit` when the policy is made to be
 *   slow, and `aborted`: then the tree is of no use any more
 * @example
 * ```ts
 * const policy = await loadPolicy(root, readFile);
 * if (policy === undefined) stripLabels(root);
 * else await labelTree(root, policy);
 * ```
 */
export async function labelTree(root: Directory, policy: Policy, options: LabelOptions = {}): Promise<void> {
  await labelWith(root, new Matcher(policy.rules, options.work), policy, options.signal);
}

/** {@link labelTree} with rules that are compiled already. */
export async function labelWith(
  root: Directory,
  matcher: Matcher,
  policy: Policy,
  signal: AbortSignal | undefined,
): Promise<void> {
  const index = new AliasIndex(policy.aliases);
  const labels = new Labels();
  const leaves: Leaf[] = [];
  const leafLabels: (ByteString | undefined)[] = [];

  const enter = (directory: Directory, path: ByteString, state: AutomatonState): Place => {
    const isOpen = path.endsWith("/");
    const base = isOpen ? path : `${path}/`;
    return {
      directory,
      names: [...directory.entries.keys()].sort(),
      index: 0,
      base,
      state: isOpen ? state : matcher.walk(state, "/"),
      aliases: index.of(base),
    };
  };

  const top = matcher.walk(matcher.start, "/");
  labels.set(root, matcher.lookup(top, "/", "d")?.context);
  const places: Place[] = [enter(root, "/", top)];
  let count = 0;
  for (let place = places.at(-1); place !== undefined; place = places.at(-1)) {
    const name = place.names[place.index++];
    if (name === undefined) {
      places.pop();
      continue;
    }
    if (++count % INTERVAL === 0) {
      await setImmediate();
      throwIfAborted(signal);
    }
    const node = place.directory.entries.get(name) as Node;
    const target = place.aliases?.get(name);
    const state = target === undefined ? matcher.walk(place.state, name) : matcher.walk(matcher.start, target);
    if (node instanceof Directory) {
      const path = target ?? place.base + name;
      labels.set(node, matcher.lookup(state, path, "d")?.context);
      places.push(enter(node, path, state));
      continue;
    }
    const path = matcher.needsPaths ? (target ?? place.base + name) : "";
    const label = matcher.lookup(state, path, typeByte(node))?.context;
    const known = node.placeIn(leaves);
    if (known === undefined) {
      node.appendTo(leaves);
      leafLabels.push(label);
      labels.set(node, label);
    } else if (leafLabels[known] !== label) {
      const copy = new Leaf(node.stat, node.content);
      labels.set(copy, label);
      place.directory.entries.set(name, copy);
    }
  }
}

/** Sets labels; nodes that had the same xattrs and get the same label share them. */
class Labels {
  readonly #sets = new Map<ByteString | undefined, Map<Xattrs, Xattrs>>();
  /** The same for nodes without xattrs, which nearly all are. */
  readonly #plain = new Map<ByteString, Xattrs>();

  set(node: Node, label: ByteString | undefined): void {
    const { stat } = node;
    const xattrs = this.#labelled(stat.xattrs, label);
    if (xattrs !== stat.xattrs) node.stat = withXattrs(stat, xattrs);
  }

  #labelled(before: Xattrs, label: ByteString | undefined): Xattrs {
    if (label === undefined && (before === NO_XATTRS || !before.has(LABEL_XATTR))) return before;
    if (label !== undefined && before === NO_XATTRS) {
      let known = this.#plain.get(label);
      if (known === undefined) {
        known = new Map([[LABEL_XATTR, label]]);
        this.#plain.set(label, known);
      }
      return known;
    }
    let sets = this.#sets.get(label);
    if (sets === undefined) {
      sets = new Map();
      this.#sets.set(label, sets);
    }
    let after = sets.get(before);
    if (after === undefined) {
      const entries = [...before].filter(([name]) => name !== LABEL_XATTR);
      if (label !== undefined) entries.push([LABEL_XATTR, label]);
      after = entries.length === 0 ? NO_XATTRS : new Map(entries);
      sets.set(before, after);
    }
    return after;
  }
}

function withXattrs({ mode, uid, gid, mtimeSec, mtimeNsec }: Stat, xattrs: Xattrs): Stat {
  return { mode, uid, gid, mtimeSec, mtimeNsec, xattrs };
}
