// Splits a layer's tar into a splitstream (docs/spec/oci.md, section 5.2): contents of more than 64 bytes become
// objects, all other bytes stay inline. Object ids come back from the pool later than the bytes behind them, so the
// pieces wait in order until every id before them is known.

import type { PutResult, SinkResult } from "../../repository/object-store.ts";
import type { SplitstreamWriter } from "../../splitstream/write.ts";
import type { TarEntry } from "../tar-entry.ts";
import type { TarHandler } from "../tar.ts";
import type { LayerEntry } from "./read.ts";
import { BUFFER_SIZE, type Eventually, type LargeObject, type ObjectPool } from "./object-pool.ts";

/** Objects of imported layers, and their bytes. */
export interface ObjectCounts {
  /** Distinct objects that were not in the repository. */
  newObjects: number;
  /** Distinct objects that were there already. */
  presentObjects: number;
  /** Bytes of the new objects. */
  storedBytes: number;
  /** Bytes that stay in the splitstreams, before their compression. */
  inlineBytes: number;
  /** How many of the new objects share their blocks with files of the source, and their bytes. */
  reflinked: Share;
  /** How many of the new objects are files of the source under another name, and their bytes. */
  hardlinked: Share;
}

/** What an import put into the repository. */
export interface LayerStats extends ObjectCounts {
  /** Entries of the archive. */
  entries: number;
}

/** Counts of nothing yet. */
export function noObjects(): ObjectCounts {
  return {
    newObjects: 0,
    presentObjects: 0,
    storedBytes: 0,
    inlineBytes: 0,
    reflinked: { objects: 0, bytes: 0 },
    hardlinked: { objects: 0, bytes: 0 },
  };
}

/** Objects that were not copied. */
export interface Share {
  objects: number;
  bytes: number;
}

/** An object that was made without a copy of its bytes. */
export interface AdoptedObject extends PutResult {
  readonly method: "reflinked" | "hardlinked";
}

/** How many entries may still be kept in memory; shared by the layers of a pull. */
export interface EntryBudget {
  left: number;
}

/** Inline bytes after which a piece is closed although its contents would have room for more. */
const INLINE_LIMIT = 1 << 20;

/** A stretch of the layer: objects, the inline bytes before each of them, and the inline bytes after the last. */
interface Piece {
  inline: Uint8Array;
  /** Inline bytes before each object. */
  runs: number[];
  lengths: number[];
  results: Eventually<readonly PutResult[]>;
  settled: boolean;
}

/** Feeds a {@link SplitstreamWriter} from what a tar reader finds. */
export class LayerSplitter implements TarHandler {
  readonly #writer: SplitstreamWriter;
  readonly #pool: ObjectPool;
  readonly #queue: Piece[] = [];
  readonly #seen = new Set<string>();
  readonly #stats: LayerStats = { entries: 0, ...noObjects() };
  #failure: unknown;
  #failed = false;

  // The piece that is being filled.
  #inline = new Uint8Array(64 << 10);
  #inlineLength = 0;
  #run = 0;
  #runs: number[] = [];
  #lengths: number[] = [];
  #buffer: Uint8Array | undefined;
  #used = 0;

  // The file that is being read.
  #large: LargeObject | undefined;
  #left = 0;
  #size = 0;

  readonly #budget: EntryBudget | undefined;
  #kept: LayerEntry[] | undefined;
  // Kept entries whose object ids are not known yet, in order.
  #unnamed: { content: LayerEntry["content"]; readonly size: number }[] = [];
  #named = 0;

  constructor(writer: SplitstreamWriter, pool: ObjectPool, budget?: EntryBudget) {
    this.#writer = writer;
    this.#pool = pool;
    this.#budget = budget;
    if (budget !== undefined) this.#kept = [];
  }

  /** The layer's entries as reading it back would give them, unless they exceeded the budget. For after the finish. */
  get kept(): readonly LayerEntry[] | undefined {
    return this.#kept;
  }

  inline(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const take = Math.min(bytes.length - at, INLINE_LIMIT);
      this.#appendInline(bytes.subarray(at, at + take));
      at += take;
      if (this.#inlineLength >= INLINE_LIMIT) this.#close();
    }
  }

