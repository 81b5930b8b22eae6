// Digests of external files. Each file brings its own; when the image is laid out, equal ones become one (share.ts), so
// that the metacopy and redirect xattrs of an object that several files share go into the shared table.

import { Arena } from "./arena";

/** A digest; the raw bytes lie behind the object. */
@unmanaged
export class Digest {
  /** As metacopy value: 0 not used, 1 used by one inode, else the shared Pair. */
  metacopy: usize;
  /** The same for its object path as redirect value. */
  redirect: usize;
}

/** Where the raw bytes are. */
@inline
export function digestBytes(digest: Digest): usize {
  return changetype<usize>(digest) + offsetof<Digest>();
}

/** Size of a Digest with its bytes. */
@inline
export function digestObjectSize(digestSize: u32): usize {
  return offsetof<Digest>() + digestSize;
}

/** A Digest with these raw bytes; none at the memory limit. */
export function newDigest(arena: Arena, bytes: usize, digestSize: u32): Digest {
  const at = arena.alloc(digestObjectSize(digestSize));
  if (at != 0) memory.copy(digestBytes(changetype<Digest>(at)), bytes, digestSize);
  return changetype<Digest>(at);
}
