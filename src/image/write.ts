// From a tree or a dump to an EROFS image and its id (docs/spec/erofs.md). The work is the core's; this walks the tree,
// passes the pieces on and hashes them on the way.

import type { Algorithm, ObjectId } from "../bytes/algorithm.ts";
import { type ByteString, displayBytes } from "../bytes/byte-string.ts";
import { backend } from "../core/backend.ts";
import { NO_XATTR_SET, RecordEncoder } from "../core/erofs-record.ts";
import { type Dialect, ErofsWriter, type FormatVersion } from "../core/erofs.ts";
import { FsverityHasher } from "../core/fsverity.ts";
import { ComposefsError } from "../error.ts";
import { Directory, type Leaf, type Xattrs } from "../tree/node.ts";

export type { Dialect, FormatVersion } from "../core/erofs.ts";

/** What image to write. */
export interface ImageOptions {
  /** The composefs_version. */
  version: FormatVersion;
  /** Algorithm of the object ids in the tree. */
  algorithm: Algorithm;
  /** Algorithm of the image's own id; `algorithm` when left out. */
  imageAlgorithm?: Algorithm;
  /** Whose image where the writers differ (docs/spec/erofs.md, section 16); `rs` when left out. Version 2 is always `rs`. */
  dialect?: Dialect;
  /** With version 0 in dialect `c`: 1 raises the version to 1 if the tree has whiteouts, as `mkcomposefs` does. */
  maxVersion?: 0 | 1;
}

/** An image that was written. */
export interface WrittenImage {
  /** Its fs-verity digest: the image id. */
  id: ObjectId;
  /** Size in bytes. */
  size: number;
  /** The version that was written. */
  version: FormatVersion;
  /** Number of inodes, stubs included. */
  inodes: number;
}

/** Takes the next piece of an image. The bytes are valid only during the call. */
export type ImageSink = (chunk: Uint8Array) => void;

/**
 * Writes the image of a tree.
 *
 * @param sink takes the image in order, in pieces of about 1 MiB
 * @throws ComposefsError `invalid` or `limit` if an entry cannot be stored; `path` says which
 * @example
 * ```ts
 * const { id } = writeImage(tree, { version: 1, algorithm: "sha512" }, (chunk) => writeSync(fd, chunk));
 * ```
 */
export function writeImage(root: Directory, options: ImageOptions, sink: ImageSink): WrittenImage {
  using writer = newWriter(options);
  sendTree(root, writer, options.algorithm);
  return emit(writer, options, sink);
}

/** The id of the image of a tree, without keeping the image. See {@link writeImage}. */
export function imageId(root: Directory, options: ImageOptions): WrittenImage {
  return writeImage(root, options, () => {});
}

/**
 * Dump text: chunks split in any way, or a function that fills the area it is given from the front and answers how many
 * bytes it put there, 0 at the end. The function saves a copy of everything.
 */
export type DumpSource = Iterable<Uint8Array> | AsyncIterable<Uint8Array> | ((area: Uint8Array) => number);

/**
 * Writes the image of a dump (docs/spec/dumpfile.md).
 *
 * @throws ComposefsError `invalid` or `limit` for a dump that is refused; `line` and `path` say where
 * @example
 * ```ts
 * const fd = openSync("tree.dump");
 * const { id } = await writeImageFromDump((area) => readSync(fd, area), { version: 1, algorithm: "sha256" });
 * ```
 */
export async function writeImageFromDump(
  source: DumpSource,
  options: ImageOptions,
  sink: ImageSink = () => {},
): Promise<WrittenImage> {
  using writer = newWriter(options);
  if (typeof source === "function") {
    for (let n = source(dumpArea(writer)); n > 0; n = source(dumpArea(writer))) writer.advance(n);
  } else {
    for await (const chunk of source) pushDump(writer, chunk);
  }
  return emit(writer, options, sink);
}

/** What is read at once: stays in the cache until it is parsed, and is large enough for the calls not to count. */
const DUMP_PIECE = 256 << 10;

function dumpArea(writer: ErofsWriter): Uint8Array {
  return writer.window().subarray(0, DUMP_PIECE);
}

function pushDump(writer: ErofsWriter, chunk: Uint8Array): void {
  for (let done = 0; done < chunk.length; ) {
    const window = dumpArea(writer);
    const n = Math.min(window.length, chunk.length - done);
    window.set(chunk.subarray(done, done + n));
    writer.advance(n);
    done += n;
  }
}

function newWriter(options: ImageOptions): ErofsWriter {
  const { version, algorithm, imageAlgorithm = algorithm, dialect = "rs", maxVersion = version } = options;
  if (maxVersion !== version && !(dialect === "c" && version === 0)) {
    throw new ComposefsError("usage", `maxVersion ${maxVersion} needs version 0 and dialect c`);
  }
  return new ErofsWriter({ version, maxVersion, dialect, objects: algorithm, image: imageAlgorithm });
}

/** Lays the image out, and passes it on and hashes it piece by piece. */
function emit(writer: ErofsWriter, options: ImageOptions, sink: ImageSink): WrittenImage {
  const summary = writer.finish();
  const algorithm = options.imageAlgorithm ?? options.algorithm;
  if (backend(algorithm, summary.size).name === "wasm") {
    // The writer hashes its pieces where they are.
    for (let piece = writer.pullWindow(); piece !== undefined; piece = writer.pullWindow()) sink(piece);
    return { id: writer.digest(), ...summary };
  }
  writer.hashing(false);
  using hasher = new FsverityHasher(algorithm);
  for (let piece = writer.pullWindow(); piece !== undefined; piece = writer.pullWindow()) {
    hasher.update(piece);
    sink(piece);
  }
  return { id: hasher.digest(), ...summary };
}

