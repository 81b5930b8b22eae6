// The one interface behind which every transport hides (docs/spec/oci.md, section 2).

import type { Digest } from "../digest.ts";
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

/** Checks bytes that are read of a file against what its source knows of it. */
export interface ContentCheck {
  /** Takes the next bytes. */
  update(bytes: Uint8Array): void;
  /** After the last one: throws when they are not what they should be. */
  finish(): void;
}

/** The content of a file that lies unpacked in a source. Valid until the next piece of the layer is asked for. */
export interface FileContent {
  /** The name in the archive, for messages. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /**
   * The file itself, whose blocks may be shared or which may be linked by `path`; undefined where this process cannot open it. Whoever
   * does that checks what it got with {@link FileContent.check}.
   */
  readonly file: { readonly fd: number; readonly path: string | Buffer } | undefined;
  check(): ContentCheck;
  /** The bytes, checked: fails at the latest after the last one. A chunk is valid until the next is asked for. */
  read(): AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

/** A layer whose files lie unpacked in the source. */
export interface UnpackedLayer {
  /** Bytes of the archive, where the source knows them. */
  readonly size: number | undefined;
  /** The archive, piece by piece: bytes as they are, and contents of files. The order makes the archive. */
  pieces(signal?: AbortSignal): AsyncIterable<Uint8Array | FileContent>;
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
  /**
   * Sources that keep layers unpacked have no blobs of them: they give the archive that has this digest. The importer verifies it.
   */
  unpackedLayer?(diffId: Digest, options?: { signal?: AbortSignal }): Promise<UnpackedLayer>;
  /**
   * The bytes of a blob from `start` to before `end`, and no others. Absent where reading all of it costs no more. Fails with
   * `unsupported` when it turns out that parts cannot be had.
   */
  blobRange?(
    descriptor: Descriptor,
    range: { start: number; end: number },
    options?: { signal?: AbortSignal },
  ): AsyncIterable<Uint8Array>;
  /**
   * Sources that know which manifests refer to another one: what they say, which only those manifests can confirm. With a type, others
   * may be left out.
   */
  referrers?(digest: Digest, options?: { artifactType?: string; signal?: AbortSignal }): Promise<readonly Descriptor[]>;
}
