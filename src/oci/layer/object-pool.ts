// Where the contents of a layer's files go: hashed and written on this thread while there is little of them, by worker
// threads once it pays (docs/spec/wasm-core.md, sections 4.5 and 6.4). Contents are packed back to back into shared
// buffers; several layers share one pool, and with it the bound on the memory in flight.

import {
  ObjectStore,
  type ObjectStoreOptions,
  type PutResult,
  type SinkResult,
} from "../../repository/object-store.ts";
import { WorkerPool, defaultWorkers, workerEntry } from "../../runtime/workers.ts";
import type { ObjectRequest } from "./object-worker.ts";

/** Size of a buffer, and the largest file that is packed with others; larger ones are sent in pieces. */
export const BUFFER_SIZE = 4 << 20;

/** Work from which starting threads (35 to 50 ms each on Node 20) pays. */
const WORTH_BYTES = 64 << 20;
const WORTH_FILES = 2000;

/** Bytes that may wait for the workers, all layers together. */
const IN_FLIGHT = 32 << 20;

/** Files cost this many bytes' worth of hashing for being created, for balancing the threads. */
const FILE_COST = 64 << 10;

/** How an {@link ObjectPool} is set up. */
export interface ObjectPoolOptions {
  /**
   * Number of worker threads, 0 for none at all. When left out one less than processors, 1 to 3: the main thread reads,
   * hashes and splits meanwhile, and on two processors a second worker only competes with it (3.8 s instead of 3.4 s for
   * 500 MB).
   */
  workers?: number;
  /** Start the threads with the first content instead of waiting until it pays. */
  eager?: boolean;
}

/** Takes the content of one large file. */
export interface LargeObject {
  /** Appends bytes, which may be reused afterwards. */
  write(bytes: Uint8Array): void;
  commit(): SinkResult | Promise<SinkResult>;
  /** Removes what was written. */
  abort(): Promise<void>;
}

/** A value now when the work was done on this thread, a promise when a worker does it. */
export type Eventually<T> = T | Promise<T>;

/**
 * Stores file contents for any number of layers at once. Make one per pull, and dispose of it at the end.
 *
 * @example
 * ```ts
 * await using pool = new ObjectPool(repository.store.options);
 * await Promise.all(layers.map((layer) => importLayer(repository, layer.content, { name: layer.name, pool })));
 * ```
 */
export class ObjectPool implements AsyncDisposable {
  readonly #store: ObjectStore;
  readonly #workers: WorkerPool | undefined;
  readonly #eager: boolean;
  #active = false;
  #bytes = 0;
  #files = 0;
  #inFlight = 0;
  #waiting: (() => void)[] = [];
  // Buffers that no one uses. Shared ones once the workers are active.
  #free: Uint8Array[] = [];
  #sinks = 0;

  constructor(store: ObjectStoreOptions, options: ObjectPoolOptions = {}) {
    this.#store = new ObjectStore(store);
    this.#eager = options.eager ?? false;
    const size = options.workers ?? Math.max(1, defaultWorkers() - 1);
    if (size > 0)
      this.#workers = new WorkerPool(workerEntry("./object-worker", import.meta.url), { size, data: store });
  }

  /** Says how much is coming, as far as known: with enough of it the threads start right away. */
  expect(bytes: number): void {
    this.#account(bytes, 0);
  }

  /** Whether so much waits for the workers that no more should be added; see {@link ObjectPool.relief}. */
  get congested(): boolean {
    return this.#inFlight > IN_FLIGHT;
  }

