// Imports a layer that lies unpacked in its source (docs/spec/containers-storage.md, section 8): the same splitstream as from its
// archive, but contents need not be copied. The digest of the whole is verified before anything refers to the result.

import { ComposefsError, throwIfAborted } from "../../error.ts";
import { LAYER } from "../../splitstream/content-type.ts";
import { SplitstreamWriter } from "../../splitstream/write.ts";
import { type Digest, digestHasher, parseDigest } from "../digest.ts";
import type { FileContent, UnpackedLayer } from "../source/source.ts";
import { INLINE_LIMIT, TarReader } from "../tar.ts";
import type { ImportedLayer, LayerRepository } from "./import.ts";
import type { ObjectPool } from "./object-pool.ts";
import { type EntryBudget, LayerSplitter } from "./split.ts";
import type { ZeroCopy } from "./zero-copy.ts";

/** Options of {@link importUnpackedLayer}. */
export interface ImportUnpackedOptions {
  /** What the layer is called in messages. */
  readonly name: string;
  /** Digest that the archive must have. */
  readonly diffId: Digest;
  /** Stores what has to be copied. */
  readonly pool: ObjectPool;
  /** Stores what need not be. */
  readonly zeroCopy: ZeroCopy;
  readonly keepEntries?: EntryBudget | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Told how many bytes of the archive have been read. */
  readonly onProgress?: ((done: number) => void) | undefined;
}

/**
 * Imports a layer; nothing is linked.
 *
 * @throws ComposefsError `digest-mismatch` (`digest`) when the archive is another than promised; `invalid` when it is no tar archive; what
 *   the source throws
 */
export async function importUnpackedLayer(
  repository: LayerRepository,
  layer: UnpackedLayer,
  options: ImportUnpackedOptions,
): Promise<ImportedLayer> {
  const { name, diffId, pool, signal } = options;
  const writer = new SplitstreamWriter(repository.algorithm, LAYER);
  const splitter = new LayerSplitter(writer, pool, options.keepEntries);
  try {
    const archive = new Archive(splitter, options, await digestHasher(diffId));
    for await (const piece of layer.pieces(signal)) {
      throwIfAborted(signal);
      if (piece instanceof Uint8Array) archive.bytes(piece);
      else if (!archive.adopt(piece)) {
        for await (const bytes of piece.read()) {
          archive.bytes(bytes);
          if (splitter.streaming && pool.congested) await pool.relief();
        }
      }
      splitter.advance();
      if (pool.congested) await pool.relief();
    }
    archive.finish(layer.size);
    const stats = await splitter.finish();
    throwIfAborted(signal);
    const { size } = writer;
    const streamId = await repository.storeStream(writer);
    return { streamId, diffId, size, stats, ...(splitter.kept === undefined ? {} : { entries: splitter.kept }) };
  } catch (error) {
    await splitter.abort();
    if (!(error instanceof ComposefsError) || error.message.startsWith(name) || error.code === "aborted") throw error;
    throw named(error, name);
  } finally {
    writer.discard();
  }
}

type Hasher = Awaited<ReturnType<typeof digestHasher>>;

/** The archive as it comes: hashed, read, split. */
class Archive {
  readonly #splitter: LayerSplitter;
  readonly #options: ImportUnpackedOptions;
  readonly #hash: Hasher;
  readonly #reader: TarReader;
  /** Why it is no tar archive. Its digest is a better reason, so the rest is read too. */
  #fault: unknown;
  #size = 0;
  /** Recipes of sparse files have only what the files expand to. */
  #sparse = false;

  constructor(splitter: LayerSplitter, options: ImportUnpackedOptions, hash: Hasher) {
    this.#splitter = splitter;
    this.#options = options;
    this.#hash = hash;
    this.#reader = new TarReader(options.name, splitter);
  }

  bytes(bytes: Uint8Array): void {
    this.#told(bytes);
    if (this.#fault !== undefined) return;
    try {
      this.#reader.push(bytes);
    } catch (error) {
      if (!(error instanceof ComposefsError) || error.code !== "invalid") throw error;
      this.#fault = error;
      this.#sparse = error.message.includes("sparse");
    }
  }

  /** Takes a content as an object without a copy; false when it has to be given as bytes. */
  adopt(content: FileContent): boolean {
    if (content.size <= INLINE_LIMIT || this.#fault !== undefined || !this.#reader.expects(content.size)) return false;
    const object = this.#options.zeroCopy.store(content, (bytes) => this.#told(bytes));
    if (object === undefined) return false;
    this.#splitter.adopted(object);
    this.#reader.external();
    return true;
  }

  finish(expectedSize: number | undefined): void {
    const { diffId, name } = this.#options;
    const digest = `${parseDigest(diffId).algorithm}:${this.#hash.digest("hex")}`;
    if (digest !== diffId || (expectedSize !== undefined && expectedSize !== this.#size)) {
      const size = expectedSize === undefined ? "" : ` instead of ${expectedSize}`;
      const sparse = this.#sparse
        ? "; it has a sparse entry, of which the store does not keep the archive's bytes"
        : "";
      throw new ComposefsError(
        "digest-mismatch",
        `${name}: put together from the container store, the layer is ${digest} with ${this.#size} bytes${size}${sparse}`,
        {
          digest: diffId,
          reason: "digest",
          cause: this.#fault,
          hint: "the store is damaged there; pull the image into it again with podman",
        },
      );
    }
    if (this.#fault !== undefined) throw this.#fault;
    this.#reader.finish();
  }

  #told(bytes: Uint8Array): void {
    this.#hash.update(bytes);
    this.#size += bytes.length;
    this.#options.onProgress?.(this.#size);
  }
}

function named(
  { code, message, path, line, digest, hint, reason, cause }: ComposefsError,
  name: string,
): ComposefsError {
  return new ComposefsError(code, `${name}: ${message}`, {
    cause,
    ...(path === undefined ? {} : { path }),
    ...(line === undefined ? {} : { line }),
    ...(digest === undefined ? {} : { digest }),
    ...(hint === undefined ? {} : { hint }),
    ...(reason === undefined ? {} : { reason }),
  });
}
