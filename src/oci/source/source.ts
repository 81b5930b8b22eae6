// The one interface behind which every transport hides (docs/spec/oci.md, section 2).

import type { Descriptor } from "../manifest.ts";
import type { Platform } from "../platform.ts";

/** The manifest that a source chose, as stored there. */
export interface ResolvedManifest {
  /** The raw bytes; their digest is `digest`, already verified where the source promised one. */
  bytes: Uint8Array;
  /** Digest of `bytes`, `sha256:<hex>`. */
  digest: string;
  /** The media type that the source gave or the bytes say. */
  mediaType: string;
}

/** Options of {@link ImageSource.resolve}. */
export interface ResolveOptions {
  /** Which platform to take from an index; the host's when left out. */
  platform?: Platform;
  /** Told which platforms the index offers, before one of them is chosen; not called where there is no index. */
  onOffer?: (platforms: readonly Platform[]) => void;
  signal?: AbortSignal;
}

/** An opened image source. Reads only; does not verify layer content (the importer does, while streaming). */
export interface ImageSource extends AsyncDisposable {
  /** The transport's prefix, for messages: `oci`, `docker`, ... */
  readonly transport: string;
  /** Finds the image's manifest, choosing a platform from indexes. */
  resolve(options?: ResolveOptions): Promise<ResolvedManifest>;
  /**
   * The raw bytes of a blob as a stream of chunks. Fails with `not-found` when it is missing and with `digest-mismatch`
   * when its stored size is not the descriptor's; never yields more than `descriptor.size` bytes.
   */
  blob(descriptor: Descriptor, options?: { signal?: AbortSignal }): AsyncIterable<Uint8Array>;
}