  /** Resolves when the pool is not congested any more. */
  async relief(): Promise<void> {
    while (this.congested) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** A buffer of {@link BUFFER_SIZE} bytes to be filled and given to {@link ObjectPool.put}. */
  buffer(): Uint8Array {
    const buffer = this.#free.pop();
    if (buffer !== undefined) return buffer;
    return new Uint8Array(this.#active ? new SharedArrayBuffer(BUFFER_SIZE) : new ArrayBuffer(BUFFER_SIZE));
  }

  /** Gives a buffer back unused. */
  release(buffer: Uint8Array): void {
    if (!this.#active || buffer.buffer instanceof SharedArrayBuffer) this.#free.push(buffer);
  }

  /**
   * Stores contents that lie back to back in a buffer from {@link ObjectPool.buffer}, and takes the buffer back.
   *
   * @param lengths bytes of each content, in order
   */
  put(buffer: Uint8Array, lengths: readonly number[]): Eventually<PutResult[]> {
    const bytes = lengths.reduce((sum, length) => sum + length, 0);
    this.#account(bytes, lengths.length);
    const memory = buffer.buffer;
    // A buffer from before the workers became active is not shared. And with enough in flight this thread would only
    // wait for the workers: it does the work of one instead.
    if (!(memory instanceof SharedArrayBuffer) || this.congested) {
      const results = putAll(this.#store, buffer, lengths);
      this.release(buffer);
      return results;
    }
    return this.#send<PutResult[]>({ kind: "put", memory, lengths }, bytes + FILE_COST * lengths.length, buffer);
  }

  /** Begins a file that is larger than a buffer. */
  large(): LargeObject {
    this.#account(BUFFER_SIZE, 1);
    return this.#active ? this.#largeRemote() : this.#largeLocal();
  }

  /** Ends the threads, after what they were given. */
  async close(): Promise<void> {
    this.#free = [];
    await this.#workers?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #account(bytes: number, files: number): void {
    this.#bytes += bytes;
    this.#files += files;
    if (this.#active || this.#workers === undefined) return;
    if (!this.#eager && this.#bytes < WORTH_BYTES && this.#files < WORTH_FILES) return;
    this.#workers.start();
    this.#active = true;
    this.#free = [];
  }

  #largeLocal(): LargeObject {
    const sink = this.#store.newObjectSync();
    return {
      write: (bytes) => sink.write(bytes),
      commit: () => sink.commit(),
      abort: async () => sink.abort(),
    };
  }

  #largeRemote(): LargeObject {
    const sink = this.#sinks++;
    const thread = (this.#workers as WorkerPool).pick();
    let buffer: Uint8Array | undefined;
    let length = 0;
    let failure: unknown;
    const flush = (): void => {
      if (buffer === undefined || length === 0) return;
      // An error shows at the commit; what is sent until then is dropped by the worker.
      const memory = buffer.buffer as SharedArrayBuffer;
      this.#send({ kind: "write", sink, memory, length }, length, buffer, thread).catch((error: unknown) => {
        failure ??= error;
      });
      buffer = undefined;
      length = 0;
    };
    return {
      write: (bytes) => {
        if (failure !== undefined) throw failure;
        for (let at = 0; at < bytes.length; ) {
          buffer ??= this.buffer();
          const take = Math.min(bytes.length - at, BUFFER_SIZE - length);
          buffer.set(bytes.subarray(at, at + take), length);
          length += take;
          at += take;
          if (length === BUFFER_SIZE) flush();
        }
      },
      commit: async () => {
        flush();
        try {
          return await this.#send<SinkResult>({ kind: "commit", sink }, 0, undefined, thread);
        } catch (error) {
          throw failure ?? error;
        }
      },
      abort: async () => {
        if (buffer !== undefined) this.release(buffer);
        buffer = undefined;
        await this.#send({ kind: "abort", sink }, 0, undefined, thread);
      },
    };
  }

  async #send<T>(request: ObjectRequest, cost: number, buffer?: Uint8Array, thread?: number): Promise<T> {
    this.#inFlight += buffer === undefined ? 0 : BUFFER_SIZE;
    try {
      return await (this.#workers as WorkerPool).run<T>(request, cost, thread);
    } finally {
      if (buffer !== undefined) {
        this.#inFlight -= BUFFER_SIZE;
        this.release(buffer);
        if (!this.congested) for (const resolve of this.#waiting.splice(0)) resolve();
      }
    }
  }
}

/** Stores contents that lie back to back. */
export function putAll(store: ObjectStore, buffer: Uint8Array, lengths: readonly number[]): PutResult[] {
  const results: PutResult[] = [];
  let at = 0;
  for (const length of lengths) {
    results.push(store.putSync(buffer.subarray(at, at + length)));
    at += length;
  }
  return results;
}
