// Reads what objects refer to. Every stream and image is verified first: a damaged table would make live objects look dead.

import type { ObjectId } from "../../bytes/algorithm.ts";
import { throwIfAborted } from "../../error.ts";
import { looksLikeSplitstream, readSplitstream } from "../../splitstream/read.ts";
import { imageObjectLines } from "../../image/objects.ts";
import { withStoredImage } from "../image-file.ts";
import type { ObjectStore } from "../object-store.ts";
import { storedStreamReader } from "../stream-file.ts";
import type { ReferenceReader } from "./reach.ts";

/** A reader of references in a store. */
export function referenceReader(store: ObjectStore, signal?: AbortSignal): ReferenceReader {
  const { algorithm } = store.options;
  return {
    async stream(id: ObjectId) {
      throwIfAborted(signal);
      return readSplitstream(storedStreamReader(store, id), algorithm, "its splitstream");
    },
    async image(id: ObjectId, sink: (lines: Uint8Array) => void) {
      throwIfAborted(signal);
      withStoredImage(store, id, (fd, options) => imageObjectLines(fd, options, sink));
    },
    looksLikeStream(id: ObjectId): boolean {
      const object = store.openSync(id);
      try {
        return looksLikeSplitstream(object.read(0, 32));
      } finally {
        object.close();
      }
    },
  };
}
