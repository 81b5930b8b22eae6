// Finds contents in a repository by their plain digests, which it does not keep: objects of the right size are hashed until one fits
// (docs/spec/oci.md, section 4.7). There is no index that could lie.

import { lstatSync } from "node:fs";
import { join } from "node:path";

import type { ObjectId } from "../../bytes/algorithm.ts";
import { ComposefsError, throwIfAborted } from "../../error.ts";
import { listLinks } from "../../repository/links.ts";
import { objectsBySize } from "../../repository/object-sizes.ts";
import type { Repository } from "../../repository/repository.ts";
import { LAYER } from "../../splitstream/content-type.ts";
import { contentDigest, digestHasher, parseDigest, type Digest } from "../digest.ts";
import { layerEntries } from "../layer/read.ts";
import { INLINE_LIMIT } from "../tar.ts";

/** A content that is there. */
export type KnownContent =
  | { readonly kind: "object"; readonly id: ObjectId; readonly size: number }
  | { readonly kind: "inline"; readonly bytes: Uint8Array };

/** A content that is looked for. */
export interface WantedContent {
  readonly size: number;
  readonly digest: Digest;
}

/** Objects that are looked through at most: 100 MB of memory. */
const MAX_OBJECTS = 500_000;

/** Entries of stored layers that are looked through for contents that are no objects. */
const MAX_ENTRIES = 200_000;

/** Bytes of hashing that opening an object is worth. */
const OPEN_COST = 16 << 10;

const PIECE = 1 << 20;

/** Looks contents up in a repository; one for all layers of a pull. What was hashed once is remembered. */
export class ContentFinder {
  readonly #repository: Repository;
  readonly #digests = new Map<ObjectId, Digest>();
  #sizes: Promise<Map<number, ObjectId[]>> | undefined;
  #small: Promise<ReadonlyMap<Digest, Uint8Array>> | undefined;

  constructor(repository: Repository) {
    this.#repository = repository;
  }

  /** Whether there is anything that could be found. */
  async hasObjects(signal?: AbortSignal): Promise<boolean> {
    return (await this.#objects(signal)).size > 0;
  }

  /**
   * Finds those of the contents that are there. The largest are looked for first.
   *
   * @param budget bytes that may be hashed in vain: beyond, what is not found yet counts as missing
   */
  async find(
    wanted: Iterable<WantedContent>,
    budget: number,
    signal?: AbortSignal,
  ): Promise<Map<Digest, KnownContent>> {
    const found = new Map<Digest, KnownContent>();
    const bySize = new Map<number, Set<Digest>>();
    for (const { size, digest } of wanted) {
      const same = bySize.get(size);
      if (same === undefined) bySize.set(size, new Set([digest]));
      else same.add(digest);
    }
    const sizes = await this.#objects(signal);
    let left = budget;
    for (const size of [...bySize.keys()].sort((a, b) => b - a)) {
      const digests = bySize.get(size) as Set<Digest>;
      if (size <= INLINE_LIMIT) {
        this.#small ??= this.#smallContents(signal);
        const small = await this.#small;
        for (const digest of digests) {
          const bytes = small.get(digest);
          if (bytes?.length === size) found.set(digest, { kind: "inline", bytes });
        }
        continue;
      }
      for (const id of sizes.get(size) ?? []) {
        if (digests.size === 0 || left < 0) break;
        throwIfAborted(signal);
        // Tables have sha256 digests; others are not looked for.
        const isHashed = this.#digests.has(id);
        const digest = await this.#digestOf(id);
        if (digest !== undefined && digests.delete(digest)) found.set(digest, { kind: "object", id, size });
        else if (!isHashed) left -= size + OPEN_COST;
      }
    }
    return found;
  }

  #objects(signal: AbortSignal | undefined): Promise<Map<number, ObjectId[]>> {
    this.#sizes ??= objectsBySize(this.#repository, MAX_OBJECTS, signal);
    return this.#sizes;
  }

  async #digestOf(id: ObjectId): Promise<Digest | undefined> {
    const known = this.#digests.get(id);
    if (known !== undefined) return known;
    const hasher = await digestHasher(EMPTY);
    try {
      for (const bytes of objectPieces(this.#repository, id)) hasher.update(bytes);
    } catch (error) {
      // Damaged or not readable: not there.
      if (error instanceof ComposefsError) return undefined;
      throw error;
    }
    const digest = `${parseDigest(EMPTY).algorithm}:${hasher.digest("hex")}`;
    this.#digests.set(id, digest);
    return digest;
  }

  /** Contents that are too small for objects, out of the layers that were stored last. */
  async #smallContents(signal: AbortSignal | undefined): Promise<ReadonlyMap<Digest, Uint8Array>> {
    const found = new Map<Digest, Uint8Array>();
    let left = MAX_ENTRIES;
    for (const name of latestLayers(this.#repository.path)) {
      try {
        const stream = await this.#repository.openStream(name);
        if (stream.contentType !== LAYER) continue;
        for await (const { content } of layerEntries(stream, name)) {
          throwIfAborted(signal);
          if (--left < 0) return found;
          if (content?.kind === "inline" && content.bytes.length > 0)
            found.set(contentDigest(content.bytes), content.bytes);
        }
      } catch (error) {
        // A damaged layer helps no one.
        if (!(error instanceof ComposefsError) || error.code === "aborted") throw error;
      }
    }
    return found;
  }
}

/** Only its algorithm counts. */
const EMPTY = contentDigest(new Uint8Array(0));

/** The content of an object. It is not verified: whoever uses it hashes it. */
export function* objectPieces(repository: Repository, id: ObjectId): Generator<Uint8Array, void, undefined> {
  const object = repository.openObject(id);
  try {
    for (let at = 0; at < object.size; ) {
      const bytes = object.read(at, Math.min(PIECE, object.size - at));
      if (bytes.length === 0) throw new ComposefsError("io", `object ${id} became shorter while it was read`);
      at += bytes.length;
      yield bytes;
    }
  } finally {
    object.close();
  }
}

/** The names of the stored layers, the youngest first. */
function latestLayers(root: string): string[] {
  return listLinks(root, "streams", "refs")
    .filter(({ name }) => name.startsWith("oci-layer-"))
    .map(({ name }) => ({
      name,
      time: lstatSync(join(root, "streams", name), { throwIfNoEntry: false })?.mtimeMs ?? 0,
    }))
    .sort((a, b) => b.time - a.time)
    .map(({ name }) => name);
}
