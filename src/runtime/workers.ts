// A small pool of worker threads on `node:worker_threads`, which Node, Deno and Bun have (docs/spec/wasm-core.md,
// section 4.5). It knows nothing of the work: requests go out, replies come back, errors keep their code and path.

import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { parentPort, Worker } from "node:worker_threads";
import { ComposefsError, type ErrorCode, type ErrorDetails, systemError } from "../error.ts";

/** How a {@link WorkerPool} is set up. */
export interface WorkerPoolOptions {
  /** Number of threads; {@link defaultWorkers} when left out. */
  size?: number;
  /** Plain data that every worker gets once, at its start. */
  data?: unknown;
}

interface Request {
  resolve: (value: unknown) => void;
  reject: (error: unknown) => void;
  cost: number;
}

interface Thread {
  worker: Worker;
  pending: Map<number, Request>;
  load: number;
}

type Reply = { id: number; value: unknown } | { id: number; error: PlainError };

interface PlainError {
  code: ErrorCode;
  message: string;
  details: ErrorDetails;
}

/** Threads for hashing and writing: one for each processor, four at most (more only wait for the file system). */
export function defaultWorkers(): number {
  return Math.min(availableParallelism(), 4);
}

/**
 * The URL of a worker's entry file beside the caller. Seen from a source file it is the compiled file of the same
 * name, because not every runtime runs TypeScript.
 *
 * @param name file name without extension, relative to the caller
 * @param base `import.meta.url` of the caller
 */
export function workerEntry(name: string, base: string): URL {
  if (!base.endsWith(".ts")) return new URL(`${name}.js`, base);
  const source = base.lastIndexOf("/src/");
  return new URL(`${name}.js`, `${base.slice(0, source)}/dist/${base.slice(source + "/src/".length)}`);
}

/**
 * Worker threads that serve requests. Threads start with the first request or with {@link WorkerPool.start}, keep the
 * process alive only while they work, and end with {@link WorkerPool.close}.
 *
 * @example
 * ```ts
 * await using pool = new WorkerPool(workerEntry("./hash-worker", import.meta.url), { data: { algorithm: "sha256" } });
 * const digest = await pool.run<string>({ path: "/etc/hosts" });
 * ```
 */
export class WorkerPool implements AsyncDisposable {
  /** Number of threads, running or not. */
  readonly size: number;
  readonly #entry: URL;
  readonly #data: unknown;
  #threads: Thread[] = [];
  #next = 0;
  #closed = false;

  constructor(entry: URL, options: WorkerPoolOptions = {}) {
    this.#entry = entry;
    this.#data = options.data;
    this.size = Math.max(1, options.size ?? defaultWorkers());
  }

  /** Whether the threads have been started. */
  get started(): boolean {
    return this.#threads.length > 0;
  }

