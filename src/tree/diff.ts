// Two trees compared: which entries only one of them has, and in which fields the others differ. It says all that two dumps say,
// except the link count of directories, which follows from their entries.

import type { Algorithm } from "../bytes/algorithm.ts";
import { type ByteString, compareBytes, toByteString } from "../bytes/byte-string.ts";
import { fsverityDigest } from "../core/fsverity.ts";
import type { DiffField } from "./diff-fields.ts";
import { escapeField, escapeXattr, sortedNames } from "./dump.ts";
import { type Content, Directory, Leaf, type Node } from "./node.ts";

/** A field that differs. Texts are as in dumps: escaped, numbers decimal but modes octal; undefined where there is none. */
export interface FieldChange {
  readonly field: DiffField;
  /** The name of the xattr, if it is one. */
  readonly xattr?: string;
  readonly a: string | undefined;
  readonly b: string | undefined;
}

/** The type of an entry. */
export type EntryType = "directory" | "file" | Exclude<Content["kind"], "inline" | "external">;

/** An entry that differs. */
export interface EntryChange {
  readonly change: "added" | "removed" | "changed";
  /** Escaped as in dumps. */
  readonly path: string;
  /** In the second tree, or the first if it was removed. */
  readonly type: EntryType;
  /** None unless it was changed. */
  readonly fields: readonly FieldChange[];
}

/** How to compare. */
export interface DiffOptions {
  /** Fields that are not looked at. */
  readonly ignore?: readonly DiffField[];
}

/**
 * The differences of two trees, in the order of dumps: depth first, names in byte order. Everything in a directory that only one
 * of them has is told too. A file in the image and the same content as an object differ in `object` alone.
 *
 * @example
 * ```ts
 * for (const { change, path, fields } of diffTrees(before, after)) console.log(change, path, fields);
 * ```
 */
export function* diffTrees(
  a: Directory,
  b: Directory,
  { ignore = [] }: DiffOptions = {},
): Generator<EntryChange, void, undefined> {
  const comparison = new Comparison(a, b, new Set(ignore));
  const rootFields = comparison.fields("/", a, b);
  if (rootFields.length > 0) yield { change: "changed", path: "/", type: "directory", fields: rootFields };
  const stack: Frame[] = [frameOf("", a, b)];
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    const name = top.names[top.next++];
    if (name === undefined) {
      stack.pop();
      continue;
    }
    const first = top.a?.entries.get(name);
    const second = top.b?.entries.get(name);
    const path = `${top.path}/${escapeName(name)}`;
    const change = comparison.entry(path, first, second);
    if (change !== undefined) yield change;
    if (first instanceof Directory || second instanceof Directory) stack.push(frameOf(path, first, second));
  }
}

/** A lone dash is a name like any other. */
function escapeName(name: ByteString): string {
  return name === "-" ? name : escapeField(name);
}

interface Frame {
  readonly path: string;
  readonly a: Directory | undefined;
  readonly b: Directory | undefined;
  readonly names: readonly ByteString[];
  next: number;
}

function frameOf(path: string, first: Node | undefined, second: Node | undefined): Frame {
  const a = first instanceof Directory ? first : undefined;
  const b = second instanceof Directory ? second : undefined;
  const names =
    a === undefined || b === undefined
      ? sortedNames((a ?? b) as Directory)
      : [...new Set([...a.entries.keys(), ...b.entries.keys()])].sort(compareBytes);
  return { path, a, b, names, next: 0 };
}

class Comparison {
  readonly #a: LinkGroups;
  readonly #b: LinkGroups;
  readonly #ignored: ReadonlySet<DiffField>;

  constructor(a: Directory, b: Directory, ignored: ReadonlySet<DiffField>) {
    this.#a = linkGroups(a);
    this.#b = linkGroups(b);
    this.#ignored = ignored;
  }

  entry(path: string, a: Node | undefined, b: Node | undefined): EntryChange | undefined {
    if (a === undefined || b === undefined) {
      const node = (a ?? b) as Node;
      return { change: a === undefined ? "added" : "removed", path, type: typeOf(node), fields: [] };
    }
    const fields = this.fields(path, a, b);
    return fields.length === 0 ? undefined : { change: "changed", path, type: typeOf(b), fields };
  }

