// The thread that decodes zstd; the other side of zstd-thread.ts.

import { parentPort, workerData } from "node:worker_threads";
import { flattenError } from "./workers.ts";
import type { ZstdReply, ZstdRequest, ZstdWorkerData } from "./zstd-thread.ts";
import { zstdDecompressFrames } from "./zstd-decode.ts";

/** Chunks of input that are asked for ahead, and pieces of output that may be under way. */
const AHEAD = 2;
const PIECES = 3;

const { what, portable } = workerData as ZstdWorkerData;
const port = parentPort as NonNullable<typeof parentPort>;
const reply = (answer: ZstdReply): void => port.postMessage(answer);

// Memory that both threads see, used in turns: buffers that are handed over would be freed only when their new owner's
// heap is next cleaned, tens of megabytes later.
const slots: SharedArrayBuffer[] = [];
let slot = 0;
function allocate(size: number): Uint8Array {
  let memory = slots[slot];
  if (memory === undefined || memory.byteLength < size) slots[slot] = memory = new SharedArrayBuffer(size);
  return new Uint8Array(memory, 0, size);
}

const chunks: (Uint8Array | undefined)[] = [];
let untaken = 0;
const isFull = (): boolean => untaken >= PIECES;
let wake = (): void => undefined;
const change = (): Promise<void> => new Promise((resolve) => (wake = resolve));

port.on("message", (request: ZstdRequest) => {
  if (request === "taken") untaken--;
  else chunks.push(request.chunk);
  wake();
});

async function* source(): AsyncGenerator<Uint8Array, void, undefined> {
  for (let asked = 0; asked < AHEAD; asked++) reply("more");
  for (;;) {
    while (chunks.length === 0) await change();
    const chunk = chunks.shift();
    if (chunk === undefined) return;
    reply("more");
    yield chunk;
  }
}

try {
  for await (const piece of zstdDecompressFrames(source(), { what, portable, allocate })) {
    // What the runtime's own decoder gives, or a view of the input, lies elsewhere.
    if (piece.buffer !== slots[slot]) allocate(piece.length).set(piece);
    untaken++;
    reply({ memory: slots[slot] as SharedArrayBuffer, length: piece.length });
    slot = (slot + 1) % PIECES;
    while (isFull()) await change();
  }
  reply("end");
} catch (error) {
  reply({ error: flattenError(error) });
}
port.close();