  /** Starts the threads ahead of the first request. */
  start(): void {
    if (this.#closed) throw new ComposefsError("internal", "the worker pool is closed");
    if (this.started) return;
    if (!existsSync(this.#entry)) {
      const path = fileURLToPath(this.#entry);
      throw new ComposefsError("internal", `the worker program is missing: ${path}`, {
        path,
        hint: "build the package with `npm run build`",
      });
    }
    for (let i = 0; i < this.size; i++) this.#threads.push(this.#startThread());
  }

  /** Starts one thread more, for a caller whose own has nothing to do. */
  addThread(): void {
    this.start();
    this.#threads.push(this.#startThread());
  }

  /** The thread with the least work, for requests that must reach the same thread in order. */
  pick(): number {
    this.start();
    let best = 0;
    this.#threads.forEach((thread, i) => {
      if (thread.load < (this.#threads[best] as Thread).load) best = i;
    });
    return best;
  }

  /**
   * Sends a request and waits for its reply.
   *
   * @param cost how much work it is, in any unit that is the same for all requests; balances the threads
   * @param thread a number of {@link WorkerPool.pick}; the least loaded thread when left out
   * @throws ComposefsError what the worker's handler threw, with code, path and hint
   */
  run<T>(request: unknown, cost = 1, thread = this.pick()): Promise<T> {
    const chosen = this.#threads[thread];
    if (chosen === undefined) return Promise.reject(new ComposefsError("internal", "the worker pool is closed"));
    const id = this.#next++;
    if (chosen.pending.size === 0) chosen.worker.ref();
    chosen.load += cost;
    return new Promise<T>((resolve, reject) => {
      chosen.pending.set(id, { resolve: resolve as (value: unknown) => void, reject, cost });
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
      chosen.worker.postMessage({ id, request });
    });
  }

  /** Ends the threads; requests that were sent are carried out first. */
  async close(): Promise<void> {
    this.#closed = true;
    const threads = this.#threads;
    const pending = threads.flatMap(({ pending: requests }) => [...requests.values()]);
    await Promise.all(pending.map((request) => settled(request)));
    this.#threads = [];
    await Promise.all(threads.map(({ worker }) => worker.terminate()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #startThread(): Thread {
    const worker = new Worker(this.#entry, { workerData: this.#data });
    const thread: Thread = { worker, pending: new Map(), load: 0 };
    worker.on("message", (reply: Reply) => {
      const request = thread.pending.get(reply.id);
      if (request === undefined) return;
      thread.pending.delete(reply.id);
      thread.load -= request.cost;
      if (thread.pending.size === 0) worker.unref();
      if ("error" in reply) request.reject(revive(reply.error));
      else request.resolve(reply.value);
    });
    const fail = (error: unknown): void => {
      const requests = [...thread.pending.values()];
      thread.pending.clear();
      for (const request of requests) request.reject(error);
    };
    worker.on("error", (cause) => fail(new ComposefsError("internal", `a worker failed: ${String(cause)}`, { cause })));
    worker.on("exit", () => fail(new ComposefsError("internal", "a worker ended before its work was done")));
    worker.unref();
    return thread;
  }
}

/**
 * The worker's side: answers every request with what the handler returns, or throws. Call it once in the entry file.
 *
 * @param handler synchronous, so requests are carried out in the order in which they were sent
 */
export function serveRequests(handler: (request: unknown) => unknown): void {
  const port = parentPort;
  if (port === null) throw new ComposefsError("internal", "this file is a worker's entry, not a program");
  port.on("message", ({ id, request }: { id: number; request: unknown }) => {
    try {
      port.postMessage({ id, value: handler(request) } satisfies Reply);
    } catch (error) {
      port.postMessage({ id, error: flatten(error) } satisfies Reply);
    }
  });
}

// Wraps the callbacks of a request so that its end can be awaited without handling it.
function settled(request: Request): Promise<void> {
  return new Promise((done) => {
    const { resolve, reject } = request;
    request.resolve = (value) => {
      resolve(value);
      done();
    };
    request.reject = (error) => {
      reject(error);
      done();
    };
  });
}

function flatten(error: unknown): PlainError {
  const known =
    error instanceof ComposefsError
      ? error
      : typeof (error as NodeJS.ErrnoException | null)?.code === "string"
        ? systemError(error, "in a worker", (error as NodeJS.ErrnoException).path)
        : new ComposefsError("internal", `in a worker: ${error instanceof Error ? error.stack : String(error)}`);
  const details: ErrorDetails = {};
  if (known.path !== undefined) details.path = known.path;
  if (known.line !== undefined) details.line = known.line;
  if (known.digest !== undefined) details.digest = known.digest;
  if (known.hint !== undefined) details.hint = known.hint;
  if (known.cause !== undefined) details.cause = known.cause instanceof Error ? known.cause.message : undefined;
  return { code: known.code, message: known.message, details };
}

function revive({ code, message, details }: PlainError): ComposefsError {
  return new ComposefsError(code, message, details);
}
