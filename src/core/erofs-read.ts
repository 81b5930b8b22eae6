// The EROFS image reader of the core, typed (docs/spec/erofs.md, section 17; asm/core.wit, interface erofs-reader).

import { fstatSync, readSync } from "node:fs";
import type { Algorithm } from "../bytes/algorithm.ts";
import type { ByteString } from "../bytes/byte-string.ts";
import { fromByteString } from "../bytes/byte-string.ts";
import { ComposefsError, type ErrorDetails, systemError } from "../error.ts";
import type { FormatVersion } from "./erofs.ts";
import { type CoreFailure, coreFailure, failureCode, shownPath } from "./failure.ts";
import { type Core, coreBytes, inCore, newCore } from "./load.ts";

/** An image: its bytes, or the descriptor of an open file that holds it. The descriptor stays open, its position as it is. */
export type ImageInput = Uint8Array | number;

/** Size above which an image is refused unless {@link ReadOptions.limit} says otherwise: 1 GiB. */
export const IMAGE_LIMIT: number = 1 << 30;

/** How to read an image. */
export interface ReadOptions {
  /** Algorithm of the digests in the image. When left out the first digest decides, and all others must be like it. */
  algorithm?: Algorithm | undefined;
  /** Largest size in bytes that is accepted; {@link IMAGE_LIMIT} when left out, at most 3 GiB. */
  limit?: number | undefined;
  /** Is given all bytes of the image before anything is made of them, and throws if they are not the right ones. */
  verify?: ((bytes: Uint8Array) => void) | undefined;
}

/** What the headers of an image say. */
export interface ImageHeader {
  /** The composefs_version. */
  readonly version: FormatVersion;
  /** Some file of the image has an ACL (versions 0 and 1). */
  readonly hasAcl: boolean;
  /** Number of inodes that the superblock claims; {@link ErofsReader.load} counts them. */
  readonly inodes: bigint;
  /** Size of the image in bytes. */
  readonly size: number;
}

/** What {@link ErofsReader.load} has found. */
export interface ImageContents {
  /** Inodes, stubs included. */
  readonly inodes: number;
  readonly directories: number;
  /** Algorithm of the digests of external files; undefined if there are none and none was given. */
  readonly algorithm: Algorithm | undefined;
}

/** Something in a readable image that no writer writes (docs/spec/erofs.md, section 17.10). */
export interface Finding {
  /** Short name of the rule, such as `chunk bits`. */
  readonly rule: string;
  /** The entry's path, escaped as in dumps; undefined if it is about the image as a whole. */
  readonly path: string | undefined;
  readonly message: string;
}

/**
 * - `canonical`: lossless, and a function of the tree alone (docs/spec/erofs.md, 17.7).
 * - `c`: as `composefs-info dump` of the C tools prints it (docs/spec/dumpfile.md, 6): directories have the size that they have in
 *   the image, the further names of a file repeat all its fields, shared xattrs come last, and the marks that the writer puts on
 *   directories with whiteouts are shown.
 */
export type ImageDumpForm = "canonical" | "c";

/** Bytes that one call of `read` is asked for: it cannot do more than 2 GiB. */
const READ_BYTES = 1 << 26;

/** An instance whose last reader was small: the next reader saves making one. */
let idle: Core | undefined;
const IDLE_MEMORY = 64 << 20;

/**
 * Reads one image. Nothing in it is trusted: whatever its bytes are, every method answers or throws, in time and memory linear
 * in its size (the dump text alone can be much longer). Everything is synchronous; the image lies in the memory of a core
 * instance of the reader's own, which goes away with it. Dispose it.
 *
 * @example
 * ```ts
 * using reader = new ErofsReader(fd, { algorithm: "sha512" });
 * reader.dump();
 * for (const piece of reader.pieces()) process.stdout.write(piece);
 * ```
 */
export class ErofsReader implements Disposable {
  readonly header: ImageHeader;
  readonly #core: Core;
  readonly #reader: InstanceType<Core["erofsReader"]["Reader"]>;
  #disposed = false;

