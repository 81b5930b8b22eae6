// Reconstruction of a stream from its splitstream (docs/spec/splitstream.md, section 3).

import type { ObjectId } from "../bytes/algorithm.ts";
import { FsverityHasher } from "../core/fsverity.ts";
import { ComposefsError, throwIfAborted } from "../error.ts";
import type { Splitstream } from "../splitstream/read.ts";
import { isDamaged } from "./object-read.ts";
import type { ObjectStore } from "./object-store.ts";

const PIECE = 1 << 20;

/** Receives bytes in order; a piece is valid until the promise resolves. */
export type ByteSink = (bytes: Uint8Array) => void | Promise<void>;

/** Gives the original bytes of a stream; fails at the end of the first damaged object. */
export async function catStream(
  store: ObjectStore,
  stream: Splitstream,
  what: string,
  sink: ByteSink,
  signal?: AbortSignal,
): Promise<void> {
  let size = 0n;
  for await (const chunk of stream.chunks()) {
    throwIfAborted(signal);
    if (chunk.kind === "inline") {
      size += BigInt(chunk.bytes.length);
      await sink(chunk.bytes);
    } else {
      size += BigInt(await copyObject(store, chunk.id, sink, signal));
    }
  }
  if (size !== stream.size)
    throw new ComposefsError("corrupt", `${what} has ${size} bytes, but announces ${stream.size}`);
}

/**
 * Gives the content of an object, verified unless the caller does without.
 *
 * @returns its size in bytes
 */
export async function copyObject(
  store: ObjectStore,
  id: ObjectId,
  sink: ByteSink,
  signal?: AbortSignal,
  options: { verify?: boolean } = {},
): Promise<number> {
  const object = options.verify === false ? store.openUncheckedSync(id) : store.openSync(id);
  const hasher = object.verified || options.verify === false ? undefined : new FsverityHasher(store.options.algorithm);
  try {
    for (let at = 0; at < object.size; ) {
      throwIfAborted(signal);
      const bytes = object.read(at, Math.min(PIECE, object.size - at));
      if (bytes.length === 0) throw new ComposefsError("io", `object ${id} became shorter while it was read`);
      hasher?.update(bytes);
      at += bytes.length;
      await sink(bytes);
    }
    if (hasher) {
      const measured = hasher.digest();
      if (measured !== id) throw isDamaged(id, measured);
    }
    return object.size;
  } finally {
    hasher?.[Symbol.dispose]();
    object.close();
  }
}
