// The helper that reads files as root of a user namespace, the other side of namespace-reader.ts: a program of its own, started with the
// directory of a layer. Names come on standard input, contents go to standard output; the end of the input ends it.
//
// Request: u32 length, name. Reply: 0, u64 size, content; or 1, u32 length, JSON with reason and message. All little endian.

import { closeSync, readSync, writeSync } from "node:fs";

import { ComposefsError } from "../../../error.ts";
import { DiffFiles, nameParts } from "./diff-files.ts";

const IN = 0;
const OUT = 1;
const MAX_NAME = 1 << 20;

const [, , directory = ""] = process.argv;
const buffer = Buffer.alloc(1 << 20);
using files = new DiffFiles(directory);

for (let header = take(4); header !== undefined; header = take(4)) {
  const length = header.readUInt32LE();
  const name = length > MAX_NAME ? undefined : take(length);
  if (name === undefined) break;
  answer(name.toString("latin1"));
}

function answer(name: string): void {
  let file: ReturnType<DiffFiles["open"]>;
  try {
    const parts = nameParts(name);
    if (parts === undefined) throw new ComposefsError("invalid", "no name of a file", { reason: "name" });
    file = files.open(parts);
  } catch (error) {
    const { message, reason = "permission" } = error as ComposefsError;
    const text = Buffer.from(JSON.stringify({ reason, message }));
    const reply = Buffer.alloc(5);
    reply[0] = 1;
    reply.writeUInt32LE(text.length, 1);
    put(Buffer.concat([reply, text]));
    return;
  }
  try {
    const reply = Buffer.alloc(9);
    reply.writeBigUInt64LE(BigInt(file.size), 1);
    put(reply);
    for (let at = 0; at < file.size; ) {
      const count = readSync(file.fd, buffer, 0, Math.min(buffer.length, file.size - at), at);
      // It became shorter: what was promised cannot be sent any more.
      if (count === 0) process.exit(1);
      put(buffer.subarray(0, count));
      at += count;
    }
  } finally {
    closeSync(file.fd);
  }
}

/** Exactly that many bytes of the input; undefined at its end. */
function take(count: number): Buffer | undefined {
  const bytes = Buffer.alloc(count);
  for (let at = 0; at < count; ) {
    const got = retry(() => readSync(IN, bytes, at, count - at, null));
    if (got === 0) return undefined;
    at += got;
  }
  return bytes;
}

function put(bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += retry(() => writeSync(OUT, bytes, at, bytes.length - at));
}

/** Pipes can be in non-blocking mode. */
function retry(call: () => number): number {
  for (;;) {
    try {
      return call();
    } catch (error) {
      const { code } = error as { code?: string };
      if (code === "EPIPE") process.exit(0);
      if (code === "EOF") return 0;
      if (code !== "EAGAIN") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}
