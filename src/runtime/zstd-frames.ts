// Walks zstd data frame by frame without decoding it (docs/spec/wasm-core.md, section 6.1; RFC 8878, section 3.1).
// The decoders of some runtimes stop silently after the first frame, at a skippable frame or at a truncated one, so
// every frame is delimited here and handed to a fresh decoder of its own.

import { ComposefsError } from "../error.ts";

/** The largest output of one block. */
export const MAX_BLOCK = 131_072;

/** What the header of a data frame says. */
export interface FrameHeader {
  /** Bytes of window that a decoder needs; for single-segment frames the content size. */
  windowSize: number;
  /** Announced size of the content, if any. */
  contentSize: number | undefined;
  /** Whether 4 bytes of xxh64 follow the last block. */
  checksum: boolean;
  /** Whether the window is the content itself: then there is no window descriptor. */
  singleSegment: boolean;
}

/** A contiguous part of a data frame. */
export interface FramePiece {
  /** A view of the chunk that was pushed, or a copy where a header straddled two chunks. */
  bytes: Uint8Array;
  /** The frame's header, on the piece in which it became complete. */
  header?: FrameHeader;
  /** Number of blocks that end inside this piece. */
  blocks: number;
  /** Whether the frame ends with this piece. */
  last: boolean;
}

const MAGIC = 0xfd2fb528;
const SKIPPABLE = 0x184d2a50;
const CONTENT_SIZE_BYTES = [0, 2, 4, 8];
const DICTIONARY_ID_BYTES = [0, 1, 2, 4];

/**
 * The content of a whole frame whose blocks are all raw or run-length, as {@link FrameWalker} has delimited it: what a writer
 * without compressor makes of small streams. Undefined when it takes a decoder, be it only for the checksum.
 */
export function storedContent(frame: Uint8Array, header: FrameHeader): Uint8Array | undefined {
  if (header.checksum) return undefined;
  const pieces: Uint8Array[] = [];
  for (let at = headerSize(frame[4] as number), last = false; !last; ) {
    const [b0, b1, b2] = [frame[at] as number, frame[at + 1] as number, frame[at + 2] as number];
    const type = (b0 >> 1) & 3;
    const size = (b0 >> 3) | (b1 << 5) | (b2 << 13);
    last = (b0 & 1) === 1;
    at += 3;
    if (type > 1) return undefined;
    pieces.push(type === 0 ? frame.subarray(at, at + size) : new Uint8Array(size).fill(frame[at] as number));
    at += type === 0 ? size : 1;
  }
  return Buffer.concat(pieces);
}

type State = "start" | "skip-size" | "skip" | "header" | "block" | "payload" | "checksum";

/** Splits a sequence of chunks into the parts of its data frames; skippable frames are dropped. */
export class FrameWalker {
  readonly #maxWindow: number;
  readonly #maxBlocks: number;
  #state: State = "start";
  // Bytes of a fixed-size field that is being gathered; `#need` of them make it complete.
  readonly #held = new Uint8Array(18);
  #have = 0;
  #need = 4;
  // Bytes of a payload still to pass.
  #left = 0;
  #lastBlock = false;
  #checksum = false;
  #blockLimit = MAX_BLOCK;
  #offset = 0;
  #frames = 0;

  /**
   * @param maxWindow largest window in bytes that is accepted
   * @param maxBlocks pieces are cut so that at most this many blocks end in one: bounds what one piece decodes to
   */
  constructor(maxWindow: number, maxBlocks = 8) {
    this.#maxWindow = maxWindow;
    this.#maxBlocks = maxBlocks;
  }

  /** Number of data frames that were begun. */
  get frames(): number {
    return this.#frames;
  }

