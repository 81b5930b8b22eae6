// Where an image is written to: a layout, an archive, a registry. Blobs first, the manifest that makes them an image last.

import type { BlobContent, BlobToPush } from "./registry/push.ts";
import type { Descriptor } from "./manifest.ts";
import type { Platform } from "./platform.ts";

/** Something that images are written into. */
export interface ImageTarget {
  /**
   * Takes a blob whose digest is known; what is there already is not written again.
   *
   * @throws ComposefsError `digest-mismatch` when the content is another one
   */
  put(blob: BlobToPush, content: BlobContent, signal?: AbortSignal): Promise<void>;
  /** Takes a blob whose digest is only known at its end. */
  putNew(content: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<BlobToPush>;
  /** Makes the image known, under the name that the target has. */
  publish(bytes: Uint8Array, mediaType: string, platform: Platform, signal?: AbortSignal): Promise<Descriptor>;
}
