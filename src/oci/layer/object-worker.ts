// The worker thread that hashes and writes objects; the other side of object-pool.ts (docs/spec/wasm-core.md, 6.4).

import { workerData } from "node:worker_threads";
import {
  type ObjectSink,
  ObjectStore,
  type ObjectStoreOptions,
  type PutResult,
  type SinkResult,
} from "../../repository/object-store.ts";
import { serveRequests } from "../../runtime/workers.ts";
import { putAll } from "./object-pool.ts";

/** What a worker is asked to do; buffers are shared memory. */
export type ObjectRequest =
  /** Store the contents that lie back to back in the buffer. */
  | { kind: "put"; buffer: Uint8Array; lengths: readonly number[] }
  /** Append to the object of that number, which begins with its first piece. */
  | { kind: "write"; sink: number; buffer: Uint8Array; length: number }
  | { kind: "commit"; sink: number }
  | { kind: "abort"; sink: number };

/** Replies to `put` and `commit`; the others have none. */
export type ObjectReply = PutResult[] | SinkResult | undefined;

const store = new ObjectStore(workerData as ObjectStoreOptions);
const sinks = new Map<number, ObjectSink>();

serveRequests((message): ObjectReply => {
  const request = message as ObjectRequest;
  switch (request.kind) {
    case "put":
      return putAll(store, request.buffer, request.lengths);
    case "write":
      take(request.sink).write(request.buffer.subarray(0, request.length));
      return undefined;
    case "commit": {
      const sink = take(request.sink);
      sinks.delete(request.sink);
      return sink.commit();
    }
    default:
      sinks.get(request.sink)?.abort();
      sinks.delete(request.sink);
      return undefined;
  }
});

function take(number: number): ObjectSink {
  let sink = sinks.get(number);
  if (sink === undefined) {
    sink = store.newObjectSync();
    sinks.set(number, sink);
  }
  return sink;
}
