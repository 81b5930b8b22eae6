// From dump text to a tree (docs/spec/dumpfile.md, column NEW and the points that its first table gives to the dialects).
// To make an image of a dump no tree is needed: `writeImageFromDump` feeds the text to the core.

import { type Algorithm, DIGEST_SIZE, objectPath } from "../bytes/algorithm.ts";
import { type ByteString, compareBytes, displayBytes, fromByteString, toByteString } from "../bytes/byte-string.ts";
import { ComposefsError, type ErrorDetails } from "../error.ts";
import { FieldError, decimalField, octalField, timeField, unescapeField } from "./dump-fields.ts";
import { type Content, Directory, Leaf, NO_XATTRS, type Node, type Stat, type Xattrs } from "./node.ts";

/** Options of {@link readDump}. */
export interface ReadDumpOptions {
  /** Algorithm of the DIGEST column; sha256 when left out. */
  algorithm?: Algorithm;
  /** Which tool's reading wins where they differ; `c`, which keeps what is written, when left out. */
  dialect?: "c" | "rs";
}

const FIELDS = [
  "PATH",
  "SIZE",
  "MODE",
  "NLINK",
  "UID",
  "GID",
  "RDEV",
  "MTIME",
  "PAYLOAD",
  "CONTENT",
  "DIGEST",
] as const;
const U32 = 0xffffffffn;
const U64 = (1n << 64n) - 1n;
const MAX_PATH = 4096;
const MAX_SIZE = 1n << 53n;
const LIMITS = { c: { content: 5000, target: 4095 }, rs: { content: 512, target: 1024 } };
const MAX_XATTR_SPACE = 32767;

const TYPES: Record<number, "directory" | Content["kind"]> = {
  0o010000: "fifo",
  0o020000: "char",
  0o040000: "directory",
  0o060000: "block",
  0o100000: "inline",
  0o120000: "symlink",
  0o140000: "socket",
};

/**
 * Reads a dump, which may be split into chunks in any way. Entries may come in any order as long as parents come first.
 *
 * @throws ComposefsError `invalid` or `limit`; `line` and `path` say where
 * @example
 * ```ts
 * const tree = readDump([readFileSync("tree.dump")]);
 * ```
 */
export function readDump(source: Iterable<Uint8Array>, options: ReadDumpOptions = {}): Directory {
  const reader = new DumpReader(options);
  let rest = "";
  for (const chunk of source) {
    const lines = (rest + toByteString(chunk)).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) reader.line(line);
  }
  if (rest !== "") reader.line(rest);
  return reader.end();
}

interface Link {
  path: ByteString;
  directory: Directory;
  name: ByteString;
  target: ByteString;
  line: number;
}

class DumpReader {
  readonly #dialect: "c" | "rs";
  readonly #algorithm: Algorithm;
  readonly #directories = new Map<ByteString, Directory>();
  readonly #links = new Map<ByteString, Link>();
  readonly #leaves = new Map<ByteString, Leaf>();
  /** Xattr fields that were read: most lines repeat a few. */
  readonly #xattrs = new Map<string, Xattrs>();
  #line = 0;
  #path = "";

  constructor({ algorithm = "sha256", dialect = "c" }: ReadDumpOptions) {
    this.#algorithm = algorithm;
    this.#dialect = dialect;
  }

  line(text: ByteString): void {
    this.#line++;
    this.#path = "";
    if (text === "") return;
    try {
      this.#entry(text);
    } catch (error) {
      throw this.#located(error, this.#line, this.#path);
    }
  }

  /** Resolves the links; answers the root. */
  end(): Directory {
    const root = this.#directories.get("");
    if (root === undefined) {
      throw new ComposefsError("invalid", "PATH: there are no entries; the first must be the root directory, /");
    }
    for (const link of this.#links.values()) {
      try {
        link.directory.entries.set(link.name, this.#resolve(link));
      } catch (error) {
        throw this.#located(error, link.line, link.path);
      }
    }
    return root;
  }

  #located(error: unknown, line: number, path: ByteString): unknown {
    if (!(error instanceof FieldError)) return error;
    const details: ErrorDetails = { line };
    let where = `line ${line}, ${error.field}`;
    if (path !== "") {
      details.path = displayBytes(path);
      where += `, ${details.path}`;
    }
    return new ComposefsError(error.kind, `${where}: ${error.message}`, details);
  }

