// Splitstream files in the object store: verified before anything in them is believed.

import type { ObjectId } from "../bytes/algorithm.ts";
import { fsverityDigest, fsverityFile } from "../core/fsverity.ts";
import type { PositionedReader } from "../splitstream/read.ts";
import { isDamaged } from "./object-read.ts";
import type { ObjectStore } from "./object-store.ts";

const IN_MEMORY = 4 << 20;

/**
 * A reader of a splitstream's object, which is verified whole first. Small files are kept in memory; large ones are
 * opened anew for each read, so nothing has to be closed.
 */
export function storedStreamReader(store: ObjectStore, id: ObjectId): PositionedReader {
  const { algorithm } = store.options;
  const object = store.openSync(id);
  try {
    const bytes = object.size <= IN_MEMORY ? object.read(0, object.size) : undefined;
    if (!object.verified) {
      const measured = bytes ? fsverityDigest(algorithm, bytes) : fsverityFile(algorithm, object.fd, object.size);
      if (measured !== id) throw isDamaged(id, measured);
    }
    if (bytes) return { size: bytes.length, read: (position, length) => bytes.subarray(position, position + length) };
  } finally {
    object.close();
  }
  return {
    size: object.size,
    read(position, length) {
      const again = store.openSync(id);
      try {
        return again.read(position, length);
      } finally {
        again.close();
      }
    },
  };
}
