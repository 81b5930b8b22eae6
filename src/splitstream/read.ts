// Reads splitstreams of either header layout, trusting nothing in them (docs/spec/splitstream.md, sections 1 to 3 and 6).

import { ALGORITHM_NUMBER, type Algorithm, DIGEST_SIZE, type ObjectId } from "../bytes/algorithm.ts";
import { toHex } from "../bytes/hex.ts";
import { ComposefsError } from "../error.ts";
import { zstdDecompress, zstdDecompressFrames } from "../runtime/zstd-decode.ts";
import { contentTypeName } from "./content-type.ts";
import { HEADER_SIZE, INFO_SIZE, LG_BLOCK_SIZE, MAGIC, MAX_NAMED_REFS, OLD_MAGIC_OFFSET } from "./layout.ts";

/** A file that can be read at any position. */
export interface PositionedReader {
  /** Bytes in the file. */
  readonly size: number;
  /** Reads up to `length` bytes at `position`; fewer only at the end of the file. */
  read(position: number, length: number): Uint8Array;
}

/** A part of the stream. An inline chunk of the file can come in several pieces. */
export type Chunk = { kind: "inline"; bytes: Uint8Array } | { kind: "external"; id: ObjectId };

/** An opened splitstream: tables and names are parsed and checked, the body is not. */
export interface Splitstream {
  /** The 8 characters of the content type, or `0x` and its value in hex when they are not printable. */
  readonly contentType: string;
  /** Announced bytes of the reconstructed stream. */
  readonly size: bigint;
  /** Bytes of the file. */
  readonly fileSize: number;
  /** Which header layout the file has. */
  readonly layout: "new" | "old";
  /** Rows of the object table, in file order. Made of {@link Splitstream.objectTable} when first asked for. */
  readonly objectRefs: ObjectId[];
  /** The same as digests, back to back: for large tables, of which strings would take some ten times the memory. */
  readonly objectTable: Uint8Array;
  /** Rows of the stream table, in file order; only those that a name uses mean something. */
  readonly streamRefs: ObjectId[];
  /** Names and what they refer to. */
  readonly namedRefs: Map<string, ObjectId>;
  /**
   * Decodes the body. Fails where the defect is, after what precedes it was given. Does not know the sizes of external
   * objects: whoever reads them compares the total with {@link Splitstream.size}.
   */
  chunks(): AsyncGenerator<Chunk, void, undefined>;
  /** The same for bodies of very many chunks: calls back for each, and makes nothing for it. */
  walk(visitor: ChunkVisitor): Promise<void>;
}

/** Is given the chunks of a body in order. */
export interface ChunkVisitor {
  /** Bytes of the stream, which are valid during the call. */
  inline(bytes: Uint8Array): void;
  /** An object, by its row of {@link Splitstream.objectTable}. False ends the walk. */
  external(row: number): boolean;
}

interface Range {
  start: number;
  end: number;
}

/**
 * Opens a splitstream.
 *
 * @param file the whole file, or a reader of it that must stay usable while chunks are read
 * @param algorithm the repository's
 * @param what names the stream in messages
 * @throws ComposefsError `invalid` when it is no splitstream or damaged
 */
export async function readSplitstream(
  file: Uint8Array | PositionedReader,
  algorithm: Algorithm,
  what: string = "splitstream",
): Promise<Splitstream> {
  const reader = file instanceof Uint8Array ? bytesReader(file) : file;
  const parser = new Parser(reader, algorithm, what);
  const { layout, info } = parser.header();
  const fields = parser.info(info);
  const streamRefs = tableRows(parser.table("stream_refs", fields.streamRefs), algorithm);
  const objectTable = parser.table("object_refs", fields.objectRefs);
  const namedRefs = await parser.names(fields.namedRefs, streamRefs);
  const rows = objectTable.length / DIGEST_SIZE[algorithm];
  const body: Body = { reader, range: fields.stream, rows, size: fields.size, what };
  let ids: ObjectId[] | undefined;
  const objectRefs = () => (ids ??= tableRows(objectTable, algorithm));
  return {
    contentType: fields.contentType,
    size: fields.size,
    fileSize: reader.size,
    layout,
    get objectRefs() {
      return objectRefs();
    },
    objectTable,
    streamRefs,
    namedRefs,
    chunks: () => bodyChunks(body, objectRefs()),
    walk: (visitor) => walkBody(body, visitor),
  };
}

