// zstd compression on every runtime (docs/spec/splitstream.md, section 4.3; docs/spec/wasm-core.md, section 6.1):
// `node:zlib` where it can, else the optional dependency zstd-codec, else frames of stored blocks.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import * as zlib from "node:zlib";
import { MAX_BLOCK } from "./zstd-frames.ts";

/** Which compressor is in use. */
export type ZstdEncoder = "node:zlib" | "zstd-codec" | "stored";

/** A streaming compressor: what it returns is the compressed data in order. Synchronous, usable in any thread. */
export interface ZstdCompressor {
  /** Compressed bytes that have become ready; the input may be reused afterwards. */
  write(bytes: Uint8Array): Uint8Array[];
  /** Ends the data; the compressor is spent. An empty input gives a frame too. */
  end(): Uint8Array[];
}

// One frame per this much input: no dependence on streaming compressors, which runtimes offer only asynchronously. Equal
// to the canonical window (2^21), so hardly anything is lost.
const FRAME_INPUT = 1 << 21;
// Below this size a compressor gains nothing worth the 35 ms that zstd-codec takes to load.
const STORED_BELOW = 4096;

/** Level 3: the one the format's reference uses. */
export const DEFAULT_LEVEL = 3;

interface NodeZstd {
  zstdCompressSync(data: Uint8Array, options?: object): Uint8Array;
  constants: Record<string, number>;
}

const native: NodeZstd | undefined = "zstdCompressSync" in zlib ? zlib : undefined;

let codec: Binding | null | undefined;

/** The compressor that {@link zstdCompress} uses here. */
export function zstdEncoder(): ZstdEncoder {
  if (native) return "node:zlib";
  return loadCodec() ? "zstd-codec" : "stored";
}

/**
 * A new compressor.
 *
 * @param level 1..22; the levels of zstd
 * @param encoder forces one, for tests
 */
export function zstdCompress(level: number = DEFAULT_LEVEL, encoder?: ZstdEncoder): ZstdCompressor {
  return new FrameCompressor(level, encoder);
}

class FrameCompressor implements ZstdCompressor {
  readonly #level: number;
  readonly #encoder: ZstdEncoder | undefined;
  #buffer: Uint8Array | undefined;
  #fill = 0;
  #written = false;

  constructor(level: number, encoder: ZstdEncoder | undefined) {
    this.#level = level;
    this.#encoder = encoder;
  }

  write(bytes: Uint8Array): Uint8Array[] {
    const ready: Uint8Array[] = [];
    let at = 0;
    while (at < bytes.length) {
      // Grows with the data: most streams (configs, manifests) are a few bytes.
      if (!this.#buffer || this.#fill === this.#buffer.length) {
        if (this.#fill === FRAME_INPUT) {
          ready.push(this.#frame());
          continue;
        }
        const larger = new Uint8Array(
          Math.min(FRAME_INPUT, Math.max(2 * this.#fill, this.#fill + bytes.length - at, 512)),
        );
        if (this.#buffer) larger.set(this.#buffer);
        this.#buffer = larger;
      }
      const take = Math.min(bytes.length - at, this.#buffer.length - this.#fill);
      this.#buffer.set(bytes.subarray(at, at + take), this.#fill);
      this.#fill += take;
      at += take;
    }
    return ready;
  }

  end(): Uint8Array[] {
    if (this.#fill > 0 || !this.#written) return [this.#frame()];
    return [];
  }

  #frame(): Uint8Array {
    const input = (this.#buffer ?? new Uint8Array(0)).subarray(0, this.#fill);
    this.#fill = 0;
    this.#written = true;
    const encoder = this.#encoder ?? (input.length < STORED_BELOW && !native ? "stored" : zstdEncoder());
    if (encoder === "node:zlib" && native) return compressNative(native, input, this.#level);
    if (encoder === "zstd-codec") {
      const binding = loadCodec();
      if (binding) return compressCodec(binding, input, this.#level);
    }
    return storedFrame(input);
  }
}

function compressNative(zstd: NodeZstd, input: Uint8Array, level: number): Uint8Array {
  return zstd.zstdCompressSync(input, {
    params: {
      [zstd.constants.ZSTD_c_compressionLevel as number]: level,
      [zstd.constants.ZSTD_c_windowLog as number]: 21,
      [zstd.constants.ZSTD_c_checksumFlag as number]: 0,
    },
  });
}

/** A frame of raw blocks, and of run-length blocks where a block is one repeated byte: valid without any compressor. */
export function storedFrame(input: Uint8Array): Uint8Array {
  if (input.length === 0) return Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x00, 0x01, 0x00, 0x00);
  const pieces: Uint8Array[] = [Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58)];
  for (let at = 0; at < input.length; at += MAX_BLOCK) {
    const block = input.subarray(at, at + MAX_BLOCK);
    const last = at + block.length === input.length ? 1 : 0;
    const repeated = block.length > 1 && block.every((byte) => byte === block[0]);
    const header = (block.length << 3) | (repeated ? 2 : 0) | last;
    pieces.push(Uint8Array.of(header & 255, (header >> 8) & 255, header >> 16));
    pieces.push(repeated ? block.slice(0, 1) : block.slice());
  }
  return Buffer.concat(pieces);
}

interface Binding {
  ZstdCompressStreamBinding: new () => {
    begin(level: number): boolean;
    transform(chunk: Uint8Array, callback: (compressed: Uint8Array) => void): boolean;
    end(callback: (compressed: Uint8Array) => void): boolean;
    delete(): void;
  };
}

function compressCodec(binding: Binding, input: Uint8Array, level: number): Uint8Array {
  const pieces: Uint8Array[] = [];
  const collect = (compressed: Uint8Array) => void pieces.push(compressed.slice());
  const stream = new binding.ZstdCompressStreamBinding();
  try {
    let ok = stream.begin(level);
    // Larger pieces make its heap run out.
    for (let at = 0; ok && at < input.length; at += MAX_BLOCK)
      ok = stream.transform(input.subarray(at, at + MAX_BLOCK), collect);
    return ok && stream.end(collect) ? Buffer.concat(pieces) : storedFrame(input);
  } finally {
    stream.delete();
  }
}

// The package starts its WebAssembly asynchronously; the writer of a splitstream must not wait. So the module is built
// here, synchronously, from the bytes inside the package's file.
function loadCodec(): Binding | null {
  if (codec !== undefined) return codec;
  codec = null;
  try {
    const require = createRequire(import.meta.url);
    const file = require.resolve("zstd-codec/lib/zstd-codec-binding-wasm.js");
    const embedded = /data:application\/octet-stream;base64,([A-Za-z0-9+/=]+)/.exec(readFileSync(file, "latin1"));
    if (!embedded) return codec;
    const module = new WebAssembly.Module(Buffer.from(embedded[1] as string, "base64"));
    let ready = false;
    const binding = {
      onRuntimeInitialized: () => {
        ready = true;
      },
      instantiateWasm: (imports: object, done: (instance: WebAssembly.Instance) => void) => {
        const instance = new WebAssembly.Instance(module, imports as Record<string, never>);
        done(instance);
        return instance.exports;
      },
    };
    (require(file) as (binding: object) => unknown)(binding);
    if (ready) codec = binding as unknown as Binding;
  } catch {
    // Not installed, or it does not start here: stored frames are as valid, only larger.
  }
  return codec;
}
