// From a tree to dump text (docs/spec/dumpfile.md, section 6), line by line.

import { DIGEST_SIZE, objectPath } from "../bytes/algorithm.ts";
import { type ByteString, compareBytes, toByteString } from "../bytes/byte-string.ts";
import { type Content, Directory, type Leaf, type Node, type Stat, type Xattrs } from "./node.ts";

/**
 * - `rs`: exactly the text of `cfsctl`: the payload of an external file is the object path of its digest, and the digest is
 *   always there (taken from the path if the tree has none).
 * - `canonical`: nothing is invented; the payload is the redirect path or `-` (docs/spec/erofs.md, section 17.7).
 */
export type DumpForm = "rs" | "canonical";

const TYPE: Record<Content["kind"], number> = {
  inline: 0o100000,
  external: 0o100000,
  symlink: 0o120000,
  char: 0o020000,
  block: 0o060000,
  fifo: 0o010000,
  socket: 0o140000,
};

/** The text of each byte in a field. */
const ESCAPES: string[] = Array.from({ length: 256 }, (_, byte) => {
  if (byte === 0x5c) return "\\\\";
  if (byte === 0x0a) return "\\n";
  if (byte === 0x0d) return "\\r";
  if (byte === 0x09) return "\\t";
  if (byte > 0x20 && byte < 0x7f) return String.fromCharCode(byte);
  return `\\x${byte.toString(16).padStart(2, "0")}`;
});

const NEEDS_ESCAPE = /[^\x21-\x5b\x5d-\x7e]/g;
const NEEDS_ESCAPE_IN_XATTR = /[^\x21-\x3c\x3e-\x5b\x5d-\x7e]/g;

function escapeByte(character: string): string {
  return character === "=" ? "\\x3d" : (ESCAPES[character.charCodeAt(0)] ?? character);
}

/** A path, payload or content as a field of a dump line: escaped, `-` if there is none. */
export function escapeField(value: ByteString): string {
  if (value === "" || value === "-") return value === "" ? "-" : "\\x2d";
  return value.replace(NEEDS_ESCAPE, escapeByte);
}

/** The name or value of an xattr in a dump line. */
export function escapeXattr(value: ByteString): string {
  return value.replace(NEEDS_ESCAPE_IN_XATTR, escapeByte);
}

/** Names of a directory in the order of dumps and images. */
export function sortedNames(directory: Directory): ByteString[] {
  return [...directory.entries.keys()].sort(compareBytes);
}

/**
 * The tree as dump text: depth first, names in byte order, one string per line with its line end. All strings are pure
 * ASCII.
 *
 * @example
 * ```ts
 * for (const line of dumpTree(tree)) process.stdout.write(line);
 * ```
 */
export function* dumpTree(root: Directory, form: DumpForm = "rs"): Generator<string, void, undefined> {
  yield directoryLine("/", root);
  yield* linesBelow("", root, countNames(root), form);
}

/** The lines of all that is below a directory; its path is escaped and without a slash at its end. */
function* linesBelow(
  directoryPath: string,
  directory: Directory,
  counts: ReadonlyMap<Leaf, number>,
  form: DumpForm,
): Generator<string, void, undefined> {
  const firstPaths = new Map<Leaf, string>();
  const stack = [{ path: directoryPath, directory, names: sortedNames(directory), next: 0 }];
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    const name = top.names[top.next++];
    if (name === undefined) {
      stack.pop();
      continue;
    }
    const node = top.directory.entries.get(name) as Node;
    // Not `escapeField`: a path is never empty or a lone dash.
    const path = `${top.path}/${name.replace(NEEDS_ESCAPE, escapeByte)}`;
    if (node instanceof Directory) {
      yield directoryLine(path, node);
      stack.push({ path, directory: node, names: sortedNames(node), next: 0 });
      continue;
    }
    const first = firstPaths.get(node);
    if (first !== undefined) {
      yield `${path} 0 @120000 - - - - 0.0 ${first} - -\n`;
      continue;
    }
    const count = counts.get(node) ?? 1;
    if (count > 1) firstPaths.set(node, path);
    yield leafLine(path, node, count, form);
  }
}

