// Checks the images: that they are what their name says, can be parsed, and that what they refer to is there.

import type { ObjectId } from "../../bytes/algorithm.ts";
import { fsverityDigest } from "../../core/fsverity.ts";
import { ComposefsError, throwIfAborted } from "../../error.ts";
import { imageObjectList } from "../../image/object-list.ts";
import { MAX_IMAGE_BYTES } from "../image-objects.ts";
import type { GoodEntry } from "./links.ts";
import type { StreamsContext } from "./streams.ts";

/** Checks images one after the other. */
export async function checkImages(entries: readonly GoodEntry[], context: StreamsContext): Promise<void> {
  const { store, objects, findings, metadataOnly, signal } = context;
  const { algorithm } = store.options;
  for (const { name, path, id } of entries) {
    throwIfAborted(signal);
    let corrupted = false;
    if (name !== id) {
      findings.error("image-misnamed", path, { id, detail: `leads to the object ${id}` });
      corrupted = true;
    }
    try {
      const image = readImage(store.openUncheckedSync(id));
      const measured = metadataOnly ? fsverityDigest(algorithm, image) : id;
      if (measured !== id) throw new ComposefsError("corrupt", `its object is damaged: it has the digest ${measured}`);
      for (const missing of missingObjects(image, algorithm, objects)) {
        findings.error("image-missing-object", path, { id: missing });
        findings.counters.missing_objects++;
      }
    } catch (error) {
      if (!(error instanceof ComposefsError)) throw error;
      findings.error("image-invalid", path, { detail: error.message });
      corrupted = true;
    }
    if (corrupted) findings.counters.images_corrupted++;
    // Lets signals and the other checks through.
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function missingObjects(image: Uint8Array, algorithm: "sha256" | "sha512", objects: ReadonlySet<ObjectId>): ObjectId[] {
  return imageObjectList(image, algorithm).filter((id) => !objects.has(id));
}

function readImage(object: { size: number; read(position: number, length: number): Uint8Array; close(): void }) {
  try {
    if (object.size > MAX_IMAGE_BYTES)
      throw new ComposefsError("limit", `it has ${object.size} bytes, more than any image has`);
    return object.read(0, object.size);
  } finally {
    object.close();
  }
}
