// Writes splitstreams in the canonical layout (docs/spec/splitstream.md, section 4).

import { ALGORITHM_NUMBER, type Algorithm, DIGEST_SIZE, isObjectId, type ObjectId } from "../bytes/algorithm.ts";
import { fromHex } from "../bytes/hex.ts";
import { ComposefsError } from "../error.ts";
import { type ZstdCompressor, zstdCompress } from "../runtime/zstd.ts";
import type { ContentType } from "./content-type.ts";
import { HEADER_SIZE, INFO_SIZE, LG_BLOCK_SIZE, MAGIC } from "./layout.ts";
import { SpillBuffer } from "./spill-buffer.ts";

/**
 * Builds one splitstream. The body is compressed as it comes. Up to 16 MiB of compressed bytes, and of inline bytes between
 * two external chunks, stay in memory; what exceeds that goes to unlinked temporary files. So memory grows only with the
 * number of distinct objects.
 *
 * @example
 * ```ts
 * const writer = new SplitstreamWriter("sha256", "ocilayer");
 * writer.inline(header);
 * writer.external(id, 70000);
 * const id = await repository.putStream("oci-layer-sha256:...", writer);
 * ```
 */
export class SplitstreamWriter {
  /** The repository's algorithm. */
  readonly algorithm: Algorithm;
  /** What the stream holds. */
  readonly contentType: ContentType;
  readonly #body = new SpillBuffer();
  readonly #compressor: ZstdCompressor = zstdCompress();
  readonly #objectRefs = new Map<ObjectId, number>();
  readonly #streamRefs = new Map<ObjectId, number>();
  readonly #names = new Map<string, number>();
  readonly #number = new Uint8Array(8);
  readonly #numberView = new DataView(this.#number.buffer);
  // Inline bytes since the last external chunk.
  readonly #pending = new SpillBuffer();
  #size = 0;
  #finished = false;

  constructor(algorithm: Algorithm, contentType: ContentType) {
    this.algorithm = algorithm;
    this.contentType = contentType;
  }

  /** Bytes of the original stream so far. */
  get size(): number {
    return this.#size;
  }

  /** The plain objects that the stream refers to so far, in order of first use. */
  get objectRefs(): Iterable<ObjectId> {
    return this.#objectRefs.keys();
  }

  /**
   * Appends bytes of the stream. All inline bytes between two external chunks form one chunk, and a chunk begins with
   * its length: they are held until the next external chunk. The bytes are copied.
   */
  inline(bytes: Uint8Array): void {
    this.#checkOpen();
    this.#pending.append(bytes);
    this.#size += bytes.length;
  }

  /** Appends the whole content of an object. */
  external(id: ObjectId, size: number): void {
    this.#checkOpen();
    this.#checkId(id);
    this.#flush();
    let index = this.#objectRefs.get(id);
    if (index === undefined) {
      index = this.#objectRefs.size;
      this.#objectRefs.set(id, index);
    }
    this.#writeNumber(BigInt(index));
    this.#size += size;
  }

  /** Adds a plain object to the table without a chunk: keeps it alive. */
  objectRef(id: ObjectId): void {
    this.#checkOpen();
    this.#checkId(id);
    if (!this.#objectRefs.has(id)) this.#objectRefs.set(id, this.#objectRefs.size);
  }

  /** Names another stream or image; a name that exists is re-pointed. */
  namedRef(name: string, id: ObjectId): void {
    this.#checkOpen();
    this.#checkId(id);
    if (name.includes("\0")) throw new ComposefsError("invalid", "the name of a splitstream reference holds a NUL");
    let index = this.#streamRefs.get(id);
    if (index === undefined) {
      index = this.#streamRefs.size;
      this.#streamRefs.set(id, index);
    }
    this.#names.set(name, index);
  }

  /** Ends the stream and gives the file's bytes. */
  finish(): Uint8Array {
    const pieces: Uint8Array[] = [];
    this.finishTo((bytes) => void pieces.push(bytes.slice()));
    return Buffer.concat(pieces);
  }

  /**
   * Ends the stream and hands the file's bytes out in order.
   *
   * @param sink each piece is valid only during the call
   */
  finishTo(sink: (bytes: Uint8Array) => void): void {
    this.#checkOpen();
    this.#flush();
    this.#finished = true;
    for (const bytes of this.#compressor.end()) this.#body.append(bytes);

    const names = namedRefsSection(this.#names);
    const digestSize = DIGEST_SIZE[this.algorithm];
    const streamRefs = HEADER_SIZE + INFO_SIZE;
    const objectRefs = streamRefs + this.#streamRefs.size * digestSize;
    const namedRefs = objectRefs + this.#objectRefs.size * digestSize;
    const stream = namedRefs + names.length;
    const end = stream + this.#body.size;

    const head = Buffer.alloc(HEADER_SIZE + INFO_SIZE);
    head.write(MAGIC, 0, "latin1");
    head[14] = ALGORITHM_NUMBER[this.algorithm];
    head[15] = LG_BLOCK_SIZE;
    const numbers = [HEADER_SIZE, HEADER_SIZE + INFO_SIZE, streamRefs, objectRefs, objectRefs, namedRefs];
    numbers.push(stream, end, namedRefs, stream);
    numbers.forEach((value, i) => head.writeBigUInt64LE(BigInt(value), 16 + 8 * i));
    head.write(this.contentType, 96, 8, "latin1");
    head.writeBigUInt64LE(BigInt(this.#size), 104);
    sink(head);
    for (const table of [this.#streamRefs, this.#objectRefs]) sinkTable(table.keys(), table.size * digestSize, sink);
    sink(names);
    this.#body.read(sink);
    this.discard();
  }

  /** Gives up: frees the temporary file, if there is one. Harmless after {@link finish}. */
  discard(): void {
    this.#finished = true;
    this.#body.close();
    this.#pending.close();
  }

  #flush(): void {
    if (this.#pending.size === 0) return;
    this.#writeNumber(-BigInt(this.#pending.size));
    this.#pending.read((bytes) => this.#write(bytes));
    this.#pending.clear();
  }

  #writeNumber(value: bigint): void {
    this.#numberView.setBigInt64(0, value, true);
    this.#write(this.#number);
  }

  #write(bytes: Uint8Array): void {
    for (const compressed of this.#compressor.write(bytes)) this.#body.append(compressed);
  }

  #checkOpen(): void {
    if (this.#finished) throw new ComposefsError("internal", "the splitstream is finished already");
  }

  #checkId(id: ObjectId): void {
    if (!isObjectId(id, this.algorithm))
      throw new ComposefsError("invalid", `not a ${this.algorithm} object id: ${String(id)}`, { digest: id });
  }
}

// Records sorted by the bytes of the name. Without names this is a frame of nothing, not nothing.
function namedRefsSection(names: ReadonlyMap<string, number>): Uint8Array {
  const records = [...names].map(([name, index]) => ({ name: Buffer.from(name, "utf8"), index }));
  records.sort((a, b) => Buffer.compare(a.name, b.name));
  const text = records.flatMap(({ name, index }) => [Buffer.from(`${index}:`), name, Buffer.alloc(1)]);
  const compressor = zstdCompress();
  return Buffer.concat([...compressor.write(Buffer.concat(text)), ...compressor.end()]);
}

function sinkTable(ids: Iterable<ObjectId>, bytes: number, sink: (bytes: Uint8Array) => void): void {
  const table = new Uint8Array(bytes);
  let at = 0;
  for (const id of ids) {
    const digest = fromHex(id);
    table.set(digest, at);
    at += digest.length;
  }
  if (bytes > 0) sink(table);
}