/** Whether bytes begin like a splitstream of either layout; 32 bytes are enough to tell. */
export function looksLikeSplitstream(head: Uint8Array): boolean {
  return hasMagic(head, 0) || hasMagic(head, OLD_MAGIC_OFFSET);
}

class Parser {
  readonly #reader: PositionedReader;
  readonly #algorithm: Algorithm;
  readonly #what: string;

  constructor(reader: PositionedReader, algorithm: Algorithm, what: string) {
    this.#reader = reader;
    this.#algorithm = algorithm;
    this.#what = what;
  }

  header(): { layout: "new" | "old"; info: Range } {
    if (this.#reader.size < HEADER_SIZE)
      throw this.#error(`the file has ${this.#reader.size} bytes, a splitstream has at least ${HEADER_SIZE}`);
    const header = this.#read({ start: 0, end: HEADER_SIZE }, "header");
    const layout = hasMagic(header, 0) ? "new" : hasMagic(header, OLD_MAGIC_OFFSET) ? "old" : undefined;
    if (!layout) throw this.#error(`not a splitstream: it does not begin with "${MAGIC}"`);
    const fixed = layout === "new" ? 11 : 29;
    const [version, algorithm, lgBlockSize] =
      layout === "new" ? [header[11], header[14], header[15]] : [header[fixed], header[30], header[31]];
    if (version !== 0) throw this.#error(`splitstream version ${version}, only 0 is known`);
    if (algorithm !== ALGORITHM_NUMBER[this.#algorithm])
      throw this.#error(
        `its fs-verity algorithm is ${algorithm}, the repository's is ${ALGORITHM_NUMBER[this.#algorithm]} (${this.#algorithm})`,
      );
    if (lgBlockSize !== LG_BLOCK_SIZE)
      throw this.#error(`its fs-verity block size is 2^${lgBlockSize}, only 2^${LG_BLOCK_SIZE} is known`);
    return { layout, info: this.#range(header, layout === "new" ? 16 : 0, "info") };
  }

  info(range: Range): {
    streamRefs: Range;
    objectRefs: Range;
    stream: Range;
    namedRefs: Range;
    contentType: string;
    size: bigint;
  } {
    if (range.end - range.start < INFO_SIZE)
      throw this.#error(`the info section has ${range.end - range.start} bytes, at least ${INFO_SIZE} are needed`);
    // Later formats may append fields: what follows the known ones is not read.
    const bytes = this.#read({ start: range.start, end: range.start + INFO_SIZE }, "info");
    return {
      streamRefs: this.#range(bytes, 0, "stream_refs"),
      objectRefs: this.#range(bytes, 16, "object_refs"),
      stream: this.#range(bytes, 32, "stream"),
      namedRefs: this.#range(bytes, 48, "named_refs"),
      contentType: contentTypeName(bytes.subarray(64, 72)),
      size: view(bytes).getBigUint64(72, true),
    };
  }

  table(name: string, range: Range): Uint8Array {
    const size = DIGEST_SIZE[this.#algorithm];
    const length = range.end - range.start;
    if (length % size !== 0)
      throw this.#error(`the ${name} table has ${length} bytes, which is no multiple of ${size}`);
    return this.#read(range, name);
  }

  async names(range: Range, streamRefs: readonly ObjectId[]): Promise<Map<string, ObjectId>> {
    const what = `${this.#what}: the named_refs section`;
    const text = await zstdDecompress(this.#read(range, "named_refs"), MAX_NAMED_REFS, { what });
    const names = new Map<string, ObjectId>();
    for (let at = 0; at < text.length; ) {
      const end = text.indexOf(0, at);
      if (end < 0) throw this.#error("the last record of named_refs has no terminating NUL");
      const colon = text.indexOf(58, at);
      if (colon < 0 || colon > end) throw this.#error("a record of named_refs has no colon");
      const index = latin1(text.subarray(at, colon));
      // Without leading zeros at most 16 digits: beyond that no table reaches, and numbers lose precision.
      if (!/^\+?0*[0-9]{1,16}$/.test(index)) throw this.#error(`"${index}" in named_refs is no index`);
      const id = streamRefs[Number(index)];
      if (id === undefined)
        throw this.#error(`named_refs uses row ${Number(index)} of stream_refs, which has ${streamRefs.length}`);
      names.set(this.#utf8(text.subarray(colon + 1, end)), id);
      at = end + 1;
    }
    return names;
  }

  #utf8(bytes: Uint8Array): string {
    try {
      return utf8.decode(bytes);
    } catch (cause) {
      throw this.#error("a name in named_refs is not UTF-8", cause);
    }
  }

  #range(bytes: Uint8Array, at: number, name: string): Range {
    const numbers = view(bytes);
    const start = numbers.getBigUint64(at, true);
    const end = numbers.getBigUint64(at + 8, true);
    if (end < start) throw this.#error(`the ${name} section ends (${end}) before it begins (${start})`);
    // An empty section lies nowhere.
    if (start === end) return { start: 0, end: 0 };
    if (end > BigInt(this.#reader.size))
      throw this.#error(`the ${name} section ends at ${end}, the file at ${this.#reader.size}`);
    return { start: Number(start), end: Number(end) };
  }

  #read(range: Range, name: string): Uint8Array {
    const length = range.end - range.start;
    const bytes = this.#reader.read(range.start, length);
    if (bytes.length !== length)
      throw this.#error(`the ${name} section ends at ${range.end}, reading ended at ${range.start + bytes.length}`);
    return bytes;
  }

  #error(message: string, cause?: unknown): ComposefsError {
    return new ComposefsError("invalid", `${this.#what}: ${message}`, cause === undefined ? {} : { cause });
  }
}

const BODY_READ = 1 << 18;

function tableRows(table: Uint8Array, algorithm: Algorithm): ObjectId[] {
  const size = DIGEST_SIZE[algorithm];
  const ids: ObjectId[] = [];
  // In parts of whole rows: the digits of all of them need not fit a string.
  for (let at = 0; at < table.length; at += TABLE_PART) {
    const hex = toHex(table.subarray(at, at + TABLE_PART));
    for (let digit = 0; digit < hex.length; digit += 2 * size) ids.push(hex.slice(digit, digit + 2 * size));
  }
  return ids;
}

// A multiple of both digest sizes.
const TABLE_PART = 1 << 20;

interface Body {
  reader: PositionedReader;
  range: Range;
  /** Rows of the object table. */
  rows: number;
  /** Announced bytes of the stream. */
  size: bigint;
  what: string;
}

async function walkBody(body: Body, visitor: ChunkVisitor): Promise<void> {
  const decoder = new BodyDecoder(body);
  for await (const bytes of zstdDecompressFrames(compressed(body), { what: `${body.what}: the body` })) {
    if (!decoder.push(bytes, visitor)) return;
    // Lets signals and other work through; what is decoded at a time is a block of zstd or a few.
    await new Promise((resolve) => setImmediate(resolve));
  }
  decoder.end();
}

async function* bodyChunks(body: Body, objectRefs: readonly ObjectId[]): AsyncGenerator<Chunk, void, undefined> {
  const decoder = new BodyDecoder(body);
  let chunks: Chunk[] = [];
  const visitor: ChunkVisitor = {
    inline: (bytes) => void chunks.push({ kind: "inline", bytes }),
    external(row) {
      chunks.push({ kind: "external", id: objectRefs[row] as ObjectId });
      return true;
    },
  };
  for await (const bytes of zstdDecompressFrames(compressed(body), { what: `${body.what}: the body` })) {
    let failure: unknown;
    try {
      decoder.push(bytes, visitor);
    } catch (error) {
      failure = error;
    }
    yield* chunks;
    if (failure !== undefined) throw failure;
    chunks = [];
  }
  decoder.end();
}

function* compressed({ reader, range, what }: Body): Generator<Uint8Array> {
  for (let at = range.start; at < range.end; ) {
    const bytes = reader.read(at, Math.min(BODY_READ, range.end - at));
    if (bytes.length === 0)
      throw new ComposefsError("invalid", `${what}: the stream section ends at ${range.end}, the file at ${at}`);
    at += bytes.length;
    yield bytes;
  }
}

// So many bytes of one chunk never come: beyond it an announced length need not be counted down.
const COUNTABLE = 2 ** 52;

/** Takes the decompressed body in pieces. */
class BodyDecoder {
  readonly #body: Body;
  // Bytes of the present inline chunk still to come, up to COUNTABLE, and what is beyond that.
  #left = 0;
  #beyond = 0n;
  // The beginning of a head that straddles two pieces.
  readonly #head = new Uint8Array(8);
  #have = 0;
  #external = 0;

  constructor(body: Body) {
    this.#body = body;
  }

  /** Gives what is in a piece; false when the visitor has seen enough. */
  push(bytes: Uint8Array, visitor: ChunkVisitor): boolean {
    const numbers = view(bytes);
    for (let at = 0; at < bytes.length; ) {
      if (this.#left > 0) {
        const take = Math.min(this.#left, bytes.length - at);
        visitor.inline(bytes.subarray(at, at + take));
        this.#left -= take;
        at += take;
        continue;
      }
      let low: number;
      let high: number;
      if (this.#have === 0 && at + 8 <= bytes.length) {
        low = numbers.getUint32(at, true);
        high = numbers.getInt32(at + 4, true);
        at += 8;
      } else {
        const take = Math.min(8 - this.#have, bytes.length - at);
        this.#head.set(bytes.subarray(at, at + take), this.#have);
        this.#have += take;
        at += take;
        if (this.#have < 8) return true;
        this.#have = 0;
        low = view(this.#head).getUint32(0, true);
        high = view(this.#head).getInt32(4, true);
      }
      if (high < 0) this.#expect(low, high);
      else if (!visitor.external(this.#row(low, high))) return false;
    }
    return true;
  }

  /** The end of the body. */
  end(): void {
    if (this.#have > 0) throw this.#error("the body ends inside the head of a chunk");
    if (this.#left > 0)
      throw this.#error(`the body ends ${BigInt(this.#left) + this.#beyond} bytes before the end of an inline chunk`);
  }

  #expect(low: number, high: number): void {
    if (high >= -COUNTABLE / 2 ** 32) {
      this.#left = -(high * 2 ** 32 + low);
      return;
    }
    const length = -(BigInt(high) * 2n ** 32n + BigInt(low));
    this.#left = COUNTABLE;
    this.#beyond = length - BigInt(this.#left);
  }

  #row(low: number, high: number): number {
    const { rows, size } = this.#body;
    if (high > 0 || low >= rows)
      throw this.#error(
        `the body uses row ${BigInt(high) * 2n ** 32n + BigInt(low)} of object_refs, which has ${rows}`,
      );
    // Compressed, a record can take next to nothing: a small file could keep its reader busy for as long as it likes.
    if (++this.#external > size && this.#external > rows)
      throw this.#error(`the body has more than ${size} objects, the whole stream announces ${size} bytes`);
    return low;
  }

  #error(message: string): ComposefsError {
    return new ComposefsError("invalid", `${this.#body.what}: ${message}`);
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function hasMagic(bytes: Uint8Array, at: number): boolean {
  return bytes.length >= at + MAGIC.length && latin1(bytes.subarray(at, at + MAGIC.length)) === MAGIC;
}

function bytesReader(bytes: Uint8Array): PositionedReader {
  return { size: bytes.length, read: (position, length) => bytes.subarray(position, position + length) };
}
