// libzstd in WebAssembly, for runtimes that have no decoder of their own (docs/spec/wasm-core.md, section 6.1).
// zstddec brings the module; its own JavaScript ignores error codes and would decode damaged input for ever, so only the
// functions of libzstd are used, and called here.

import { ZSTDDecoder } from "zstddec/stream";
import { ComposefsError } from "../error.ts";
import { MAX_BLOCK } from "./zstd-frames.ts";

interface Exports {
  memory: WebAssembly.Memory;
  malloc(size: number): number;
  free(pointer: number): void;
  ZSTD_decompress(output: number, capacity: number, input: number, size: number): number;
  ZSTD_createDCtx(): number;
  ZSTD_freeDCtx(context: number): void;
  ZSTD_decompressStream(context: number, output: number, input: number): number;
}

// Codes of zstd_errors.h that damaged data leads to; a result is an error when it is above -MAX_ERROR as 32 bits.
const MAX_ERROR = 120;
const REASONS: Record<number, string> = {
  16: "its window is too large",
  20: "its data is damaged",
  22: "its content checksum is wrong",
  64: "out of memory",
  70: "its blocks hold more than they may",
  72: "it is truncated",
};

const DESCRIPTORS = 24;

let loading: Promise<Exports> | undefined;

async function load(): Promise<Exports> {
  let exports: unknown;
  class Decoder extends ZSTDDecoder {
    override _init = (result: { instance: { exports: unknown } }) => {
      super._init(result);
      exports = result.instance.exports;
    };
  }
  await withoutFetch(() => new Decoder().init());
  return exports as Exports;
}

// The package would decode its module with `fetch`, for which Node loads an HTTP client: 40 ms instead of 1. It looks for it at once.
function withoutFetch<T>(action: () => T): T {
  const fetch = Object.getOwnPropertyDescriptor(globalThis, "fetch");
  if (fetch?.configurable !== true) return action();
  try {
    Object.defineProperty(globalThis, "fetch", { value: undefined, configurable: true });
    return action();
  } finally {
    Object.defineProperty(globalThis, "fetch", fetch);
  }
}

function checked(result: number): number {
  const code = -(result | 0);
  if (code > 0 && code <= MAX_ERROR)
    throw new ComposefsError("invalid", `zstd: damaged frame: ${REASONS[code] ?? `libzstd reports error ${code}`}`);
  return result >>> 0;
}

function allocate(zstd: Exports, size: number): number {
  const pointer = zstd.malloc(size);
  if (pointer === 0) throw new ComposefsError("limit", `zstd: no memory for ${size} bytes`);
  return pointer;
}

/**
 * Decodes one whole frame whose output is bounded.
 *
 * @param bound bytes that the frame's blocks can hold at most
 * @throws ComposefsError `invalid` when it is damaged or a checksum is wrong
 */
export async function decompressFrame(frame: Uint8Array, bound: number): Promise<Uint8Array> {
  const zstd = await (loading ??= load());
  const memory = allocate(zstd, frame.length + bound);
  try {
    new Uint8Array(zstd.memory.buffer).set(frame, memory + bound);
    const size = checked(zstd.ZSTD_decompress(memory, bound, memory + bound, frame.length));
    return new Uint8Array(zstd.memory.buffer, memory, size).slice();
  } finally {
    zstd.free(memory);
  }
}

/** Decodes one frame that comes in pieces; memory is its window's. */
export class WasmFrameStream {
  readonly #zstd: Exports;
  #context: number;
  // Two descriptors of three 32-bit fields (pointer, size, position), then the output, then the input.
  #memory = 0;
  #capacity = 0;

  private constructor(zstd: Exports) {
    this.#zstd = zstd;
    this.#context = zstd.ZSTD_createDCtx();
  }

  /** A decoder for one frame. */
  static async open(): Promise<WasmFrameStream> {
    return new WasmFrameStream(await (loading ??= load()));
  }

  /**
   * What the bytes decode to, up to the last block that is complete.
   *
   * @param last whether the frame ends with them
   * @throws ComposefsError `invalid` when the frame is damaged, its checksum is wrong, or it ends elsewhere
   */
  *push(bytes: Uint8Array, last: boolean): Generator<Uint8Array, void, undefined> {
    const zstd = this.#zstd;
    if (this.#memory === 0 || bytes.length > this.#capacity) {
      zstd.free(this.#memory);
      this.#memory = allocate(zstd, DESCRIPTORS + MAX_BLOCK + bytes.length);
      this.#capacity = bytes.length;
    }
    const output = this.#memory + DESCRIPTORS;
    const input = output + MAX_BLOCK;
    new Uint8Array(zstd.memory.buffer).set(bytes, input);
    let position = 0;
    let wanted = 1;
    for (;;) {
      this.#describe(0, output, MAX_BLOCK, 0);
      this.#describe(12, input, bytes.length, position);
      wanted = checked(zstd.ZSTD_decompressStream(this.#context, this.#memory, this.#memory + 12));
      const view = new DataView(zstd.memory.buffer, this.#memory, DESCRIPTORS);
      const produced = view.getUint32(8, true);
      position = view.getUint32(20, true);
      if (produced > 0) yield new Uint8Array(zstd.memory.buffer, output, produced).slice();
      if (wanted === 0 || (position === bytes.length && produced < MAX_BLOCK)) break;
    }
    if ((wanted === 0) !== last || position !== bytes.length)
      throw new ComposefsError("invalid", "zstd: damaged frame: it ends elsewhere than its blocks");
  }

  /** Frees its memory; safe to call twice. */
  free(): void {
    this.#zstd.free(this.#memory);
    if (this.#context !== 0) this.#zstd.ZSTD_freeDCtx(this.#context);
    this.#memory = 0;
    this.#context = 0;
  }

  #describe(at: number, pointer: number, size: number, position: number): void {
    const view = new DataView(this.#zstd.memory.buffer, this.#memory + at, 12);
    view.setUint32(0, pointer, true);
    view.setUint32(4, size, true);
    view.setUint32(8, position, true);
  }
}