  #entry(text: ByteString): void {
    const forbidden = text.search(/[\0\r]/);
    if (forbidden >= 0) {
      const fieldName = FIELDS[text.slice(0, forbidden).split(" ").length - 1] ?? "XATTR";
      throw new FieldError(fieldName, "the line holds a raw NUL byte or carriage return");
    }
    const fields = text.split(" ");
    const path = unescapeField(fields[0] as string, "PATH");
    if (path.length > MAX_PATH) throw new FieldError("PATH", `the field is longer than ${MAX_PATH} bytes`, "limit");
    if (!path.startsWith("/")) throw new FieldError("PATH", "the path does not begin with a slash");
    this.#path = path;
    const isRoot = path === "/";
    if (this.#directories.has("") === isRoot) {
      throw new FieldError(
        "PATH",
        isRoot ? "the root directory is there already" : "the first line must be that of the root directory, /",
      );
    }
    const modeField = fieldAt(fields, 2);
    const isLink = modeField.startsWith("@");
    const mode = octalField(isLink ? modeField.slice(1) : modeField, 0o177777, "MODE");
    const kind = TYPES[mode & 0o170000];
    if (kind === undefined && !(isLink && mode === 0))
      throw new FieldError("MODE", "the mode has no file type that exists");
    if (isRoot && (isLink || kind !== "directory"))
      throw new FieldError("MODE", "the root must be a directory (mode 4....)");
    const slash = path.lastIndexOf("/");
    const name = path.slice(slash + 1);
    if (!isRoot) checkName(name, "PATH");
    const parent = isRoot ? undefined : this.#parent(path.slice(0, slash));
    if (parent?.entries.has(name))
      throw new FieldError("PATH", `there is already an entry of the name ${displayBytes(name)}`);
    if (isLink) {
      if (kind === "directory") throw new FieldError("MODE", "a directory cannot be a hard link");
      this.#link(fields, path, parent as Directory, name);
      return;
    }
    const node = this.#node(fields, mode, kind as "directory" | Content["kind"]);
    if (node instanceof Directory) this.#directories.set(isRoot ? "" : path, node);
    else this.#leaves.set(path, node);
    parent?.entries.set(name, node);
  }

  #parent(path: ByteString): Directory {
    const directory = this.#directories.get(path);
    if (directory !== undefined) return directory;
    for (const component of path.split("/").slice(1)) checkName(component, "PATH");
    const exists = this.#leaves.has(path) || this.#links.has(path);
    throw new FieldError(
      "PATH",
      exists
        ? `the parent ${displayBytes(path)} is not a directory`
        : `there is no line before this one for the parent directory ${displayBytes(path)}`,
    );
  }

  #link(fields: string[], path: ByteString, directory: Directory, name: ByteString): void {
    const target = optional(fieldAt(fields, 8), "PAYLOAD");
    if (target === undefined) throw new FieldError("PAYLOAD", "a hard link needs the path of its target here");
    if (!target.startsWith("/"))
      throw new FieldError("PAYLOAD", "the target of a hard link is a path that begins with a slash");
    for (const component of target.split("/").slice(1)) checkName(component, "PAYLOAD");
    if (this.#dialect === "rs" && !this.#leaves.has(target) && !this.#links.has(target)) {
      throw new FieldError("PAYLOAD", `dialect rs wants the link target on an earlier line: ${displayBytes(target)}`);
    }
    this.#links.set(path, { path, directory, name, target, line: this.#line });
    // Holds the name, and its place; the target may come later.
    directory.entries.set(name, PENDING);
  }

  #resolve(link: Link): Leaf {
    const seen = new Set<Link>();
    for (let at = link; ; ) {
      if (seen.has(at)) throw new FieldError("PAYLOAD", "the link leads back to itself");
      seen.add(at);
      const leaf = this.#leaves.get(at.target);
      if (leaf !== undefined) {
        if (leaf.content.kind === "char" && leaf.content.rdev === 0) {
          throw new FieldError("PAYLOAD", "a whiteout (character device 0) has exactly one name");
        }
        return leaf;
      }
      const next = this.#links.get(at.target);
      if (next === undefined) {
        throw new FieldError(
          "PAYLOAD",
          this.#directories.has(at.target)
            ? `a directory cannot have a second name: ${displayBytes(at.target)}`
            : `there is no entry for the link target ${displayBytes(at.target)}`,
        );
      }
      at = next;
    }
  }

  #node(fields: string[], mode: number, kind: "directory" | Content["kind"]): Node {
    const size = decimalField(fieldAt(fields, 1), U64, "SIZE");
    const nlink = decimalField(fieldAt(fields, 3), U32, "NLINK");
    const uid = Number(decimalField(fieldAt(fields, 4), U32, "UID"));
    const gid = Number(decimalField(fieldAt(fields, 5), U32, "GID"));
    const rdev = Number(decimalField(fieldAt(fields, 6), U32, "RDEV"));
    const isDevice = kind === "char" || kind === "block";
    if (rdev !== 0 && !isDevice) throw new FieldError("RDEV", "only devices have a device number; expected 0");
    if (this.#dialect === "rs" && kind === "char" && rdev === 0 && nlink > 1n) {
      throw new FieldError("NLINK", "a whiteout (character device 0) has exactly one name");
    }
    const time = timeField(fieldAt(fields, 7));
    const payload = optional(fieldAt(fields, 8), "PAYLOAD");
    const content = contentField(fieldAt(fields, 9), size);
    const digest = fieldAt(fields, 10);
    const stat: Stat = { mode: mode & 0o7777, uid, gid, ...time, xattrs: this.#xattrFields(fields.slice(11)) };
    if (kind === "inline") return new Leaf(stat, this.#regular(size, payload, content, digest));
    if (content !== undefined) throw new FieldError("CONTENT", "only regular files have content; expected -");
    if (digest !== "-") throw new FieldError("DIGEST", "only regular files have a digest; expected -");
    if (kind === "directory") return new Directory(stat);
    if (isDevice) return new Leaf(stat, { kind, rdev });
    if (kind !== "symlink") return new Leaf(stat, { kind: kind as "fifo" | "socket" });
    if (payload === undefined) throw new FieldError("PAYLOAD", "a symlink needs its target here");
    const limit = LIMITS[this.#dialect].target;
    if (payload.length > limit) throw new FieldError("PAYLOAD", `the field is longer than ${limit} bytes`, "limit");
    return new Leaf(stat, { kind: "symlink", target: payload });
  }

  /** Section 3.1. */
  #regular(
    size: bigint,
    payload: ByteString | undefined,
    content: ByteString | undefined,
    digestText: string,
  ): Content {
    let digest: string | undefined;
    if (digestText !== "-") {
      const digits = 2 * DIGEST_SIZE[this.#algorithm];
      if (digestText.length !== digits || !/^[0-9a-fA-F]+$/.test(digestText)) {
        throw new FieldError("DIGEST", `expected ${digits} hex digits (${this.#algorithm}) or -`);
      }
      digest = digestText.toLowerCase();
    }
    if (content !== undefined) {
      if (payload !== undefined) throw new FieldError("PAYLOAD", "a file has a payload or content, not both");
      if (digest !== undefined) throw new FieldError("DIGEST", "a file with content has no digest; expected -");
      const limit = LIMITS[this.#dialect].content;
      if (content.length > limit) throw new FieldError("CONTENT", `the field is longer than ${limit} bytes`, "limit");
      if (BigInt(content.length) !== size) {
        throw new FieldError("CONTENT", `the content has ${content.length} bytes, but SIZE is ${size}`);
      }
      return { kind: "inline", bytes: fromByteString(content) };
    }
    if (digest !== undefined && payload === undefined) {
      throw new FieldError("DIGEST", "a digest needs the path of the object as payload");
    }
    if (size === 0n && (payload === undefined || this.#dialect === "c"))
      return { kind: "inline", bytes: new Uint8Array() };
    if (size > MAX_SIZE) throw new FieldError("SIZE", "the file is larger than 2^53 bytes", "limit");
    const path = this.#redirect(payload, digest);
    const external = { kind: "external", size: Number(size), digest } as const;
    return path === undefined ? external : { ...external, path };
  }

  /** The redirect path, unless it follows from the digest. */
  #redirect(payload: ByteString | undefined, digest: string | undefined): ByteString | undefined {
    if (payload === undefined || this.#dialect === "c") {
      return digest !== undefined && payload === objectPath(digest) ? undefined : payload;
    }
    if (digest !== undefined) return undefined;
    const length = 2 * DIGEST_SIZE[this.#algorithm] + 1;
    const end = payload.slice(-length).toLowerCase();
    if (end.length === length && /^[0-9a-f]{2}\/[0-9a-f]+$/.test(end)) return end;
    throw new FieldError("PAYLOAD", "without a digest the path must end in an object path");
  }

  #xattrFields(fields: string[]): Xattrs {
    if (fields.length === 0) return NO_XATTRS;
    const key = fields.join(" ");
    const known = this.#xattrs.get(key);
    if (known !== undefined) return known;
    const xattrs = new Map<ByteString, ByteString>();
    for (const text of fields) {
      const equals = text.indexOf("=");
      if (equals < 0) throw new FieldError("XATTR", "expected NAME=VALUE");
      const name = unescapeField(text.slice(0, equals), "XATTR");
      const value = unescapeField(text.slice(equals + 1), "XATTR");
      if (name === "" || name.includes("\0"))
        throw new FieldError("XATTR", "an xattr name is empty or holds a NUL byte");
      if (name.length > 255) throw new FieldError("XATTR", "an xattr name is longer than 255 bytes", "limit");
      if (value.length > 65535) throw new FieldError("XATTR", "an xattr value is longer than 65535 bytes", "limit");
      const previous = xattrs.get(name);
      if (previous === undefined || this.#dialect === "c" || compareBytes(previous, value) < 0) xattrs.set(name, value);
    }
    let space = 12;
    for (const [name, value] of xattrs) space += 7 + name.length + value.length;
    if (this.#dialect === "c" && space > MAX_XATTR_SPACE) {
      throw new FieldError("XATTR", `the xattrs take ${space} bytes; at most ${MAX_XATTR_SPACE} are accepted`, "limit");
    }
    this.#xattrs.set(key, xattrs);
    return xattrs;
  }
}

/** Stands for a link whose target is not known yet. */
const PENDING = new Leaf({ mode: 0, uid: 0, gid: 0, mtimeSec: 0n, mtimeNsec: 0, xattrs: NO_XATTRS }, { kind: "fifo" });

function fieldAt(fields: string[], index: number): string {
  const text = fields[index];
  if (text !== undefined) return text;
  throw new FieldError(
    FIELDS[index] ?? "",
    `the field is missing; a line has 11 fields, and this one ${fields.length}`,
  );
}

function optional(text: string, name: string): ByteString | undefined {
  if (text === "-") return undefined;
  if (text === "") throw new FieldError(name, "the field is empty; write - for no value");
  const bytes = unescapeField(text, name);
  if (bytes.includes("\0")) throw new FieldError(name, "the field holds a NUL byte");
  if (bytes.length > MAX_PATH) throw new FieldError(name, `the field is longer than ${MAX_PATH} bytes`, "limit");
  return bytes;
}

function contentField(text: string, size: bigint): ByteString | undefined {
  if (text === "-") return undefined;
  if (text === "" && size !== 0n) throw new FieldError("CONTENT", "the field is empty; write - for no content");
  return unescapeField(text, "CONTENT");
}

function checkName(name: ByteString, fieldName: string): void {
  if (name === "") throw new FieldError(fieldName, "a component of the path is empty (// or a trailing /)");
  if (name === "." || name === "..") throw new FieldError(fieldName, `a component of the path is ${name}`);
  if (name.includes("\0")) throw new FieldError(fieldName, "a name holds a NUL byte");
  if (name.length > 255) throw new FieldError(fieldName, "a name is longer than 255 bytes", "limit");
}