/** The longest name and value of an xattr. */
const MAX_XATTR_NAME = 255;
const MAX_XATTR_VALUE = 65535;

/** What is wrong with a set of xattrs. The core would refuse it too, but it does not know yet which node it is for. */
function xattrProblem(xattrs: Xattrs): string | undefined {
  for (const [name, value] of xattrs) {
    if (name === "") return "an xattr has an empty name";
    if (name.includes("\0")) return "an xattr name holds a NUL byte";
    if (name.length > MAX_XATTR_NAME) return `an xattr name is longer than ${MAX_XATTR_NAME} bytes`;
    if (value.length > MAX_XATTR_VALUE) {
      return `the value of xattr ${displayBytes(name)} is longer than ${MAX_XATTR_VALUE} bytes`;
    }
  }
  return undefined;
}

/** Path of the first node with that set of xattrs. */
function pathWithXattrs(root: Directory, xattrs: Xattrs): string {
  const pending: { directory: Directory; path: ByteString }[] = [{ directory: root, path: "" }];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    if (next.directory.stat.xattrs === xattrs) return displayBytes(next.path === "" ? "/" : next.path);
    for (const [name, node] of next.directory.entries) {
      const path = `${next.path}/${name}`;
      if (node instanceof Directory) pending.push({ directory: node, path });
      else if (node.stat.xattrs === xattrs) return displayBytes(path);
    }
  }
  return "/";
}

/** Numbers of what was sent, for what refers to it. */
class Sender {
  readonly #root: Directory;
  readonly #encoder: RecordEncoder;
  readonly #sets = new Map<Xattrs, number>();
  /** Leaves by number. */
  readonly #leaves: Leaf[] = [];
  #lastXattrs: Xattrs | undefined;
  #lastSet = NO_XATTR_SET;

  constructor(root: Directory, encoder: RecordEncoder) {
    this.#root = root;
    this.#encoder = encoder;
  }

  /** The number of an xattr set, which is sent if it is new. Nodes usually share few maps. */
  set(xattrs: Xattrs): number {
    if (xattrs === this.#lastXattrs) return this.#lastSet;
    let number = this.#sets.get(xattrs);
    if (number === undefined) {
      const problem = xattrProblem(xattrs);
      if (problem !== undefined) {
        const path = pathWithXattrs(this.#root, xattrs);
        throw new ComposefsError("invalid", `XATTR, ${path}: ${problem}`, { path });
      }
      number = xattrs.size === 0 ? NO_XATTR_SET : this.#encoder.xattrs(xattrs);
      this.#sets.set(xattrs, number);
    }
    this.#lastXattrs = xattrs;
    this.#lastSet = number;
    return number;
  }

  leaf(parent: number, name: ByteString, leaf: Leaf): void {
    const known = leaf.placeIn(this.#leaves);
    if (known !== undefined) {
      this.#encoder.link(parent, name, known);
      return;
    }
    leaf.appendTo(this.#leaves);
    this.#newLeaf(parent, name, leaf);
  }

  #newLeaf(parent: number, name: ByteString, { stat, content }: Leaf): void {
    const encoder = this.#encoder;
    const set = this.set(stat.xattrs);
    switch (content.kind) {
      case "inline":
        encoder.inline(parent, name, stat, set, content.bytes);
        break;
      case "external":
        encoder.external(parent, name, stat, set, content.size, content.digest, content.path);
        break;
      case "symlink":
        encoder.symlink(parent, name, stat, set, content.target);
        break;
      case "char":
      case "block":
        encoder.special(parent, name, stat, set, content.kind, content.rdev);
        break;
      default:
        encoder.special(parent, name, stat, set, content.kind, 0);
    }
  }
}

/** How many names the tree has. Counted first, as memory that grows step by step makes the garbage collector run. */
function countNodes(root: Directory): number {
  let count = 1;
  const pending = [root];
  for (let directory = pending.pop(); directory !== undefined; directory = pending.pop()) {
    count += directory.entries.size;
    for (const node of directory.entries.values()) if (node instanceof Directory) pending.push(node);
  }
  return count;
}

/** Sends the tree depth first; the core sorts the names of each directory. */
function sendTree(root: Directory, writer: ErofsWriter, algorithm: Algorithm): void {
  writer.reserve(countNodes(root));
  const encoder = new RecordEncoder(writer, algorithm);
  const sender = new Sender(root, encoder);
  encoder.root(root.stat, sender.set(root.stat.xattrs));
  // Directories whose entries are still to be sent. Depth may exceed what recursion allows.
  const pending: { directory: Directory; number: number }[] = [{ directory: root, number: 0 }];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    for (const [name, node] of next.directory.entries) {
      if (node instanceof Directory) {
        const number = encoder.directory(next.number, name, node.stat, sender.set(node.stat.xattrs));
        pending.push({ directory: node, number });
      } else {
        sender.leaf(next.number, name, node);
      }
    }
  }
  encoder.flush();
}