  /** Parts of data frames in the next chunk. Throws `invalid` on anything that is no zstd, with the offset. */
  *push(chunk: Uint8Array): Generator<FramePiece, void, undefined> {
    let at = 0;
    // Where the part of a data frame that is not yet handed out begins; -1 outside data frames.
    let from = this.#inFrame() ? 0 : -1;
    let blocks = 0;
    let header: FrameHeader | undefined;
    while (at < chunk.length || (this.#need === 0 && this.#left === 0)) {
      if (this.#state === "payload" || this.#state === "skip") {
        const take = Math.min(this.#left, chunk.length - at);
        at += take;
        this.#offset += take;
        this.#left -= take;
        if (this.#left > 0) break;
        if (this.#state === "skip") {
          this.#expect("start", 4);
          continue;
        }
        blocks++;
        if (this.#lastBlock && !this.#checksum) {
          yield this.#piece(chunk.subarray(from, at), header, blocks, true);
          this.#expect("start", 4);
          from = -1;
        } else {
          this.#expect(this.#lastBlock ? "checksum" : "block", this.#lastBlock ? 4 : 3);
          if (blocks < this.#maxBlocks) continue;
          yield this.#piece(chunk.subarray(from, at), header, blocks, false);
          from = at;
        }
        blocks = 0;
        header = undefined;
        continue;
      }
      const take = Math.min(this.#need - this.#have, chunk.length - at);
      this.#held.set(chunk.subarray(at, at + take), this.#have);
      this.#have += take;
      at += take;
      this.#offset += take;
      if (this.#have < this.#need) break;
      switch (this.#state) {
        case "start": {
          const magic = this.#u32(0);
          if (magic === MAGIC) {
            this.#state = "header";
            this.#need = 6;
            this.#frames++;
            from = at - 4;
            if (from < 0) {
              // The magic straddles two chunks: give its first bytes a piece of their own.
              yield this.#piece(this.#held.slice(0, -from), undefined, 0, false);
              from = 0;
            }
          } else if ((magic & 0xfffffff0) >>> 0 === SKIPPABLE) {
            this.#state = "skip-size";
            this.#need = 8;
          } else {
            throw this.#error(
              `no zstd frame begins at offset ${this.#offset - 4}: found ${hex32(magic)}, expected ${hex32(MAGIC)}`,
            );
          }
          break;
        }
        case "skip-size":
          this.#state = "skip";
          this.#left = this.#u32(4);
          this.#have = this.#need = 0;
          break;
        case "header": {
          const size = headerSize(this.#held[4] as number);
          if (this.#need < size) {
            this.#need = size;
            break;
          }
          header = this.#parseHeader();
          this.#checksum = header.checksum;
          this.#blockLimit = Math.min(MAX_BLOCK, header.windowSize);
          this.#expect("block", 3);
          break;
        }
        case "block": {
          const value =
            (this.#held[0] as number) | ((this.#held[1] as number) << 8) | ((this.#held[2] as number) << 16);
          const type = (value >> 1) & 3;
          const size = value >>> 3;
          if (type === 3) throw this.#error(`reserved block type at offset ${this.#offset - 3}`);
          if (size > this.#blockLimit)
            throw this.#error(`block of ${size} bytes at offset ${this.#offset - 3}, at most ${this.#blockLimit} fit`);
          this.#lastBlock = (value & 1) === 1;
          this.#state = "payload";
          this.#left = type === 1 ? 1 : size;
          this.#have = this.#need = 0;
          break;
        }
        case "checksum":
          yield this.#piece(chunk.subarray(from, at), header, blocks, true);
          this.#expect("start", 4);
          from = -1;
          blocks = 0;
          header = undefined;
          break;
      }
    }
    if (from >= 0 && from < at) yield this.#piece(chunk.subarray(from, at), header, blocks, false);
  }

  /** Ends the input. Throws `invalid` when it ends inside a frame. */
  end(): void {
    if (this.#state !== "start" || this.#have > 0)
      throw this.#error(
        `truncated at offset ${this.#offset}, inside ${this.#inFrame() ? "a" : "the start of a"} frame`,
      );
  }

  #inFrame(): boolean {
    return (
      this.#state === "header" || this.#state === "block" || this.#state === "payload" || this.#state === "checksum"
    );
  }

  #expect(state: State, need: number): void {
    this.#state = state;
    this.#need = need;
    this.#have = 0;
  }

  #piece(bytes: Uint8Array, header: FrameHeader | undefined, blocks: number, last: boolean): FramePiece {
    return header ? { bytes, header, blocks, last } : { bytes, blocks, last };
  }

  #u32(at: number): number {
    const held = this.#held;
    return (
      ((held[at] as number) |
        ((held[at + 1] as number) << 8) |
        ((held[at + 2] as number) << 16) |
        ((held[at + 3] as number) << 24)) >>>
      0
    );
  }

  #parseHeader(): FrameHeader {
    const held = this.#held;
    const descriptor = held[4] as number;
    if (descriptor & 8) throw this.#error("reserved bit set in the frame header");
    const singleSegment = (descriptor & 32) !== 0;
    let at = 5;
    let windowSize = 0;
    if (!singleSegment) {
      const value = held[at++] as number;
      const base = 2 ** (10 + (value >> 3));
      windowSize = base + (base / 8) * (value & 7);
    }
    const idBytes = DICTIONARY_ID_BYTES[descriptor & 3] as number;
    for (let i = 0; i < idBytes; i++)
      if (held[at++] !== 0) throw this.#error("frame needs a dictionary, there is none");
    const flag = descriptor >> 6;
    const sizeBytes = flag === 0 && singleSegment ? 1 : (CONTENT_SIZE_BYTES[flag] as number);
    let contentSize: number | undefined;
    if (sizeBytes > 0) {
      contentSize = 0;
      for (let i = sizeBytes - 1; i >= 0; i--) contentSize = contentSize * 256 + (held[at + i] as number);
      if (sizeBytes === 2) contentSize += 256;
    }
    if (singleSegment) windowSize = contentSize as number;
    if (windowSize > this.#maxWindow)
      throw new ComposefsError(
        "limit",
        `zstd frame requires too much memory: a window of ${windowSize} bytes, at most ${this.#maxWindow} are accepted`,
      );
    return { windowSize, contentSize, checksum: (descriptor & 4) !== 0, singleSegment };
  }

  #error(message: string): ComposefsError {
    return new ComposefsError("invalid", `zstd: ${message}`);
  }
}

function headerSize(descriptor: number): number {
  const singleSegment = (descriptor & 32) !== 0;
  const flag = descriptor >> 6;
  const size = flag === 0 && singleSegment ? 1 : (CONTENT_SIZE_BYTES[flag] as number);
  return 5 + (singleSegment ? 0 : 1) + (DICTIONARY_ID_BYTES[descriptor & 3] as number) + size;
}

function hex32(value: number): string {
  return `0x${value.toString(16).padStart(8, "0")}`;
}