  entry(entry: TarEntry, content: Uint8Array | undefined): void {
    this.#stats.entries++;
    if (this.#kept !== undefined) this.#keep(this.#kept, entry, content);
    if (entry.type !== "file" || content !== undefined) return;
    this.#left = this.#size = entry.size;
  }

  content(bytes: Uint8Array): void {
    if (this.#left === this.#size) this.#begin();
    this.#left -= bytes.length;
    if (this.#large !== undefined) {
      this.#large.write(bytes);
      if (this.#left === 0) this.#closeLarge(this.#large);
      return;
    }
    (this.#buffer as Uint8Array).set(bytes, this.#used);
    this.#used += bytes.length;
  }

  /** Takes the whole content of the last entry as an object that is stored already. */
  adopted(object: AdoptedObject | PutResult): void {
    this.#close();
    this.#left = 0;
    if ("method" in object && object.created) {
      const share = this.#stats[object.method];
      share.objects++;
      share.bytes += this.#size;
    }
    this.#enqueue(new Uint8Array(0), [0], [this.#size], [object]);
  }

  /** Whether the file that is being read goes to the pool in pieces, however full that is. */
  get streaming(): boolean {
    return this.#large !== undefined;
  }

  /** Gives the writer what is known so far; throws what went wrong in a worker. */
  advance(): void {
    if (this.#failed) throw this.#failure;
    while (this.#queue[0]?.settled === true) this.#replay(this.#queue.shift() as Piece);
  }

  /** After the last byte: waits for all objects. */
  async finish(): Promise<LayerStats> {
    this.#close();
    for (let piece = this.#queue.shift(); piece !== undefined; piece = this.#queue.shift()) {
      piece.results = await piece.results;
      this.#replay(piece);
    }
    return this.#stats;
  }

  /** Gives up: waits for the workers and removes unfinished files. */
  async abort(): Promise<void> {
    if (this.#buffer !== undefined) this.#pool.release(this.#buffer);
    this.#buffer = undefined;
    await Promise.allSettled([...this.#queue.map((piece) => piece.results), this.#large?.abort()]);
    this.#queue.length = 0;
  }

  /** With the first bytes of a file, and not with its entry: only then have the bytes of its header come. */
  #begin(): void {
    if (this.#size > BUFFER_SIZE) {
      this.#close();
      this.#large = this.#pool.large();
      return;
    }
    if (this.#size > BUFFER_SIZE - this.#used) this.#close();
    this.#buffer ??= this.#pool.buffer();
    this.#runs.push(this.#run);
    this.#lengths.push(this.#size);
    this.#run = 0;
  }

  #keep(kept: LayerEntry[], entry: TarEntry, bytes: Uint8Array | undefined): void {
    const budget = this.#budget as EntryBudget;
    if (budget.left === 0) {
      budget.left += kept.length;
      this.#kept = undefined;
      this.#unnamed = [];
      return;
    }
    budget.left--;
    const content: LayerEntry["content"] = bytes === undefined ? undefined : { kind: "inline", bytes };
    const { path, type, stat, size, link, rdev, offset } = entry;
    const found = { path, type, stat, size, link, rdev, offset, content };
    kept.push(found);
    if (type === "file" && bytes === undefined) this.#unnamed.push(found);
  }

  #appendInline(bytes: Uint8Array): void {
    const end = this.#inlineLength + bytes.length;
    if (end > this.#inline.length) {
      const grown = new Uint8Array(Math.max(end, 2 * this.#inline.length));
      grown.set(this.#inline.subarray(0, this.#inlineLength));
      this.#inline = grown;
    }
    this.#inline.set(bytes, this.#inlineLength);
    this.#inlineLength = end;
    this.#run += bytes.length;
    this.#stats.inlineBytes += bytes.length;
  }

  #close(): void {
    if (this.#inlineLength === 0 && this.#lengths.length === 0) return;
    const results = this.#buffer === undefined ? [] : this.#pool.put(this.#buffer, this.#lengths);
    this.#enqueue(this.#inline.slice(0, this.#inlineLength), this.#runs, this.#lengths, results);
    this.#buffer = undefined;
    this.#used = this.#inlineLength = this.#run = 0;
    this.#runs = [];
    this.#lengths = [];
  }

  #closeLarge(large: LargeObject): void {
    this.#large = undefined;
    const result: Eventually<SinkResult> = large.commit();
    const results = result instanceof Promise ? result.then((put) => [put]) : [result];
    this.#enqueue(new Uint8Array(0), [0], [this.#size], results);
  }

  #enqueue(inline: Uint8Array, runs: number[], lengths: number[], results: Eventually<readonly PutResult[]>): void {
    const piece: Piece = { inline, runs, lengths, results, settled: !(results instanceof Promise) };
    this.#queue.push(piece);
    if (results instanceof Promise) void this.#settle(piece, results);
  }

  async #settle(piece: Piece, results: Promise<readonly PutResult[]>): Promise<void> {
    try {
      piece.results = await results;
      piece.settled = true;
    } catch (error) {
      this.#failure = error;
      this.#failed = true;
    }
  }

  #replay({ inline, runs, lengths, results }: Piece): void {
    let at = 0;
    (results as readonly PutResult[]).forEach(({ id, created }, i) => {
      const run = runs[i] as number;
      const length = lengths[i] as number;
      if (run > 0) this.#writer.inline(inline.subarray(at, at + run));
      at += run;
      this.#writer.external(id, length);
      const entry = this.#unnamed[this.#named++];
      if (entry !== undefined) entry.content = { kind: "external", size: entry.size, digest: id };
      if (created) {
        this.#stats.newObjects++;
        this.#stats.storedBytes += length;
      } else if (!this.#seen.has(id)) {
        this.#stats.presentObjects++;
      }
      this.#seen.add(id);
    });
    if (at < inline.length) this.#writer.inline(inline.subarray(at));
  }
}
