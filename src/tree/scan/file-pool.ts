// Where the contents of scanned files go: open descriptors, in batches, to worker threads once that pays; until then this
// thread does the work (docs/spec/wasm-core.md, section 4.5). Threads of a process share descriptors, so a file is opened
// once, and is the same file whatever happens to its name.

import type { ObjectId } from "../../bytes/algorithm.ts";
import { ComposefsError, systemError, throwIfAborted } from "../../error.ts";
import { type FileStat, scanCalls } from "../../runtime/scan-calls.ts";
import { defaultWorkers, WorkerPool } from "../../runtime/workers.ts";
import { changedError } from "./content.ts";

/** Work from which starting threads pays (35 to 50 ms each on Node 20). */
const WORTH_BYTES = 48 << 20;
const WORTH_FILES = 2000;

/** A batch is sent when it has so many files or bytes. */
const BATCH_FILES = 32;
const BATCH_BYTES = 1 << 20;

/** Descriptors that may wait for the workers; with those of directories far below the usual limit of 1024. */
const IN_FLIGHT_FILES = 256;

/**
 * Files from this size on are always left to other threads, for this one could not notice an interruption meanwhile. One more
 * thread is started for them, since this one may have nothing else to do.
 */
const LARGE = 64 << 20;

/** Large files that may wait. */
const LARGE_IN_FLIGHT = 32;

/** A file costs this many bytes' worth of hashing for being read and closed, for balancing the threads. */
const FILE_COST = 16 << 10;

/** An open regular file. Whoever takes it closes it. */
export interface OpenFile {
  readonly fd: number;
  readonly stat: FileStat;
  /** What it is called in messages. */
  readonly path: () => string;
}

/** What is done with each file: on this thread, and by a worker that is told the same. */
export interface FileWork {
  /** Digests of an open file of that size, as many as the scan has algorithms. Does not close it. */
  readonly here: (fd: number, size: number) => ObjectId[];
  /** Entry of the worker, which calls `serveFiles`. */
  readonly entry: URL;
  /** Plain data that the worker is given. */
  readonly data: unknown;
}

/** A batch of files for a worker. */
export interface FileBatch {
  readonly fds: readonly number[];
  readonly sizes: readonly number[];
  /** See {@link timeStamp}. */
  readonly stamps: readonly string[];
  /** Shared; not 0 when nobody wants the results any more. */
  readonly cancelled: Int32Array;
}

/** Digests of each file of a batch, as far as the worker came; what stopped it. */
export interface BatchResult {
  readonly digests: readonly (readonly ObjectId[])[];
  readonly failure?: { readonly code: ComposefsError["code"]; readonly message: string; readonly hint?: string };
}

/** What changes with a file's content. */
export function timeStamp({ size, mtimeSec, mtimeNsec, ctimeSec, ctimeNsec }: FileStat): string {
  return `${size} ${mtimeSec}.${mtimeNsec} ${ctimeSec}.${ctimeNsec}`;
}

type Done = (digests: readonly ObjectId[]) => void;

interface Waiting {
  readonly file: OpenFile;
  readonly done: Done;
}

/** How a {@link FilePool} works. */
export interface FilePoolOptions {
  /** Threads besides this one; 0 for none. One less than processors, at least 1, when left out. */
  readonly workers?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Takes open files and gives back their digests. Make one per scan, and dispose of it at the end. */
export class FilePool implements AsyncDisposable {
  readonly #work: FileWork;
  readonly #pool: WorkerPool;
  /** Whether small files go to the workers, too. */
  readonly #shares: boolean;
  readonly #signal: AbortSignal | undefined;
  readonly #cancelled = new Int32Array(new SharedArrayBuffer(4));
  readonly #cancel = () => void Atomics.store(this.#cancelled, 0, 1);
  #active = false;
  #largeInFlight = 0;
  #largeStarted = false;
  #files = 0;
  #bytes = 0;
  #batch: Waiting[] = [];
  #batchBytes = 0;
  #inFlight = 0;
  #failure: unknown;
  readonly #sent = new Set<Promise<void>>();

  constructor(work: FileWork, options: FilePoolOptions = {}) {
    this.#work = work;
    this.#signal = options.signal;
    const size = options.workers ?? Math.max(1, defaultWorkers() - 1);
    this.#shares = size > 0;
    this.#pool = new WorkerPool(work.entry, { size, data: work.data });
    this.#signal?.addEventListener("abort", this.#cancel);
  }

