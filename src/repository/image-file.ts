// Images that are stored as objects, handed to the readers of images without a copy (docs/spec/repository.md, section 3).

import type { ObjectId } from "../bytes/algorithm.ts";
import { fsverityDigest } from "../core/fsverity.ts";
import type { ImageObjectsOptions } from "../image/objects.ts";
import { isDamaged } from "./object-read.ts";
import type { ObjectStore } from "./object-store.ts";

/**
 * Opens a stored image for the functions of `src/image` that take a descriptor and options, and closes it afterwards. Where
 * the kernel does not vouch for the file, the very bytes that are read are verified before anything is made of them.
 *
 * @throws ComposefsError `not-found` or `corrupt`, and what `use` throws
 */
export function withStoredImage<T>(
  store: ObjectStore,
  id: ObjectId,
  use: (fd: number, options: ImageObjectsOptions) => T,
): T {
  const { algorithm } = store.options;
  const object = store.openSync(id);
  try {
    if (object.verified) return use(object.fd, { algorithm });
    const verify = (bytes: Uint8Array) => {
      const measured = fsverityDigest(algorithm, bytes);
      if (measured !== id) throw isDamaged(id, measured);
    };
    return use(object.fd, { algorithm, verify });
  } finally {
    object.close();
  }
}
