// Decoding of single zstd frames with what the runtime has: `node:zlib` (Node >= 22.15, Bun, for small frames Deno), else
// libzstd in WebAssembly (docs/spec/wasm-core.md, section 6.1). Frames come delimited by FrameWalker.

import * as zlib from "node:zlib";
import { ComposefsError } from "../error.ts";
import type { WasmFrameStream } from "./zstd-wasm.ts";
import { type FrameHeader, type FramePiece, FrameWalker, MAX_BLOCK, storedContent } from "./zstd-frames.ts";

/** The largest window that is accepted: 128 MiB, the limit of standard decoders. */
export const MAX_WINDOW = 2 ** 27;

// Frames of up to this many blocks (8 MiB of output) and compressed bytes are gathered and decoded in one call.
const SMALL_BLOCKS = 64;
const SMALL_BYTES = 4 << 20;

interface NodeZstd {
  zstdDecompressSync(data: Uint8Array, options?: object): Uint8Array;
  createZstdDecompress(options?: object): import("node:stream").Transform;
  constants: Record<string, number>;
}

// Looked up by name: the module has no such exports on Node 20, and a named import would not even link there.
const native: NodeZstd | undefined = "createZstdDecompress" in zlib && "zstdDecompressSync" in zlib ? zlib : undefined;

// Deno (2.9) throws what its streaming decoder finds wrong where nobody can catch it: a damaged layer would end the program.
// Its one-call decoder is sound.
const nativeStreams = native !== undefined && !("Deno" in globalThis);

/** Options of {@link zstdDecompressFrames}. */
export interface ZstdDecompressOptions {
  /** Largest accepted window in bytes; 128 MiB when left out, and never more. */
  maxWindow?: number;
  /** What is being decoded, for messages: "layer 2", "the body of stream X". */
  what?: string;
  /** For tests: decode in WebAssembly also where the runtime has its own decoder. */
  portable?: boolean;
}

/**
 * Decodes zstd data of any number of frames, skippable ones in between. Fails with `invalid` on truncation, on bytes
 * that are no frame, on wrong checksums and content sizes, and with `limit` on windows that are too large; an empty
 * input is truncated too. Pieces are at most a few MiB, so memory stays bounded by the window.
 *
 * @example
 * ```ts
 * for await (const bytes of zstdDecompressFrames(source)) hash.update(bytes);
 * ```
 */
export async function* zstdDecompressFrames(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  options: ZstdDecompressOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const walker = new FrameWalker(Math.min(options.maxWindow ?? MAX_WINDOW, MAX_WINDOW));
  const usesNative = native !== undefined && options.portable !== true;
  let frame: FrameDecoder | undefined;
  try {
    for await (const chunk of source) {
      for (const piece of walker.push(chunk)) {
        frame ??= new FrameDecoder(usesNative);
        yield* frame.push(piece);
        if (piece.last) frame = undefined;
      }
    }
    walker.end();
    if (walker.frames === 0) throw new ComposefsError("invalid", "zstd: no frame, the input is empty");
  } catch (error) {
    throw named(error, options.what);
  } finally {
    frame?.destroy();
  }
}

/**
 * Decodes zstd data that is in memory and whose output is bounded: for small sections.
 *
 * @param limit largest accepted output in bytes; `limit` error beyond
 */
export async function zstdDecompress(
  data: Uint8Array,
  limit: number,
  options: ZstdDecompressOptions = {},
): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of zstdDecompressFrames([data], options)) {
    size += piece.length;
    if (size > limit)
      throw new ComposefsError(
        "limit",
        `${options.what ?? "zstd data"} decodes to more than ${limit} bytes, the largest size that is accepted`,
      );
    pieces.push(piece);
  }
  return pieces.length === 1 ? (pieces[0] as Uint8Array) : Buffer.concat(pieces);
}

function named(error: unknown, what: string | undefined): unknown {
  if (error instanceof ComposefsError) {
    if (what === undefined || !error.message.startsWith("zstd")) return error;
    return new ComposefsError(error.code, `${what}: ${error.message}`, { cause: error });
  }
  const reason = error instanceof Error ? error.message : String(error);
  return new ComposefsError("invalid", `${what === undefined ? "" : `${what}: `}zstd: damaged frame: ${reason}`, {
    cause: error,
  });
}

// Gathers a frame; decodes it in one call when it stays small, else piece by piece.
class FrameDecoder {
  readonly #native: boolean;
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  #blocks = 0;
  #header: FrameHeader | undefined;
  #stream: StreamDecoder | undefined;

  constructor(usesNative: boolean) {
    this.#native = usesNative;
  }

