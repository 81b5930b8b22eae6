// Checks the images: that they are what their name says, are valid, and that what they refer to is there.

import type { ObjectId } from "../../bytes/algorithm.ts";
import { fsverityDigest } from "../../core/fsverity.ts";
import { ComposefsError, throwIfAborted } from "../../error.ts";
import { imageObjectLines } from "../../image/objects.ts";
import { ObjectMarks } from "../gc/object-set.ts";
import { isDamaged } from "../object-read.ts";
import type { GoodEntry } from "./links.ts";
import type { StreamsContext } from "./streams.ts";

/** Checks images one after the other. */
export async function checkImages(entries: readonly GoodEntry[], context: StreamsContext): Promise<void> {
  const { objects, findings, signal } = context;
  for (const { name, path, id } of entries) {
    throwIfAborted(signal);
    let corrupted = false;
    if (name !== id) {
      findings.error("image-misnamed", path, { id, detail: `leads to the object ${id}` });
      corrupted = true;
    }
    try {
      const needed = new ObjectMarks(objects);
      markNeeded(id, needed, context);
      for (const missing of [...needed.missing].toSorted()) {
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

function markNeeded(id: ObjectId, needed: ObjectMarks, { store, metadataOnly }: StreamsContext): void {
  const { algorithm } = store.options;
  const object = store.openUncheckedSync(id);
  const verify = (bytes: Uint8Array) => {
    const measured = fsverityDigest(algorithm, bytes);
    if (measured !== id) throw isDamaged(id, measured);
  };
  try {
    // In a full check the file is hashed with all others.
    imageObjectLines(object.fd, { algorithm, ...(metadataOnly ? { verify } : {}) }, (lines) => needed.addLines(lines));
  } finally {
    object.close();
  }
}