/** A node and the path that stands for it in the text. */
export interface DumpEntry {
  readonly path: ByteString;
  readonly node: Node;
}

/**
 * The lines of single entries as `cfsctl dump-files` has them: a directory is followed by all that is below it, and hard
 * links lead to the first name that this directory has of the file.
 *
 * @param root the tree that the entries are in, for link counts
 */
export function* dumpEntries(
  root: Directory,
  entries: Iterable<DumpEntry>,
  form: DumpForm = "rs",
): Generator<string, void, undefined> {
  const counts = countNames(root);
  for (const { path, node } of entries) {
    const given = path.replace(NEEDS_ESCAPE, escapeByte);
    if (node instanceof Directory) {
      yield directoryLine(given, node);
      yield* linesBelow(given.replace(/\/$/, ""), node, counts, form);
    } else yield leafLine(given, node, counts.get(node) ?? 1, form);
  }
}

/** How many names each leaf with several has. */
function countNames(root: Directory): Map<Leaf, number> {
  const seen: Leaf[] = [];
  const counts = new Map<Leaf, number>();
  const pending = [root];
  for (let directory = pending.pop(); directory !== undefined; directory = pending.pop()) {
    for (const node of directory.entries.values()) {
      if (node instanceof Directory) pending.push(node);
      else if (node.placeIn(seen) === undefined) node.appendTo(seen);
      else counts.set(node, (counts.get(node) ?? 1) + 1);
    }
  }
  return counts;
}

function directoryLine(path: string, directory: Directory): string {
  let links = 2;
  for (const node of directory.entries.values()) if (node instanceof Directory) links++;
  return line(path, 0, 0o040000, links, directory.stat, 0, "- - -");
}

function leafLine(path: string, { stat, content }: Leaf, links: number, form: DumpForm): string {
  let size = 0;
  let rdev = 0;
  let data = "- - -";
  switch (content.kind) {
    case "inline":
      size = content.bytes.length;
      data = `- ${escapeField(toByteString(content.bytes))} -`;
      break;
    case "external":
      size = content.size;
      data = externalFields(content, form);
      break;
    case "symlink":
      size = content.target.length;
      data = `${escapeField(content.target)} - -`;
      break;
    case "char":
    case "block":
      rdev = content.rdev;
      break;
    default:
  }
  return line(path, size, TYPE[content.kind], links, stat, rdev, data);
}

/** The end of a path that is an object path: two hex digits, a slash, the rest of the digest. */
const OBJECT_PATH = new RegExp(
  `([0-9a-f]{2})/([0-9a-f]{${2 * DIGEST_SIZE.sha512 - 2}}|[0-9a-f]{${2 * DIGEST_SIZE.sha256 - 2}})$`,
);

function externalFields({ digest, path }: Extract<Content, { kind: "external" }>, form: DumpForm): string {
  if (form === "canonical") {
    const redirect = path ?? (digest === undefined ? "" : objectPath(digest));
    return `${escapeField(redirect)} - ${digest ?? "-"}`;
  }
  let id = digest;
  if (id === undefined && path !== undefined) {
    const match = OBJECT_PATH.exec(path);
    if (match === null) return `${escapeField(path)} - -`;
    id = `${match[1]}${match[2]}`;
  }
  return id === undefined ? "- - -" : `${objectPath(id)} - ${id}`;
}

function line(path: string, size: number, type: number, links: number, stat: Stat, rdev: number, data: string): string {
  const mode = (type | stat.mode).toString(8);
  const time = `${stat.mtimeSec}.${stat.mtimeNsec}`;
  return `${path} ${size} ${mode} ${links} ${stat.uid} ${stat.gid} ${rdev} ${time} ${data}${xattrFields(stat.xattrs)}\n`;
}

/** The fields of sets that were printed: most nodes share a few. */
const printed = new WeakMap<Xattrs, string>();

function xattrFields(xattrs: Xattrs): string {
  if (xattrs.size === 0) return "";
  let text = printed.get(xattrs);
  if (text === undefined) {
    const names = [...xattrs.keys()].sort(compareBytes);
    text = names.map((name) => ` ${escapeXattr(name)}=${escapeXattr(xattrs.get(name) ?? "")}`).join("");
    printed.set(xattrs, text);
  }
  return text;
}
