// Files of an image that lies in a repository, for random reads: kernels and UKIs are streamed from their objects.

import { FsverityHasher } from "../core/fsverity.ts";
import { throwIfAborted } from "../error.ts";
import { isDamaged } from "../repository/object-read.ts";
import type { Repository } from "../repository/repository.ts";
import { bytesSource, type PeSource } from "./pe/read.ts";
import type { BootFile } from "./resource.ts";

/** An open file of an image; dispose of it with `using`. */
export type StoredFile = PeSource & Disposable;

const PIECE = 1 << 20;

/**
 * Opens a file. Where the kernel does not vouch for its object, all of it is verified first.
 *
 * @throws ComposefsError `not-found` or `corrupt` for its object; `aborted`
 */
export function openStoredFile(repository: Repository, { leaf }: BootFile, signal?: AbortSignal): StoredFile {
  const { content } = leaf;
  if (content.kind === "inline") return { ...bytesSource(content.bytes), [Symbol.dispose]: () => {} };
  if (content.kind !== "external") return { ...bytesSource(new Uint8Array()), [Symbol.dispose]: () => {} };
  if (content.digest === undefined) return holes(content.size);
  const object = repository.openObject(content.digest);
  const file: StoredFile = {
    size: object.size,
    read: (position, length) => object.read(position, length),
    [Symbol.dispose]: () => object.close(),
  };
  if (object.verified) return file;
  try {
    using hasher = new FsverityHasher(repository.algorithm);
    for (let at = 0; at < object.size; at += PIECE) {
      throwIfAborted(signal);
      hasher.update(object.read(at, PIECE));
    }
    const measured = hasher.digest();
    if (measured !== content.digest) throw isDamaged(content.digest, measured);
    return file;
  } catch (error) {
    object.close();
    throw error;
  }
}

/** A file without any data, which may claim any size. */
function holes(size: number): StoredFile {
  const read = (position: number, length: number) => new Uint8Array(Math.max(0, Math.min(length, size - position)));
  return { size, read, [Symbol.dispose]: () => {} };
}
