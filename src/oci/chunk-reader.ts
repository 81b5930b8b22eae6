// Pulls bytes from a stream of chunks with look-ahead and push-back, for formats whose parts end inside a chunk.

/** Reads a stream of chunks; no copy is made except where {@link ChunkReader.peek} has to join chunks. */
export class ChunkReader {
  readonly #source: AsyncIterator<Uint8Array>;
  readonly #held: Uint8Array[] = [];
  #ended = false;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** The next non-empty chunk, `undefined` at the end. */
  async next(): Promise<Uint8Array | undefined> {
    const held = this.#held.shift();
    if (held !== undefined) return held;
    while (!this.#ended) {
      const { done, value } = await this.#source.next();
      if (done === true) this.#ended = true;
      else if (value.length > 0) return value;
    }
    return undefined;
  }

  /** Gives bytes back: they come next. */
  unread(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#held.unshift(bytes);
  }

  /** At least `count` of the next bytes without taking them; fewer only at the end. */
  async peek(count: number): Promise<Uint8Array> {
    const parts: Uint8Array[] = [];
    let length = 0;
    while (length < count) {
      const chunk = await this.next();
      if (chunk === undefined) break;
      parts.push(chunk);
      length += chunk.length;
    }
    const joined = parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts, length);
    this.unread(joined);
    return joined;
  }

  /** Drops `count` bytes that {@link ChunkReader.peek} has shown. */
  skip(count: number): void {
    const chunk = this.#held.shift();
    if (chunk !== undefined) this.unread(chunk.subarray(count));
  }

  /** Reads to the end and drops everything. */
  async drain(): Promise<void> {
    while ((await this.next()) !== undefined);
  }

  /** The rest as a stream. */
  async *rest(): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      const chunk = await this.next();
      if (chunk === undefined) return;
      yield chunk;
    }
  }

  /** Tells the source that no more will be read. */
  async close(): Promise<void> {
    this.#ended = true;
    this.#held.length = 0;
    await this.#source.return?.();
  }
}
