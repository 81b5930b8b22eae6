// Reads a blob in ranges that were planned, and from them the parts that are needed, in ascending order.

import { ComposefsError } from "../../error.ts";
import { ChunkReader } from "../chunk-reader.ts";
import type { BlobRange } from "./plan.ts";

/** Reads a range of the blob. */
export type ReadRange = (range: BlobRange) => AsyncIterable<Uint8Array>;

/** The planned ranges of a blob. Close it. */
export class BlobRanges {
  readonly #read: ReadRange;
  readonly #ranges: readonly BlobRange[];
  #next = 0;
  #open: { reader: ChunkReader; at: number; end: number } | undefined;

  /** @param ranges ascending, without overlaps */
  constructor(read: ReadRange, ranges: readonly BlobRange[]) {
    this.#read = read;
    this.#ranges = ranges;
  }

  /** The bytes from `start` to before `end`, which lie in one range, not before what was taken last. Read them to the end. */
  async *take({ start, end }: BlobRange): AsyncGenerator<Uint8Array, void, undefined> {
    while (this.#open === undefined || start >= this.#open.end) await this.#openNext();
    const open = this.#open;
    if (start < open.at || end > open.end) throw new ComposefsError("internal", "a part of a blob was not planned");
    while (open.at < end) {
      const chunk = await open.reader.next();
      if (chunk === undefined) throw new ComposefsError("io", "a range of the blob ended early");
      const skip = Math.min(chunk.length, Math.max(0, start - open.at));
      const take = Math.min(chunk.length, end - open.at);
      open.reader.unread(chunk.subarray(take));
      open.at += take;
      if (take > skip) yield chunk.subarray(skip, take);
    }
  }

  /** Ends the request that is open. */
  async close(): Promise<void> {
    await this.#open?.reader.close();
    this.#open = undefined;
  }

  async #openNext(): Promise<void> {
    await this.close();
    const range = this.#ranges[this.#next++];
    if (range === undefined) throw new ComposefsError("internal", "a part of a blob was not planned");
    this.#open = { reader: new ChunkReader(this.#read(range)), at: range.start, end: range.end };
  }
}
