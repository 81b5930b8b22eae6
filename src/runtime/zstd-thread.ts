// Decoding of zstd in a thread of its own, for runtimes whose decoder would take the time of the main thread: it hashes and
// splits the archive meanwhile. Who wants the bytes says how many it has taken, so that both sides hold a few MiB at most.

import { Worker } from "node:worker_threads";
import { ComposefsError } from "../error.ts";
import { type PlainError, reviveError, workerEntry } from "./workers.ts";

/** What the thread is told: the next bytes, `undefined` at their end; or that one piece of its output was taken. */
export type ZstdRequest = { chunk: Uint8Array | undefined } | "taken";

/** What it answers: that it can take more bytes, the next piece of output (the first `length` bytes), its end, or an error. */
export type ZstdReply = "more" | { memory: SharedArrayBuffer; length: number } | "end" | { error: PlainError };

/** What it is started with. */
export interface ZstdWorkerData {
  /** What is being decoded, for messages. */
  what: string;
  /** For tests: do not use the runtime's own decoder. */
  portable: boolean;
}

/**
 * As `zstdDecompressFrames`, in a thread. The source is read by the caller's thread, a few chunks ahead. A piece is
 * valid until the next one is asked for.
 *
 * @throws ComposefsError as `zstdDecompressFrames`; what the source throws
 */
export async function* zstdDecompressInThread(
  source: AsyncIterable<Uint8Array>,
  data: ZstdWorkerData,
): AsyncGenerator<Uint8Array, void, undefined> {
  const worker = new Worker(workerEntry("./zstd-worker", import.meta.url), {
    workerData: data,
    // Its memory is buffers, outside of these limits; without them the heap of the thread grows for nothing.
    resourceLimits: { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 128 },
  });
  const replies: (ZstdReply | Error)[] = [];
  let wake = (): void => undefined;
  const take = (reply: ZstdReply | Error): void => {
    replies.push(reply);
    wake();
  };
  worker.on("message", take);
  worker.on("error", (cause) => take(new ComposefsError("internal", `a worker failed: ${String(cause)}`, { cause })));
  worker.on("exit", () => take(new ComposefsError("internal", "a worker ended before its work was done")));
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
  const send = (request: ZstdRequest): void => worker.postMessage(request);
  const chunks = source[Symbol.asyncIterator]();
  try {
    for (;;) {
      const reply = replies.shift();
      if (reply === undefined) {
        await new Promise<void>((resolve) => (wake = resolve));
        continue;
      }
      if (reply === "end") return;
      if (reply === "more") {
        const { done, value } = await chunks.next();
        send({ chunk: done === true ? undefined : value });
      } else if (reply instanceof Error) {
        throw reply;
      } else if ("error" in reply) {
        throw reviveError(reply.error);
      } else {
        yield new Uint8Array(reply.memory, 0, reply.length);
        send("taken");
      }
    }
  } finally {
    await worker.terminate();
  }
}
