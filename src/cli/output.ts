// stdout: data and nothing else, with back-pressure. A reader that goes away (`| head`) ends the program in silence.

/** Where a command writes its result. */
export class Output {
  readonly #stream: NodeJS.WriteStream;
  readonly #signal: AbortSignal;

  constructor(stream: NodeJS.WriteStream, signal: AbortSignal) {
    this.#stream = stream;
    this.#signal = signal;
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
    if (typeof data !== "string") {
      await new Promise<void>((resolve) => {
        this.#stream.write(data, () => resolve());
      });
    } else if (!this.#stream.write(data)) {
      await new Promise<void>((resolve) => {
        this.#stream.once("drain", resolve);
      });
    }
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
    await new Promise<void>((resolve) => {
      this.#stream.write("", () => resolve());
    });
  }
}

// Sizes may be bigint; JSON numbers hold them exactly up to 2^53, beyond that the digits matter more than the type.
function jsonValue(_key: string, value: unknown): unknown {
  if (typeof value === "bigint") return value <= Number.MAX_SAFE_INTEGER ? Number(value) : value.toString();
  if (value instanceof Map) return Object.fromEntries(value);
  return value;
}
