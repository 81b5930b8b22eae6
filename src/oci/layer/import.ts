// Imports one layer (docs/spec/oci.md, section 5): compressed bytes in, objects and a splitstream out, everything
// verified on the way. Nothing is linked: a layer that turns out wrong leaves objects that no one refers to.

import type { ObjectId } from "../../bytes/algorithm.ts";
import { type BlobHasher, blobHasher } from "../../core/blob-digest.ts";
import { ComposefsError, throwIfAborted } from "../../error.ts";
import type { Repository } from "../../repository/repository.ts";
import { LAYER } from "../../splitstream/content-type.ts";
import { SplitstreamWriter } from "../../splitstream/write.ts";
import { type Compression, decompress } from "../decompress.ts";
import { type Digest, digestHasher, parseDigest } from "../digest.ts";
import { TarReader } from "../tar.ts";
import { ObjectPool } from "./object-pool.ts";
import type { LayerEntry } from "./read.ts";
import { type EntryBudget, type LayerStats, LayerSplitter } from "./split.ts";

/** What an import needs of a repository. */
export type LayerRepository = Pick<Repository, "algorithm" | "store" | "storeStream">;

/** Options of {@link importLayer}. */
export interface ImportLayerOptions {
  /** What the layer is called in messages. */
  name: string;
  /** Digest that the uncompressed archive must have. */
  diffId?: Digest;
  /** Digest and size that the bytes of the source must have. */
  blob?: { digest: Digest; size: number };
  /** The source is the archive itself, whatever its first bytes look like. */
  isPlain?: boolean;
  /** Shared by the layers of a pull; without it the layer has one of its own. */
  pool?: ObjectPool;
  /**
   * Keep the entries in memory while they fit: a merge that follows need not read the layer back, which takes 0.4 s of a
   * 4 s pull of 27 000 objects.
   */
  keepEntries?: EntryBudget;
  signal?: AbortSignal;
  /** Told how many bytes of the source have been read. */
  onProgress?: (done: number) => void;
  /** Told how the layer is compressed, before its first byte is decompressed. */
  onCompression?: (compression: Compression) => void;
}

/** A layer that is in the repository, not linked yet. */
export interface ImportedLayer {
  /** Object id of the splitstream. */
  streamId: ObjectId;
  /** Digest of the uncompressed archive: the expected one, or its sha256. */
  diffId: Digest;
  /** Bytes of the uncompressed archive. */
  size: number;
  stats: LayerStats;
  /** What {@link readLayer} would give, when asked for and not too many. */
  entries?: readonly LayerEntry[];
}

/** Largest stretch that is parsed between two looks at the abort signal and the pool. */
const STEP = 1 << 20;

/**
 * Imports a layer, compressed or not. Files of any size stream through; memory is bounded.
 *
 * @param source the layer as the registry or layout stores it
 * @throws ComposefsError `digest-mismatch` when digest, size or diff_id differ; `invalid` when the archive or its
 *   compression is broken; what the repository throws. The message begins with `options.name`.
 *
 * @example
 * ```ts
 * const { streamId, diffId } = await importLayer(repository, createReadStream("layer.tar.gz"), { name: "layer.tar.gz" });
 * ```
 */
export async function importLayer(
  repository: LayerRepository,
  source: AsyncIterable<Uint8Array>,
  options: ImportLayerOptions,
): Promise<ImportedLayer> {
  const own = options.pool === undefined ? new ObjectPool(repository.store.options) : undefined;
  const writer = new SplitstreamWriter(repository.algorithm, LAYER);
  try {
    return await run(repository, source, options, options.pool ?? (own as ObjectPool), writer);
  } finally {
    writer.discard();
    await own?.close();
  }
}

async function run(
  repository: LayerRepository,
  source: AsyncIterable<Uint8Array>,
  options: ImportLayerOptions,
  pool: ObjectPool,
  writer: SplitstreamWriter,
): Promise<ImportedLayer> {
  const { name, blob, signal } = options;
  const splitter = new LayerSplitter(writer, pool, options.keepEntries);
  const reader = new TarReader(name, splitter);
  const input = new MeteredSource(source, options, await hasherFor(options.blob?.digest ?? options.diffId));
  const diffAlgorithm = options.diffId === undefined ? "sha256" : parseDigest(options.diffId).algorithm;
  let diffHash: BlobHasher | undefined = await hasherFor(options.diffId);
  if (blob !== undefined) pool.expect(blob.size);
  try {
    const onCompression = (compression: Compression): void => {
      // The bytes of an uncompressed layer are hashed once, not as blob and as archive.
      if (compression === "none" && input.algorithm === diffAlgorithm) diffHash = undefined;
      options.onCompression?.(compression);
    };
    if (options.isPlain === true) onCompression("none");
    for await (const chunk of options.isPlain === true ? input : decompress(input, { name, onCompression })) {
      for (let at = 0; at < chunk.length; at += STEP) {
        const bytes = chunk.length <= STEP ? chunk : chunk.subarray(at, at + STEP);
        throwIfAborted(signal);
        diffHash?.update(bytes);
        reader.push(bytes);
        splitter.advance();
        if (splitter.streaming && pool.congested) await pool.relief();
      }
    }
    input.verify();
    reader.finish();
    const diffId = diffHash === undefined ? input.digest : `${diffAlgorithm}:${diffHash.digest("hex")}`;
    if (options.diffId !== undefined && diffId !== options.diffId) {
      throw new ComposefsError(
        "digest-mismatch",
        `${name}: the uncompressed layer is ${diffId}, the config says ${options.diffId}`,
        { digest: options.diffId, hint: "the image is broken or tampered with; build or fetch it again" },
      );
    }
    const stats = await splitter.finish();
    throwIfAborted(signal);
    const size = writer.size;
    const streamId = await repository.storeStream(writer);
    return { streamId, diffId, size, stats, ...(splitter.kept === undefined ? {} : { entries: splitter.kept }) };
  } catch (error) {
    await splitter.abort();
    throw await input.explain(error);
  }
}

