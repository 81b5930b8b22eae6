// The back end on the WebAssembly kernels: the same on every runtime (docs/spec/wasm-core.md, sections 2.6 and 4).

import { type Algorithm, DIGEST_SIZE, type ObjectId } from "../bytes/algorithm.ts";
import { type Core, core, coreTrap } from "./load.ts";
import { type Backend, BLOCK_SIZE, type TreeHasher, WINDOW_SIZE } from "./tree-hasher.ts";

/** The core's numbers of the algorithms: their order in core.wit. */
const NUMBER: Record<Algorithm, number> = { sha256: 0, sha512: 1 };

/** An instance with a view of its memory, renewed when the memory has grown. */
class Session {
  readonly core: Core;
  readonly input: number;
  readonly output: number;
  #bytes: Buffer;

  constructor(instance: Core) {
    this.core = instance;
    this.input = instance.raw.rawInput();
    this.output = instance.raw.rawOutput();
    this.#bytes = Buffer.from(instance.memory.buffer);
  }

  /** All of the memory, valid until the next call into the instance. */
  get bytes(): Buffer {
    if (this.#bytes.buffer !== this.core.memory.buffer) this.#bytes = Buffer.from(this.core.memory.buffer);
    return this.#bytes;
  }

  /** The digest in the output area as hex. */
  result(algorithm: Algorithm): ObjectId {
    return this.bytes.toString("hex", this.output, this.output + DIGEST_SIZE[algorithm]);
  }
}

let latest: Session | undefined;

/** The session of this thread's current instance. */
function session(): Session {
  const instance = core();
  if (latest?.core !== instance) latest = new Session(instance);
  return latest;
}

class WasmTree implements TreeHasher {
  readonly #algorithm: Algorithm;
  readonly #session = session();
  readonly #hasher: number;

  constructor(algorithm: Algorithm) {
    this.#algorithm = algorithm;
    this.#hasher = this.#session.core.raw.rawHasherNew(NUMBER[algorithm]);
  }

  update(data: Uint8Array): void {
    for (let done = 0; done < data.length; ) {
      const window = this.window(1);
      const n = Math.min(window.length, data.length - done);
      window.set(data.subarray(done, done + n));
      this.advance(n);
      done += n;
    }
  }

  window(min: number): Uint8Array {
    const { core: instance } = this.#session;
    try {
      const room = instance.raw.rawHasherRoom(this.#hasher, min);
      const address = instance.raw.rawHasherWindow(this.#hasher);
      return this.#session.bytes.subarray(address, address + room);
    } catch (error) {
      throw coreTrap(instance, error) ?? error;
    }
  }

  advance(n: number): void {
    this.#session.core.raw.rawHasherAdvance(this.#hasher, n);
  }

  finish(size = -1): ObjectId {
    const { core: instance, output } = this.#session;
    try {
      instance.raw.rawHasherFinish(this.#hasher, size, output);
      return this.#session.result(this.#algorithm);
    } catch (error) {
      throw coreTrap(instance, error) ?? error;
    }
  }

  reset(): void {
    this.#session.core.raw.rawHasherReset(this.#hasher);
  }

  free(): void {
    this.#session.core.raw.rawHasherFree(this.#hasher);
  }
}

/** The back end on the WebAssembly core. */
export class WasmBackend implements Backend {
  readonly name = "wasm";

  newHasher(algorithm: Algorithm): TreeHasher {
    return new WasmTree(algorithm);
  }

  digest(algorithm: Algorithm, data: Uint8Array): ObjectId {
    if (data.length <= WINDOW_SIZE) {
      const { core: instance, bytes, input, output } = session();
      bytes.set(data, input);
      try {
        instance.raw.rawDigest(NUMBER[algorithm], input, data.length, output);
      } catch (error) {
        throw coreTrap(instance, error) ?? error;
      }
      return session().result(algorithm);
    }
    const tree = new WasmTree(algorithm);
    try {
      tree.update(data);
      return tree.finish();
    } finally {
      tree.free();
    }
  }

  blockWindow(): Uint8Array {
    const { bytes, input } = session();
    return bytes.subarray(input, input + WINDOW_SIZE);
  }

  hashWindow(algorithm: Algorithm, length: number): Uint8Array {
    const { core: instance, bytes, input, output } = session();
    const count = Math.ceil(length / BLOCK_SIZE);
    bytes.fill(0, input + length, input + count * BLOCK_SIZE);
    try {
      instance.raw.rawHashBlocks(NUMBER[algorithm], input, count, output);
    } catch (error) {
      throw coreTrap(instance, error) ?? error;
    }
    return session().bytes.subarray(output, output + count * DIGEST_SIZE[algorithm]);
  }
}
