// The EROFS image writer of the core, typed (docs/spec/wasm-core.md, section 5; asm/core.wit, interface erofs).

import type { Algorithm, ObjectId } from "../bytes/algorithm.ts";
import { toHex } from "../bytes/hex.ts";
import { ComposefsError, type ErrorDetails } from "../error.ts";
import { coreFailure, failureCode, shownPath } from "./failure.ts";
import { type Core, coreBytes, inCore, newCore } from "./load.ts";

/** The composefs_version of an image: 0 and 1 are what the C tools write, 2 is the older form of composefs-rs. */
export type FormatVersion = 0 | 1 | 2;

/** Whose image is wanted where the two writers differ (docs/spec/erofs.md, section 16). Version 2 is always `rs`. */
export type Dialect = "c" | "rs";

/** Options of {@link ErofsWriter}. */
export interface ErofsWriterOptions {
  /** The version to write. */
  version: FormatVersion;
  /** Dialect `c`, version 0: 1 lets a tree with whiteouts raise the version. Equal to `version` when left out. */
  maxVersion?: FormatVersion;
  dialect: Dialect;
  /** Algorithm of the digests of external files. */
  objects: Algorithm;
  /** Algorithm of the digest of the image itself. */
  image: Algorithm;
}

/** What {@link ErofsWriter.finish} answers. */
export interface ImageSummary {
  /** Size of the image in bytes. */
  size: number;
  /** The version that is written. */
  version: FormatVersion;
  /** Number of inodes, stubs included. */
  inodes: number;
}

type Kind = "dump" | "records";

/** An instance whose last writer was small: the next small writer saves making one. */
let idle: Core | undefined;
const IDLE_MEMORY = 64 << 20;

/**
 * Takes a tree as dump text or as records (not both), then streams its image out. Everything is synchronous; the tree
 * lives in the memory of a core instance of the writer's own, which goes away with it. Dispose it.
 *
 * @example
 * ```ts
 * using writer = new ErofsWriter({ version: 1, dialect: "rs", objects: "sha256", image: "sha256" });
 * writer.push(Buffer.from("/ 0 40755 2 0 0 0 0.0 - - -\n"));
 * const { size } = writer.finish();
 * for (let piece; (piece = writer.pullWindow()) !== undefined; ) writeSync(fd, piece);
 * console.log(size, writer.digest());
 * ```
 */
export class ErofsWriter implements Disposable {
  readonly #core: Core;
  readonly #writer: InstanceType<Core["erofs"]["Writer"]>;
  #disposed = false;

  constructor(options: ErofsWriterOptions) {
    const { version, maxVersion = version, dialect, objects, image } = options;
    this.#core = idle ?? newCore();
    idle = undefined;
    const { Writer } = this.#core.erofs;
    const core = this.#core;
    this.#writer = inCore(core, () => new Writer({ minVersion: version, maxVersion, dialect, objects, image }));
  }

  /** Appends dump text (or records); any split is fine. */
  push(data: Uint8Array, kind: Kind = "dump"): void {
    this.#call((writer) => (kind === "dump" ? writer.pushDump(data) : writer.pushRecords(data)));
  }

  /**
   * The free part of the input window, at least `min` bytes, to be filled and then consumed with {@link advance}. Valid
   * until the next call.
   *
   * @throws ComposefsError `limit` if there is no memory for it
   */
  window(min = 1): Uint8Array {
    const [address, length] = this.#call((writer) => writer.window(min));
    if (length < min)
      throw new ComposefsError("limit", "the tree does not fit into the 4 GiB of memory that WebAssembly has");
    return coreBytes(this.#core, address, length);
  }

  /** Consumes the first `n` bytes of the window. */
  advance(n: number, kind: Kind = "dump"): void {
    this.#call((writer) => (kind === "dump" ? writer.advanceDump(n) : writer.advanceRecords(n)));
  }

  /** Makes room for a tree of about that many inodes, so that memory grows once. */
  reserve(inodes: number, bytes = 0): void {
    this.#call((writer) => writer.reserve(Math.min(inodes, 0xffffffff), Math.min(bytes, 0xffffffff)));
  }

  /** Whether the core computes the digest of the image (it does unless told otherwise before the first piece). */
  hashing(on: boolean): void {
    this.#call((writer) => writer.hashing(on));
  }

  /** Ends the input and lays the image out. */
  finish(): ImageSummary {
    const { size, version, inodes } = this.#call((writer) => writer.finish());
    return { size: Number(size), version: version as FormatVersion, inodes: Number(inodes) };
  }

  /** The next piece of the image, of about 1 MiB and a multiple of 4096; undefined at the end. Valid until the next call. */
  pullWindow(): Uint8Array | undefined {
    const [address, length] = this.#call((writer) => writer.pullWindow());
    return length === 0 ? undefined : coreBytes(this.#core, address, length);
  }

  /** The fs-verity digest of the image, once it is pulled to the end and unless {@link hashing} was switched off. */
  digest(): ObjectId {
    return toHex(this.#call((writer) => writer.digest()));
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    try {
      // The generated declaration lacks the method (docs/spec/wasm-core.md, section 2.4).
      (this.#writer as unknown as Disposable)[Symbol.dispose]();
    } catch {
      // The instance died of a trap, which was reported; there is nothing to give back.
      return;
    }
    if (this.#core.memory.buffer.byteLength <= IDLE_MEMORY) idle = this.#core;
  }

  #call<T>(call: (writer: InstanceType<Core["erofs"]["Writer"]>) => T): T {
    if (this.#disposed) throw new ComposefsError("usage", "the image writer is disposed");
    try {
      return inCore(this.#core, () => call(this.#writer));
    } catch (error) {
      throw refusal(error) ?? error;
    }
  }
}

/** The error of a refusal of the core; undefined if it is something else. */
function refusal(error: unknown): ComposefsError | undefined {
  const failure = coreFailure(error);
  if (failure === undefined) return undefined;
  const { line, field, path, message } = failure;
  const details: ErrorDetails = {};
  const where: string[] = [];
  if (line !== 0n) {
    details.line = Number(line);
    where.push(`line ${line}`);
  }
  if (field !== "") where.push(field);
  if (path !== "") {
    details.path = path;
    where.push(shownPath(path));
  }
  const text = where.length === 0 ? message : `${where.join(", ")}: ${message}`;
  return new ComposefsError(failureCode(failure), text, details);
}
