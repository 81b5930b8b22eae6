// What fs-verity keeps of a file on ext4: Merkle tree and descriptor behind the file's end (docs/spec/vm-testing.md, section 8). Computed
// while the data goes by; levels are written as they fill, so memory does not grow with the file.

import { createHash } from "node:crypto";
import { ALGORITHM_NUMBER, type Algorithm, DIGEST_SIZE, type ObjectId } from "../../bytes/algorithm.ts";
import { backend } from "../../core/backend.ts";
import { BLOCK } from "./sparse-output.ts";

/** The tree begins at a multiple of it, whatever the block size. */
const TREE_ALIGNMENT = 65_536;
const DESCRIPTOR_SIZE = 256;

/** Where the metadata of a file lies, in blocks of 4096 bytes from the start of the file. */
export interface VerityLayout {
  /** First block of the metadata: of the tree, or of the descriptor where there is no tree. */
  readonly start: number;
  /** First block of each level of the tree, from the leaves up. */
  readonly levels: readonly number[];
  readonly descriptor: number;
  /** Blocks of metadata, the one of the descriptor included. */
  readonly blocks: number;
}

/**
 * Where fs-verity has the metadata of a file on ext4.
 *
 * @param size of the file in bytes
 */
export function verityLayout(algorithm: Algorithm, size: number): VerityLayout {
  const start = (Math.ceil(size / TREE_ALIGNMENT) * TREE_ALIGNMENT) / BLOCK;
  const fanout = BLOCK / DIGEST_SIZE[algorithm];
  const counts: number[] = [];
  for (let hashes = Math.ceil(size / BLOCK); hashes > 1; ) {
    hashes = Math.ceil(hashes / fanout);
    counts.push(hashes);
  }
  // On the disk the top comes first.
  const levels: number[] = [];
  let at = start;
  for (const [level, count] of [...counts.entries()].reverse()) {
    levels[level] = at;
    at += count;
  }
  return { start, levels, descriptor: at, blocks: at + 1 - start };
}

/** Writes a block of metadata; the number is that of {@link VerityLayout}. */
export type MetadataSink = (block: number, bytes: Uint8Array) => void;

/** Makes the metadata of one file. */
export class VerityMetadata {
  readonly #algorithm: Algorithm;
  readonly #size: number;
  readonly #layout: VerityLayout;
  readonly #sink: MetadataSink;
  readonly #levels: { readonly block: Buffer; filled: number; done: number }[];
  #root: Buffer;

  constructor(algorithm: Algorithm, size: number, sink: MetadataSink) {
    this.#algorithm = algorithm;
    this.#size = size;
    this.#layout = verityLayout(algorithm, size);
    this.#sink = sink;
    this.#levels = this.#layout.levels.map(() => ({ block: Buffer.alloc(BLOCK), filled: 0, done: 0 }));
    this.#root = Buffer.alloc(DIGEST_SIZE[algorithm]);
  }

  /** An area of 1 MiB for the next data of the file; all but the last part fill whole blocks of it. */
  window(): Uint8Array {
    return backend(this.#algorithm, this.#size).blockWindow();
  }

  /** Takes the first `length` bytes of the window, which is overwritten by it. */
  take(length: number): void {
    const size = DIGEST_SIZE[this.#algorithm];
    // The area of the digests is used again for the levels above.
    const digests = Buffer.from(backend(this.#algorithm, this.#size).hashWindow(this.#algorithm, length));
    for (let at = 0; at < digests.length; at += size) this.#push(0, digests.subarray(at, at + size));
  }

  /** Writes what is left of the tree, and the descriptor. Answers the digest of the file: the name of an object. */
  finish(): ObjectId {
    for (let level = 0; level < this.#levels.length; level++) this.#flush(level);
    const descriptor = verityDescriptor(this.#algorithm, this.#size, this.#root);
    const block = Buffer.alloc(BLOCK);
    block.set(descriptor);
    block.writeUInt32LE(DESCRIPTOR_SIZE, BLOCK - 4);
    this.#sink(this.#layout.descriptor, block);
    return createHash(this.#algorithm).update(descriptor).digest("hex");
  }

  #push(level: number, digest: Uint8Array): void {
    const target = this.#levels[level];
    if (target === undefined) {
      this.#root = Buffer.from(digest);
      return;
    }
    target.block.set(digest, target.filled);
    target.filled += digest.length;
    if (target.filled === BLOCK) this.#flush(level);
  }

  #flush(level: number): void {
    const target = this.#levels[level];
    if (target === undefined || target.filled === 0) return;
    const { block, filled, done } = target;
    block.fill(0, filled);
    this.#sink((this.#layout.levels[level] as number) + done, block);
    target.done++;
    target.filled = 0;
    const hashes = backend(this.#algorithm, this.#size);
    hashes.blockWindow().set(block);
    this.#push(level + 1, Buffer.from(hashes.hashWindow(this.#algorithm, BLOCK)));
  }
}

/** The descriptor, whose plain hash is the digest of the file: 256 bytes. */
export function verityDescriptor(algorithm: Algorithm, size: number, root: Uint8Array): Buffer {
  const descriptor = Buffer.alloc(DESCRIPTOR_SIZE);
  descriptor.set([1, ALGORITHM_NUMBER[algorithm], 12]);
  descriptor.writeBigUInt64LE(BigInt(size), 8);
  descriptor.set(root, 16);
  return descriptor;
}