  fields(path: string, a: Node, b: Node): FieldChange[] {
    const found: FieldChange[] = [];
    const compare = (field: DiffField, first: string | undefined, second: string | undefined) => {
      if (first !== second && !this.#ignored.has(field)) found.push({ field, a: first, b: second });
    };
    compare("type", typeOf(a), typeOf(b));
    if (a.stat !== b.stat) {
      compare("mode", a.stat.mode.toString(8), b.stat.mode.toString(8));
      compare("uid", String(a.stat.uid), String(b.stat.uid));
      compare("gid", String(a.stat.gid), String(b.stat.gid));
      compare("mtime", timeOf(a), timeOf(b));
    }
    const content = sameContent(a, b);
    compare("size", sizeOf(a), sizeOf(b));
    compare("target", targetOf(a), targetOf(b));
    if (!content) compare("content", contentOf(a), contentOf(b));
    compare("object", objectOf(a), objectOf(b));
    compare("rdev", deviceOf(a), deviceOf(b));
    compare("links", linksOf(a, path, this.#a), linksOf(b, path, this.#b));
    if (a.stat.xattrs !== b.stat.xattrs && !this.#ignored.has("xattr")) found.push(...xattrChanges(a, b));
    return found;
  }
}

function typeOf(node: Node): EntryType {
  if (node instanceof Directory) return "directory";
  const { kind } = node.content;
  return kind === "inline" || kind === "external" ? "file" : kind;
}

function timeOf({ stat }: Node): string {
  return `${stat.mtimeSec}.${stat.mtimeNsec}`;
}

function sizeOf(node: Node): string | undefined {
  if (node instanceof Directory) return undefined;
  const { content } = node;
  if (content.kind === "external") return String(content.size);
  return content.kind === "inline" ? String(content.bytes.length) : undefined;
}

function targetOf(node: Node): string | undefined {
  return node instanceof Leaf && node.content.kind === "symlink" ? escapeField(node.content.target) : undefined;
}

function deviceOf(node: Node): string | undefined {
  if (node instanceof Directory) return undefined;
  const { content } = node;
  return content.kind === "char" || content.kind === "block" ? String(content.rdev) : undefined;
}

/** The bytes of a file in the image, or the digest of an object. */
function contentOf(node: Node): string | undefined {
  if (node instanceof Directory) return undefined;
  const { content } = node;
  if (content.kind === "inline") return escapeField(toByteString(content.bytes));
  return content.kind === "external" ? content.digest : undefined;
}

/** Where the content of a file is, if it is not in the image: `digest` says that the object has the name of its digest. */
function objectOf(node: Node): string | undefined {
  if (node instanceof Directory || node.content.kind !== "external") return undefined;
  const { path, digest } = node.content;
  if (path !== undefined) return escapeField(path);
  return digest === undefined ? "holes" : "digest";
}

/** Whether two files have the same content although one of them is in the image. */
function sameContent(a: Node, b: Node): boolean {
  if (a instanceof Directory || b instanceof Directory) return false;
  const [first, second] = [a.content, b.content];
  if (first.kind === "inline" && second.kind === "external") return hasDigest(first.bytes, second.digest);
  if (first.kind === "external" && second.kind === "inline") return hasDigest(second.bytes, first.digest);
  return false;
}

function hasDigest(bytes: Uint8Array, digest: string | undefined): boolean {
  if (digest === undefined) return false;
  const algorithm: Algorithm = digest.length === 64 ? "sha256" : "sha512";
  return fsverityDigest(algorithm, bytes) === digest;
}

function xattrChanges(a: Node, b: Node): FieldChange[] {
  const changes: FieldChange[] = [];
  for (const name of [...new Set([...a.stat.xattrs.keys(), ...b.stat.xattrs.keys()])].sort(compareBytes)) {
    const [first, second] = [a.stat.xattrs.get(name), b.stat.xattrs.get(name)];
    if (first === second) continue;
    changes.push({
      field: "xattr",
      xattr: escapeXattr(name),
      a: first === undefined ? undefined : escapeXattr(first),
      b: second === undefined ? undefined : escapeXattr(second),
    });
  }
  return changes;
}

/** The names of files that have several, sorted. */
type LinkGroups = ReadonlyMap<Leaf, readonly string[]>;

function linksOf(node: Node, path: string, groups: LinkGroups): string | undefined {
  if (node instanceof Directory) return undefined;
  return groups
    .get(node)
    ?.filter((name) => name !== path)
    .join(" ");
}

function linkGroups(root: Directory): LinkGroups {
  const groups = new Map<Leaf, string[]>();
  for (const { node, path } of namesOf(root, severalNames(root))) {
    const names = groups.get(node);
    if (names === undefined) groups.set(node, [path]);
    else names.push(path);
  }
  for (const names of groups.values()) names.sort(compareBytes);
  return groups;
}

function severalNames(root: Directory): ReadonlySet<Leaf> {
  const seen: Leaf[] = [];
  const several = new Set<Leaf>();
  const pending = [root];
  for (let directory = pending.pop(); directory !== undefined; directory = pending.pop()) {
    for (const node of directory.entries.values()) {
      if (node instanceof Directory) pending.push(node);
      else if (node.placeIn(seen) === undefined) node.appendTo(seen);
      else several.add(node);
    }
  }
  return several;
}

function* namesOf(
  root: Directory,
  wanted: ReadonlySet<Leaf>,
): Generator<{ node: Leaf; path: string }, void, undefined> {
  if (wanted.size === 0) return;
  const pending: { directory: Directory; path: string }[] = [{ directory: root, path: "" }];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    for (const name of sortedNames(next.directory)) {
      const node = next.directory.entries.get(name) as Node;
      const path = `${next.path}/${escapeName(name)}`;
      if (node instanceof Directory) pending.push({ directory: node, path });
      else if (wanted.has(node)) yield { node, path };
    }
  }
}