/** A hash for the digest that is promised, or sha256 where none is. */
function hasherFor(digest: Digest | undefined): Promise<BlobHasher> {
  return digest === undefined ? blobHasher("sha256") : digestHasher(digest);
}

/** Counts and hashes what is read of the source, and stops it when it is longer than promised. */
class MeteredSource implements AsyncIterable<Uint8Array> {
  readonly algorithm: string;
  readonly #source: AsyncIterator<Uint8Array>;
  readonly #options: ImportLayerOptions;
  readonly #hash: BlobHasher;
  #size = 0;
  #ended = false;
  /** The source itself failed: its error is the reason, whatever the bytes before it were. */
  #broken = false;
  #digest: Digest | undefined;

  constructor(source: AsyncIterable<Uint8Array>, options: ImportLayerOptions, hash: BlobHasher) {
    this.#source = source[Symbol.asyncIterator]();
    this.#options = options;
    const digest = options.blob?.digest ?? options.diffId;
    this.algorithm = digest === undefined ? "sha256" : parseDigest(digest).algorithm;
    this.#hash = hash;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    const { blob, name, onProgress } = this.#options;
    // Not `for await`: a consumer that gives up must not close the source, see explain().
    for (;;) {
      const { done, value: chunk } = await this.#next();
      if (done === true) {
        this.#ended = true;
        return;
      }
      this.#size += chunk.length;
      if (blob !== undefined && this.#size > blob.size) {
        throw new ComposefsError("digest-mismatch", `${name}: the blob is longer than its ${blob.size} bytes`, {
          digest: blob.digest,
        });
      }
      this.#hash.update(chunk);
      onProgress?.(this.#size);
      yield chunk;
    }
  }

  async #next(): Promise<IteratorResult<Uint8Array>> {
    try {
      return await this.#source.next();
    } catch (error) {
      this.#broken = true;
      throw error;
    }
  }

  /** Digest of everything that was read; read to the end first. */
  get digest(): Digest {
    this.#digest ??= `${this.algorithm}:${this.#hash.digest("hex")}`;
    return this.#digest;
  }

  /** Compares with what was promised of the blob. */
  verify(): void {
    const { blob, name } = this.#options;
    if (blob === undefined) return;
    if (this.#size !== blob.size) {
      throw new ComposefsError("digest-mismatch", `${name}: the blob has ${this.#size} bytes instead of ${blob.size}`, {
        digest: blob.digest,
      });
    }
    if (this.digest !== blob.digest) {
      throw new ComposefsError("digest-mismatch", `${name}: the blob is ${this.digest} instead of ${blob.digest}`, {
        digest: blob.digest,
        hint: "the image is damaged or tampered with; copy or fetch it again",
      });
    }
  }
  /**
   * The error to report instead of one that the content caused: when the blob is not what was promised, that is the
   * reason. Reads the rest of the blob to know. Closes the source.
   */
  async explain(error: unknown): Promise<unknown> {
    try {
      const doubtful = error instanceof ComposefsError && error.code === "invalid" && !this.#broken;
      if (!doubtful || this.#options.blob === undefined || this.#options.signal?.aborted === true) return error;
      if (!this.#ended) for await (const _ of this);
      this.verify();
    } catch (mismatch) {
      if (!(mismatch instanceof ComposefsError) || mismatch.code !== "digest-mismatch") return error;
      const { code, message, digest, hint } = mismatch;
      return new ComposefsError(code, message, {
        cause: error,
        ...(digest === undefined ? {} : { digest }),
        ...(hint === undefined ? {} : { hint }),
      });
    } finally {
      await this.#close();
    }
    return error;
  }

  async #close(): Promise<void> {
    try {
      await this.#source.return?.();
    } catch {
      // The error that is reported is the one that led here.
    }
  }
}
