// stdout: data and nothing else, with back-pressure. A reader that goes away (`| head`) ends the program in silence; any
// other failure to write is a failure of the command.

/** Where a command writes its result. */
export class Output {
  readonly #stream: NodeJS.WriteStream;
  readonly #signal: AbortSignal;
  #failure: Error | undefined;
  #failed: ((error: Error) => void) | undefined;

  constructor(stream: NodeJS.WriteStream, signal: AbortSignal) {
    this.#stream = stream;
    this.#signal = signal;
    stream.on("error", (error: NodeJS.ErrnoException) => this.#fail(error));
  }

  /** Whether a person reads along. */
  get isTerminal(): boolean {
    return this.#stream.isTTY;
  }

  /**
   * Writes bytes or text; resolves when more may be written, and for bytes when their buffer may be used again.
   * Fails with the signal's reason once that has fired.
   */
  async write(data: Uint8Array | string): Promise<void> {
    this.#signal.throwIfAborted();
    if (this.#failure !== undefined) throw this.#failure;
    await this.#outcome((done) => {
      if (typeof data !== "string") this.#stream.write(data, done);
      else if (this.#stream.write(data)) done();
      else this.#stream.once("drain", done);
    });
  }

  /** One line of text. */
  async line(text: string): Promise<void> {
    await this.write(`${text}\n`);
  }

  /** A JSON document. */
  async json(value: unknown): Promise<void> {
    await this.write(`${JSON.stringify(value, jsonValue, 2)}\n`);
  }

  /** Resolves when all that was written has left the process. */
  async flush(): Promise<void> {
    if (this.#failure !== undefined) return;
    await this.#outcome((done) => {
      this.#stream.write("", done);
    });
  }

  async #outcome(start: (done: (error?: Error | null) => void) => void): Promise<void> {
    try {
      await new Promise<void>((resolve, reject) => {
        this.#failed = reject;
        start((error) => (error ? reject(error) : resolve()));
      });
    } catch (error) {
      // Some runtimes throw where others report an event.
      throw this.#fail(error as NodeJS.ErrnoException);
    } finally {
      this.#failed = undefined;
    }
  }

  #fail(error: NodeJS.ErrnoException): Error {
    if (error.code === "EPIPE") process.exit(0);
    this.#failure ??= outputError("writing the result", error);
    this.#failed?.(this.#failure);
    return this.#failure;
  }
}

/** The result could not be written. */
export class OutputError extends Error {
  override readonly name = "OutputError";
  readonly hint: string | undefined;

  constructor(message: string, details: { hint?: string | undefined; cause?: unknown } = {}) {
    super(message, { cause: details.cause });
    this.hint = details.hint;
  }
}

/** The failure of a system call that writes a result. */
export function outputError(action: string, error: NodeJS.ErrnoException, more = ""): OutputError {
  const full = error.code === "ENOSPC" || error.code === "EDQUOT";
  const hint = full ? `free some space, or choose another place${more}` : undefined;
  return new OutputError(`${action}: ${reason(error)}`, { hint, cause: error });
}

// "ENOSPC: no space left on device, write" on Node and Bun, "No space left on device (os error 28)" on Deno.
function reason(error: NodeJS.ErrnoException): string {
  const text = error.message.replace(/^[A-Z0-9]+: /, "").replace(/, \w+$| \(os error \d+\)$/, "");
  return text.charAt(0).toLowerCase() + text.slice(1);
}

// Sizes may be bigint; JSON numbers hold them exactly up to 2^53, beyond that the digits matter more than the type.
function jsonValue(_key: string, value: unknown): unknown {
  if (typeof value === "bigint") return value <= Number.MAX_SAFE_INTEGER ? Number(value) : value.toString();
  if (value instanceof Map) return Object.fromEntries(value);
  return value;
}
