// The tar reader: byte-exact and streaming (docs/spec/oci.md, section 5.1; splitting, section 5.2).
// One state machine serves the import of a layer, which validates while it splits, and the way back from a
// splitstream, whose large files are references. Bytes are pushed in chunks of any size; nothing but one header
// block, the pending extension headers (1 MiB at most) and a small file's 64 bytes is ever held.

import { type ByteString, displayBytes } from "../bytes/byte-string.ts";
import { ComposefsError } from "../error.ts";
import {
  buildEntry,
  EXTENSION_HEADERS,
  type ExtensionKind,
  type Extensions,
  METADATA_LIMIT,
  type TarEntry,
} from "./tar-entry.ts";
import {
  HeaderFault,
  headerPath,
  headerSize,
  isZeroBlock,
  magic,
  TAR_BLOCK,
  typeFlag,
  verifyChecksum,
} from "./tar-header.ts";

/** Content of regular files up to this many bytes stays inline; above, it becomes an object. */
export const INLINE_LIMIT = 64;

/** Receives what the reader finds, in archive order. Byte ranges are views of the pushed chunk: copy what you keep. */
export interface TarHandler {
  /** Bytes that are not content of a large file: headers, small files, padding, all after the end marker. */
  inline?(bytes: Uint8Array): void;
  /** An entry. `content` is the content of a regular file of at most 64 bytes, and undefined for all others. */
  entry?(entry: TarEntry, content: Uint8Array | undefined): void;
  /** The next bytes of the content of the last entry, a regular file of more than 64 bytes. */
  content?(bytes: Uint8Array): void;
}

const HEADER = 0;
const METADATA = 1;
const SKIP = 2;
const SMALL = 3;
const CONTENT = 4;
const PADDING = 5;
const END = 6;

/**
 * Reads one archive. Push all of its bytes, then call {@link TarReader.finish}; both throw a {@link ComposefsError}
 * with code `invalid` whose message names the archive, the entry and the byte offset.
 *
 * @example
 * ```ts
 * const reader = new TarReader("layer 1", { entry: (entry) => console.log(displayBytes(entry.path)) });
 * reader.push(await readFile("layer.tar"));
 * reader.finish();
 * ```
 */
export class TarReader {
  /** Entries seen so far. */
  entries = 0;

  readonly #name: string;
  readonly #handler: TarHandler;
  #state = HEADER;
  /** Bytes of the archive before the current chunk. */
  #base = 0;
  /** Bytes still to come in the current state; unused in HEADER and END. */
  #left = 0;
  /** Padding after the data of the current state. */
  #padding = 0;
  /** Whether the block before was a single zero block. */
  #zero = false;
  /** A header or small file that began in an earlier chunk. */
  readonly #partial = new Uint8Array(TAR_BLOCK);
  #partialLength = 0;
  /** Data of the extension header being read; a global header's is not kept. */
  #metadata: Uint8Array | undefined;
  #metadataKind: ExtensionKind = "x";
  #pending: { -readonly [kind in ExtensionKind]?: Extensions[kind] } = {};
  #pendingSize = 0;
  #pendingAt = 0;
  #hasPending = false;
  /** The entry whose data is being read. */
  #entry: TarEntry | undefined;

  /**
   * @param name what the archive is called in messages
   * @param handler receives entries and bytes
   */
  constructor(name: string, handler: TarHandler) {
    this.#name = name;
    this.#handler = handler;
  }

  /** Bytes of the archive taken so far, references included. */
  get position(): number {
    return this.#base;
  }