  async *push(piece: FramePiece): AsyncGenerator<Uint8Array, void, undefined> {
    this.#header ??= piece.header;
    this.#blocks += piece.blocks;
    if (this.#stream) {
      yield* this.#stream.push(piece.bytes, piece.last);
      return;
    }
    // Copied unless it is the last piece: the source may reuse its chunk.
    this.#held.push(piece.last ? piece.bytes : piece.bytes.slice());
    this.#heldBytes += piece.bytes.length;
    const header = this.#header;
    if (piece.last) {
      const bytes = this.#held.length === 1 ? (this.#held[0] as Uint8Array) : Buffer.concat(this.#held);
      const output = await decodeSmall(bytes, header as FrameHeader, this.#blocks, this.#native);
      if (output.length > 0) yield output;
    } else if (header && (this.#blocks > SMALL_BLOCKS - 8 || this.#heldBytes > SMALL_BYTES)) {
      this.#stream = this.#native && nativeStreams ? new NativeStream(header) : new PortableStream(header);
      const held = this.#held;
      this.#held = [];
      for (const bytes of held) yield* this.#stream.push(bytes, false);
    }
  }

  destroy(): void {
    this.#stream?.destroy();
  }
}

async function decodeSmall(
  frame: Uint8Array,
  header: FrameHeader,
  blocks: number,
  usesNative: boolean,
): Promise<Uint8Array> {
  const bound = blocks * Math.min(MAX_BLOCK, header.windowSize);
  if (header.contentSize !== undefined && header.contentSize > bound)
    throw new ComposefsError(
      "invalid",
      `zstd: a frame announces ${header.contentSize} bytes, but its blocks hold at most ${bound}`,
    );
  let output: Uint8Array;
  if (usesNative && native) {
    output = native.zstdDecompressSync(frame, {
      maxOutputLength: Math.max(bound, 1),
      params: { [native.constants.ZSTD_d_windowLogMax as number]: 27 },
    });
  } else {
    // Spares small streams the 40 ms that libzstd takes to load.
    output = storedContent(frame, header) ?? (await (await import("./zstd-wasm.ts")).decompressFrame(frame, bound));
  }
  checkSize(header, output.length);
  return output;
}

function checkSize(header: FrameHeader, size: number): void {
  if (header.contentSize !== undefined && header.contentSize !== size)
    throw new ComposefsError("invalid", `zstd: a frame announces ${header.contentSize} bytes and holds ${size}`);
}

interface StreamDecoder {
  push(bytes: Uint8Array, last: boolean): AsyncGenerator<Uint8Array, void, undefined>;
  destroy(): void;
}

// The runtime's decoder runs on its thread pool. A piece decodes to a megabyte at most (see FrameWalker), so what comes
// out may flow freely while one piece is in work; the next one is written only after that.
class NativeStream implements StreamDecoder {
  readonly #header: FrameHeader;
  readonly #stream: import("node:stream").Transform;
  readonly #ended: Promise<void>;
  #output: Uint8Array[] = [];
  #size = 0;

  constructor(header: FrameHeader) {
    this.#header = header;
    const zstd = native as NodeZstd;
    this.#stream = zstd.createZstdDecompress({
      chunkSize: MAX_BLOCK,
      params: { [zstd.constants.ZSTD_d_windowLogMax as number]: 27 },
    });
    this.#stream.on("data", (bytes: Uint8Array) => this.#output.push(bytes));
    this.#ended = new Promise((resolve, reject) => void this.#stream.on("end", resolve).on("error", reject));
    // Failures also come through the callbacks of the writes.
    this.#ended.catch(() => {});
  }

  async *push(bytes: Uint8Array, last: boolean): AsyncGenerator<Uint8Array, void, undefined> {
    const written = new Promise<void>((resolve, reject) => {
      this.#stream.write(bytes, (error) => (error ? reject(error) : resolve()));
    });
    await Promise.race([written, this.#ended]);
    if (last) {
      this.#stream.end();
      await this.#ended;
    }
    const output = this.#output;
    this.#output = [];
    for (const piece of output) {
      this.#size += piece.length;
      yield piece;
    }
    if (last) checkSize(this.#header, this.#size);
  }

  destroy(): void {
    this.#stream.destroy();
  }
}

class PortableStream implements StreamDecoder {
  readonly #header: FrameHeader;
  #decoder: WasmFrameStream | undefined;
  #size = 0;

  constructor(header: FrameHeader) {
    this.#header = header;
  }

  async *push(bytes: Uint8Array, last: boolean): AsyncGenerator<Uint8Array, void, undefined> {
    this.#decoder ??= await (await import("./zstd-wasm.ts")).WasmFrameStream.open();
    for (const piece of this.#decoder.push(bytes, last)) {
      this.#size += piece.length;
      yield piece;
    }
    if (!last) return;
    checkSize(this.#header, this.#size);
    this.destroy();
  }

  destroy(): void {
    this.#decoder?.free();
    this.#decoder = undefined;
  }
}
