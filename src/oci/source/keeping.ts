// A source whose layers go into the repository as they are, before they are taken apart: what `--keep-compressed` means.

import type { ObjectId } from "../../bytes/algorithm.ts";
import type { Repository } from "../../repository/repository.ts";
import { importBlob } from "../blob-import.ts";
import type { Digest } from "../digest.ts";
import { type KeptBlobs, keptBlob } from "../kept-blobs.ts";
import { streamBytes } from "../layer-bytes.ts";
import type { Descriptor } from "../manifest.ts";
import type { ImageSource, ResolvedManifest, ResolveOptions } from "./source.ts";

/** Wraps a source; everything but the blobs to keep passes through. Closing it leaves the source open. */
export class KeepingSource implements ImageSource {
  readonly transport: string;
  readonly #repository: Repository;
  readonly #source: ImageSource;
  readonly #wanted: ReadonlyMap<Digest, Descriptor>;
  readonly #kept = new Map<Digest, ObjectId>();

  /** @param wanted the blobs to keep */
  constructor(repository: Repository, source: ImageSource, wanted: Iterable<Descriptor>) {
    this.transport = source.transport;
    this.#repository = repository;
    this.#source = source;
    this.#wanted = new Map([...wanted].map((blob) => [blob.digest, blob]));
  }

  /** Fetches the blobs that were not asked for, since their layers were there already. Gives all of them. */
  async keepRest(signal?: AbortSignal): Promise<KeptBlobs> {
    for (const blob of this.#wanted.values()) await this.#keep(blob, signal);
    return this.#kept;
  }

  resolve(options?: ResolveOptions): Promise<ResolvedManifest> {
    return this.#source.resolve(options);
  }

  async *blob(descriptor: Descriptor, options: { signal?: AbortSignal } = {}): AsyncIterable<Uint8Array> {
    const wanted = this.#wanted.get(descriptor.digest);
    if (wanted === undefined) yield* this.#source.blob(descriptor, options);
    else yield* streamBytes(this.#repository, await this.#keep(wanted, options.signal), options.signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  async #keep(blob: Descriptor, signal: AbortSignal | undefined): Promise<ObjectId> {
    const { digest } = blob;
    const known = this.#kept.get(digest) ?? (await keptBlob(this.#repository, digest));
    const options = signal === undefined ? {} : { signal };
    const id = known ?? (await importBlob(this.#repository, this.#source.blob(blob, options), blob, options)).streamId;
    this.#kept.set(digest, id);
    return id;
  }
}