  /** @throws ComposefsError `invalid` if it is no composefs image, `limit` if it is too large, or what reading it and `verify` caused */
  constructor(input: ImageInput, { algorithm, limit = IMAGE_LIMIT, verify }: ReadOptions = {}) {
    const size = typeof input === "number" ? fileSize(input) : input.length;
    if (size > limit) {
      throw new ComposefsError("limit", `the image has ${size} bytes, more than the limit of ${limit}`);
    }
    const core = idle ?? newCore();
    idle = undefined;
    this.#core = core;
    this.#reader = inCore(core, () => new core.erofsReader.Reader(algorithm));
    try {
      this.#call((reader) => reader.reserve(BigInt(size)));
      const bytes = this.#window();
      if (typeof input === "number") readFile(input, bytes);
      else bytes.set(input);
      verify?.(bytes);
      this.#call((reader) => reader.advance(size));
      const { version, headerFlags, inodes } = this.#call((reader) => reader.open());
      this.header = { version: version as FormatVersion, hasAcl: (headerFlags & 1) !== 0, inodes, size };
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Validates the whole image (docs/spec/erofs.md, 17.2 to 17.6).
   *
   * @throws ComposefsError `invalid`; the message names the rule, `path` the entry
   */
  load(): ImageContents {
    const { inodes, directories, digestSize } = this.#call((reader) => reader.load());
    const algorithm = digestSize === 0 ? undefined : digestSize === 32 ? "sha256" : "sha512";
    return { inodes: Number(inodes), directories: Number(directories), algorithm };
  }

  /**
   * Validates the image and looks for what no writer writes. Answers how much that is; {@link findings} tells it.
   *
   * @param repository whether each digest must have its object path as redirect, as in images of repositories
   */
  check(repository: boolean): number {
    return Number(this.#call((reader) => reader.check(repository)));
  }

  /** The findings of the last check, the first 1000 of them. Each is told once. */
  *findings(): Iterable<Finding> {
    for (;;) {
      const failure = this.#call((reader) => reader.nextFinding());
      if (failure === undefined) return;
      const { field, path, message } = failure;
      yield { rule: field, path: path === "" ? undefined : path, message };
    }
  }

  /**
   * Validates and checks the image as {@link check} does, and starts the sorted list of the objects that it needs:
   * {@link pieces} are then lines of hex digits. Needs the algorithm.
   *
   * @returns the number of objects
   */
  objects(repository = false): number {
    return Number(this.#call((reader) => reader.objects(repository)));
  }

  /** Restricts dumps and trees to an entry of the root, or, called again, to several. What is validated is the whole image. */
  select(name: ByteString): void {
    this.#call((reader) => reader.select(fromByteString(name)));
  }

  /** Validates the image, and starts its dump text. */
  dump(form: ImageDumpForm = "canonical"): void {
    this.#call((reader) => reader.dump(form));
  }

  /** Validates the image, and starts its tree as records (asm/erofs-read/records.ts). */
  tree(): void {
    this.#call((reader) => reader.tree());
  }

  /**
   * Looks a path up, without validating more than the directories on the way. If it is there, {@link pieces} are its records.
   */
  lookup(path: ByteString): boolean {
    return this.#call((reader) => reader.lookup(fromByteString(path)));
  }

  /** The pieces of what was started, up to 512 KiB each and, for records, whole ones. Valid until the next piece or call. */
  *pieces(): Iterable<Uint8Array> {
    for (;;) {
      const [address, length] = this.#call((reader) => reader.pullWindow());
      if (length === 0) return;
      yield coreBytes(this.#core, address, length);
    }
  }

  /** Bytes of memory that the reader's core instance has. */
  get memorySize(): number {
    return this.#core.memory.buffer.byteLength;
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    try {
      // The generated declaration lacks the method (docs/spec/wasm-core.md, section 2.4).
      (this.#reader as unknown as Disposable)[Symbol.dispose]();
    } catch {
      // The instance died of a trap, which was reported; there is nothing to give back.
      return;
    }
    if (this.#core.memory.buffer.byteLength <= IDLE_MEMORY) idle = this.#core;
  }

  #window(): Uint8Array {
    const [address, length] = this.#call((reader) => reader.window());
    return coreBytes(this.#core, address, length);
  }

  #call<T>(call: (reader: InstanceType<Core["erofsReader"]["Reader"]>) => T): T {
    if (this.#disposed) throw new ComposefsError("usage", "the image reader is disposed");
    try {
      return inCore(this.#core, () => call(this.#reader));
    } catch (error) {
      const failure = coreFailure(error);
      throw failure === undefined ? error : imageError(failure, error);
    }
  }
}

function fileSize(fd: number): number {
  try {
    return fstatSync(fd).size;
  } catch (error) {
    throw systemError(error, "reading the image");
  }
}

/** Fills `bytes` from the start of the file. */
function readFile(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) {
    const read = readAt(fd, bytes.subarray(at, at + READ_BYTES), at);
    if (read === 0) {
      throw new ComposefsError("io", `the image became shorter while it was read: ${at} bytes of ${bytes.length}`);
    }
    at += read;
  }
}

function readAt(fd: number, into: Uint8Array, position: number): number {
  try {
    return readSync(fd, into, 0, into.length, position);
  } catch (error) {
    throw systemError(error, "reading the image");
  }
}

/** The error of a refusal of the reader; its cause has the refusal for {@link coreFailure}. */
function imageError(failure: CoreFailure, cause: unknown): ComposefsError {
  const code = failureCode(failure);
  const { field, path, message } = failure;
  if (code === "usage") return new ComposefsError(code, message);
  const details: ErrorDetails = { cause };
  if (path !== "") details.path = path;
  const where = path === "" ? "" : `${shownPath(path)}: `;
  const rule = field === "" ? "" : ` [${field}]`;
  const start = code === "invalid" ? "not a valid composefs image: " : "";
  return new ComposefsError(code, `${start}${where}${message}${rule}`, details);
}
