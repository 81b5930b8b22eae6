// Bodies of an image's files out of the object store, for what copies them into a boot directory or looks into them.

import { displayBytes } from "../bytes/byte-string.ts";
import { FsverityHasher } from "../core/fsverity.ts";
import { ComposefsError, throwIfAborted } from "../error.ts";
import { isDamaged } from "../repository/object-read.ts";
import type { Repository } from "../repository/repository.ts";
import type { OpenBootFile } from "./change/carry-out.ts";
import { bytesSource, type PeSource } from "./pe/read.ts";
import type { BootFile } from "./resource.ts";

const CHUNK = 1 << 20;

/** An open file of an image: in pieces, verified at the end, or by position as the PE reader wants it. */
export interface ImageFile extends OpenBootFile, PeSource {
  /** Whether what is read by position is verified, because the kernel vouches for the object. */
  readonly verified: boolean;
}

/**
 * Opens a file of an image, inline or in the repository.
 *
 * @throws ComposefsError `not-found` or `corrupt` for the object; `invalid` for what is no regular file
 */
export function openImageFile(repository: Repository, { path, leaf: { content } }: BootFile): ImageFile {
  if (content.kind === "inline") {
    const source = bytesSource(content.bytes);
    return { ...source, verified: true, chunks: () => [content.bytes], [Symbol.dispose]: () => undefined };
  }
  const shown = displayBytes(path);
  if (content.kind !== "external")
    throw new ComposefsError("invalid", `${shown} is not a regular file`, { path: shown, reason: "not-regular" });
  const { digest, size } = content;
  if (digest === undefined)
    throw new ComposefsError("invalid", `${shown} has no data, only holes`, {
      path: shown,
      hint: "the image was made with a damaged kernel",
    });
  const object = repository.openObject(digest);
  if (object.size !== size) {
    object.close();
    throw new ComposefsError("corrupt", `${shown} has ${size} bytes in the image, but its object ${object.size}`, {
      path: shown,
      digest,
      hint: "run `composefs fsck`, and pull the image again",
    });
  }
  return {
    size,
    verified: object.verified,
    read: (position, length) => object.read(position, length),
    *chunks() {
      using hasher = new FsverityHasher(repository.algorithm);
      for (let at = 0; at < size; ) {
        const chunk = object.read(at, Math.min(CHUNK, size - at));
        if (chunk.length === 0) throw new ComposefsError("corrupt", `object ${digest} became shorter`, { digest });
        if (!object.verified) hasher.update(chunk);
        at += chunk.length;
        yield chunk;
      }
      if (object.verified) return;
      const measured = hasher.digest();
      if (measured !== digest) throw isDamaged(digest, measured);
    },
    [Symbol.dispose]: () => object.close(),
  };
}

/**
 * The same for who reads by position alone: where the kernel does not vouch for the object, all of it is verified first.
 *
 * @throws ComposefsError as {@link openImageFile}, and `aborted`
 */
export function openVerifiedFile(repository: Repository, file: BootFile, signal?: AbortSignal): ImageFile {
  const opened = openImageFile(repository, file);
  try {
    if (!opened.verified) for (const _ of opened.chunks()) throwIfAborted(signal);
    return opened;
  } catch (error) {
    opened[Symbol.dispose]();
    throw error;
  }
}