  /** Takes the next bytes of the archive. */
  push(chunk: Uint8Array): void {
    const length = chunk.length;
    let at = 0;
    let inlineFrom = 0;
    while (at < length) {
      const left = length - at;
      switch (this.#state) {
        case HEADER: {
          if (this.#partialLength === 0 && left >= TAR_BLOCK) {
            this.#header(chunk, at, this.#base + at);
            at += TAR_BLOCK;
            break;
          }
          const take = Math.min(left, TAR_BLOCK - this.#partialLength);
          this.#partial.set(chunk.subarray(at, at + take), this.#partialLength);
          this.#partialLength += take;
          at += take;
          if (this.#partialLength === TAR_BLOCK) {
            this.#partialLength = 0;
            this.#header(this.#partial, 0, this.#base + at - TAR_BLOCK);
          }
          break;
        }
        case METADATA: {
          const take = Math.min(left, this.#left);
          const data = this.#metadata as Uint8Array;
          data.set(chunk.subarray(at, at + take), data.length - this.#left);
          at += take;
          this.#left -= take;
          if (this.#left === 0) this.#endMetadata();
          break;
        }
        case SMALL: {
          const take = Math.min(left, this.#left);
          this.#partial.set(chunk.subarray(at, at + take), this.#partialLength);
          this.#partialLength += take;
          at += take;
          this.#left -= take;
          if (this.#left === 0) {
            const content = this.#partial.slice(0, this.#partialLength);
            this.#partialLength = 0;
            this.#handler.entry?.(this.#entry as TarEntry, content);
            this.#pad();
          }
          break;
        }
        case CONTENT: {
          if (at > inlineFrom) this.#handler.inline?.(chunk.subarray(inlineFrom, at));
          const take = Math.min(left, this.#left);
          this.#handler.content?.(chunk.subarray(at, at + take));
          at += take;
          inlineFrom = at;
          this.#left -= take;
          if (this.#left === 0) this.#pad();
          break;
        }
        case SKIP:
        case PADDING: {
          const take = Math.min(left, this.#left);
          at += take;
          this.#left -= take;
          if (this.#left === 0) {
            if (this.#state === SKIP) this.#pad();
            else this.#state = HEADER;
          }
          break;
        }
        default:
          at = length;
      }
    }
    if (length > inlineFrom) this.#handler.inline?.(inlineFrom === 0 ? chunk : chunk.subarray(inlineFrom));
    this.#base += length;
  }

  /** Whether the content of a large file of that size comes next, whole. */
  expects(size: number): boolean {
    return this.#state === CONTENT && this.#left === size && this.#entry?.size === size;
  }

  /**
   * Takes the whole content of a large file as a reference, when reading back a splitstream.
   *
   * @returns the entry that the content belongs to
   */
  external(): TarEntry {
    const entry = this.#entry;
    if (this.#state !== CONTENT || entry === undefined || this.#left !== entry.size) {
      throw this.#fault("an object where no content of a file belongs", this.#base, entry);
    }
    this.#base += entry.size;
    this.#left = 0;
    this.#pad();
    return entry;
  }

  /**
   * Says that the archive ends here. Accepted without end blocks, after a single zero block, and inside the padding
   * of the last entry; anywhere else the archive is truncated.
   */
  finish(): void {
    switch (this.#state) {
      case HEADER:
        if (this.#partialLength > 0) {
          throw this.#fault("unexpected end of the archive inside a header", this.#base - this.#partialLength);
        }
        this.#endOfArchive();
        return;
      case METADATA:
        throw this.#fault("unexpected end of the archive inside an extension header", this.#pendingAt);
      case SKIP:
      case SMALL:
      case CONTENT: {
        const entry = this.#entry;
        if (entry === undefined) throw this.#fault("unexpected end of the archive inside a global header", this.#base);
        const message = `unexpected end of the archive: ${this.#left} of ${entry.size} bytes of data are missing`;
        throw this.#fault(message, entry.offset, entry);
      }
      case PADDING:
        // Some tools end a layer here; the file is complete and the bytes are kept as they are.
        if (this.#entry === undefined || this.#hasPending) {
          throw this.#fault("unexpected end of the archive after an extension header", this.#base);
        }
        return;
      default:
    }
  }

  #endOfArchive(): void {
    if (this.#hasPending) throw this.#fault("extension headers without an entry after them", this.#pendingAt);
    this.#state = END;
  }

  #header(block: Uint8Array, at: number, offset: number): void {
    if (block[at] === 0 && isZeroBlock(block, at)) {
      if (this.#zero) this.#endOfArchive();
      else this.#zero = true;
      return;
    }
    this.#zero = false;
    this.#entry = undefined;
    try {
      verifyChecksum(block, at);
      this.#dispatch(block, at, offset);
    } catch (error) {
      if (!(error instanceof HeaderFault)) throw error;
      const path = headerPath(block, at, magic(block, at));
      throw this.#fault(error.message, offset, path === "" ? undefined : { path });
    }
  }

  #dispatch(block: Uint8Array, at: number, offset: number): void {
    const flag = typeFlag(block, at);
    const size = headerSize(block, at);
    if (typeof size === "bigint" && size > 0xffffffffffffffffn - 511n) throw new HeaderFault(`invalid size ${size}`);
    if (flag === 0x67) {
      // A global header changes nothing, but it does discard what is pending.
      if (size > METADATA_LIMIT) throw new HeaderFault(`global pax header of ${size} bytes, over 1 MiB`);
      this.#clearPending();
      this.#skip(Number(size));
      return;
    }
    const dialect = magic(block, at);
    const extension = dialect === "v7" ? undefined : EXTENSION_HEADERS[flag];
    if (extension !== undefined) {
      const [kind, what] = extension;
      if (this.#pending[kind] !== undefined) throw new HeaderFault(`duplicate ${what}`);
      if (BigInt(this.#pendingSize) + BigInt(size) > METADATA_LIMIT) {
        throw new HeaderFault(`extension headers of more than 1 MiB before one entry`);
      }
      if (!this.#hasPending) this.#pendingAt = offset;
      this.#hasPending = true;
      this.#pendingSize += Number(size);
      this.#metadataKind = kind;
      this.#metadata = new Uint8Array(Number(size));
      this.#left = Number(size);
      this.#padding = paddingOf(Number(size));
      this.#state = METADATA;
      if (this.#left === 0) this.#endMetadata();
      return;
    }
    if (flag === 0x53 && dialect !== "v7") throw new HeaderFault("sparse entries are not supported");
    const pending = this.#pending;
    this.#clearPending();
    this.#startEntry(buildEntry(block, at, dialect, size, flag, offset, pending));
  }

  #startEntry(entry: TarEntry): void {
    this.entries++;
    this.#entry = entry;
    if (entry.type !== "file") {
      this.#handler.entry?.(entry, undefined);
      this.#skip(entry.size);
    } else if (entry.size > INLINE_LIMIT) {
      this.#handler.entry?.(entry, undefined);
      this.#state = CONTENT;
      this.#left = entry.size;
      this.#padding = paddingOf(entry.size);
    } else if (entry.size === 0) {
      this.#handler.entry?.(entry, new Uint8Array(0));
      this.#state = HEADER;
    } else {
      this.#state = SMALL;
      this.#left = entry.size;
      this.#padding = paddingOf(entry.size);
    }
  }

  #skip(size: number): void {
    this.#left = size;
    this.#padding = paddingOf(size);
    this.#state = SKIP;
    if (size === 0) this.#pad();
  }

  /** The data of the current state is over: its padding follows, or the next header. */
  #pad(): void {
    this.#left = this.#padding;
    this.#state = this.#left === 0 ? HEADER : PADDING;
  }

  #endMetadata(): void {
    this.#pending[this.#metadataKind] = this.#metadata as Uint8Array;
    this.#metadata = undefined;
    this.#pad();
  }

  #clearPending(): void {
    if (!this.#hasPending) return;
    this.#pending = {};
    this.#pendingSize = 0;
    this.#hasPending = false;
  }

  #fault(message: string, offset: number, entry?: { path: ByteString }): ComposefsError {
    const about = entry === undefined ? "" : `entry "${displayBytes(entry.path)}" `;
    return new ComposefsError("invalid", `${this.#name}: ${about}at byte ${offset}: ${message}`, {
      path: entry === undefined ? this.#name : displayBytes(entry.path),
    });
  }
}

function paddingOf(size: number): number {
  // `%` and not `&`: sizes pass 2^31.
  const over = size % TAR_BLOCK;
  return over === 0 ? 0 : TAR_BLOCK - over;
}
