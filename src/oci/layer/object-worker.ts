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

/**
 * What a worker is asked to do. The memory is sent as such and never as an array over it: Deno 2.9 walks the elements
 * of an array, 1.2 s for each message with 4 MiB.
 */
export type ObjectRequest =
  /** Store the contents that lie back to back in the memory. */
  | { kind: "put"; memory: SharedArrayBuffer; lengths: readonly number[] }
  /** Append to the object of that number, which begins with its first piece. */
  | { kind: "write"; sink: number; memory: SharedArrayBuffer; length: number }
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
      return putAll(store, new Uint8Array(request.memory), request.lengths);
    case "write":
      take(request.sink).write(new Uint8Array(request.memory, 0, request.length));
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