  /** Whether the caller should wait for {@link room} before it adds a file. */
  get isFull(): boolean {
    return this.#largeInFlight >= (this.#shares ? LARGE_IN_FLIGHT : 1);
  }

  /** Resolves when there is room. */
  async room(): Promise<void> {
    while (this.isFull) {
      await Promise.race(this.#sent);
      this.check();
    }
  }

  /** Takes a file; `done` is called at once or later, and before {@link finish} resolves. */
  add(file: OpenFile, done: Done): void {
    const size = Number(file.stat.size);
    if (size >= LARGE) {
      this.#addLarge(file, done);
      return;
    }
    this.#account(size);
    if (!this.#active || this.#inFlight >= IN_FLIGHT_FILES) {
      done(digestHere(this.#work, file));
      return;
    }
    this.#batch.push({ file, done });
    this.#batchBytes += size;
    if (this.#batch.length >= BATCH_FILES || this.#batchBytes >= BATCH_BYTES) this.#send();
  }

  /** Throws what has failed so far. Between files, also lets results come in. */
  check(): void {
    throwIfAborted(this.#signal);
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Resolves when all files are done. */
  async finish(): Promise<void> {
    this.#send();
    // This thread helps with nothing here: batches are small, and the end is near.
    while (this.#sent.size > 0) await Promise.all(this.#sent);
    this.check();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { file } of this.#batch) scanCalls().close(file.fd);
    this.#batch = [];
    this.#signal?.removeEventListener("abort", this.#cancel);
    this.#cancel();
    await this.#pool.close();
  }

  #addLarge(file: OpenFile, done: Done): void {
    if (!this.#largeStarted) {
      this.#largeStarted = true;
      if (this.#shares) this.#pool.addThread();
    }
    this.#largeInFlight++;
    const finished = () => void this.#largeInFlight--;
    this.#track(this.#run([{ file, done }], Number(file.stat.size)).finally(finished));
  }

  #account(size: number): void {
    this.#files++;
    this.#bytes += size;
    if (this.#active || !this.#shares) return;
    if (this.#bytes < WORTH_BYTES && this.#files < WORTH_FILES) return;
    this.#pool.start();
    this.#active = true;
  }

  #send(): void {
    const batch = this.#batch;
    if (batch.length === 0) return;
    const cost = this.#batchBytes + FILE_COST * batch.length;
    this.#batch = [];
    this.#batchBytes = 0;
    this.#inFlight += batch.length;
    const results = this.#run(batch, cost).finally(() => void (this.#inFlight -= batch.length));
    this.#track(results);
  }

  #track(results: Promise<void>): void {
    const sent = results.then(
      () => void this.#sent.delete(sent),
      (error: unknown) => {
        this.#sent.delete(sent);
        this.#failure ??= error;
      },
    );
    this.#sent.add(sent);
  }

  async #run(batch: readonly Waiting[], cost: number): Promise<void> {
    const request: FileBatch = {
      fds: batch.map(({ file }) => file.fd),
      sizes: batch.map(({ file }) => Number(file.stat.size)),
      stamps: batch.map(({ file }) => timeStamp(file.stat)),
      cancelled: this.#cancelled,
    };
    const { digests, failure } = await this.#pool.run<BatchResult>(request, cost);
    digests.forEach((found, i) => batch[i]?.done(found));
    if (failure === undefined) return;
    const { code, message, hint } = failure;
    const path = batch[digests.length]?.file.path() ?? "";
    throw new ComposefsError(code, `${path}: ${message}`, { path, ...(hint === undefined ? {} : { hint }) });
  }
}

/** Does the work of one file on this thread and closes it. */
function digestHere(work: FileWork, { fd, stat, path }: OpenFile): ObjectId[] {
  const calls = scanCalls();
  try {
    const digests = work.here(fd, Number(stat.size));
    if (timeStamp(calls.stat(fd)) !== timeStamp(stat)) throw changedError();
    return digests;
  } catch (error) {
    throw locateError(error, path());
  } finally {
    calls.close(fd);
  }
}

/** The error with the file's path in front. */
export function locateError(error: unknown, path: string): ComposefsError {
  const { code, message, hint, cause } = systemError(error, path, path);
  const details = { path, ...(hint === undefined ? {} : { hint }), ...(cause === undefined ? {} : { cause }) };
  return new ComposefsError(code, error instanceof ComposefsError ? `${path}: ${message}` : message, details);
}
