// fs-verity digests of files with holes, in time for their data only (docs/spec/repository.md, section 5): a subtree of zero
// blocks has the same digest everywhere, so a hole takes a few entries on each level however long it is.

import { createHash } from "node:crypto";
import { ALGORITHM_NUMBER, type Algorithm, DIGEST_SIZE, type ObjectId } from "../bytes/algorithm.ts";
import { ComposefsError } from "../error.ts";
import { backend } from "./backend.ts";
import { BLOCK_SIZE, WINDOW_SIZE } from "./tree-hasher.ts";

/** A file whose holes can be found. */
export interface SparseFile {
  /** Bytes. */
  readonly size: number;
  /** Reads up to `length` bytes at a position into the target; 0 at the end. */
  readonly read: (target: Uint8Array, length: number, position: number) => number;
  /** Where data begins at or after a position; -1 when there is none. */
  readonly nextData: (position: number) => number;
  /** Where the data at a position ends. */
  readonly nextHole: (position: number) => number;
}

/**
 * The fs-verity digest of a file with holes.
 *
 * @throws ComposefsError `io` when the file is shorter than it says
 */
export function sparseDigest(algorithm: Algorithm, file: SparseFile): ObjectId {
  const { size } = file;
  const tree = new SparseTree(algorithm);
  const end = Math.ceil(size / BLOCK_SIZE) * BLOCK_SIZE;
  for (let position = 0; position < end; ) {
    const data = file.nextData(position);
    const start = data < 0 || data >= size ? end : Math.floor(data / BLOCK_SIZE) * BLOCK_SIZE;
    tree.zeros((start - position) / BLOCK_SIZE);
    if (start === end) break;
    const hole = Math.min(file.nextHole(data), size);
    if (data < position || hole <= data) throw changed(`data where none was said to be, at ${position}`);
    position = Math.ceil(hole / BLOCK_SIZE) * BLOCK_SIZE;
    hashData(tree, algorithm, file, start, position);
  }
  return tree.finish(size);
}

function hashData(tree: SparseTree, algorithm: Algorithm, file: SparseFile, start: number, end: number): void {
  const chosen = backend(algorithm, file.size);
  for (let position = start; position < end; position += WINDOW_SIZE) {
    const length = Math.min(WINDOW_SIZE, end - position, file.size - position);
    const window = chosen.blockWindow();
    for (let done = 0; done < length; ) {
      const n = file.read(done === 0 ? window : window.subarray(done), length - done, position + done);
      if (n === 0) {
        throw changed(`it ended after ${position + done} bytes, expected ${file.size}`);
      }
      done += n;
    }
    tree.push(chosen.hashWindow(algorithm, length));
  }
}

function changed(what: string): ComposefsError {
  return new ComposefsError("io", `a file with holes changed while it was hashed: ${what}`, {
    hint: "run the command again when nothing writes to the file",
  });
}

/** The digests of one level that are not in the next one yet. */
interface Level {
  readonly block: Buffer;
  count: number;
}

/** A Merkle tree that takes block digests, and runs of zero blocks at once. */
class SparseTree {
  readonly #algorithm: Algorithm;
  readonly #digestSize: number;
  /** Digests per block. */
  readonly #fanout: number;
  readonly #levels: Level[] = [];
  /** Digest of a subtree of zero blocks, by its height. */
  readonly #zero: Buffer[];
  /** Blocks so far. */
  #blocks = 0;

  constructor(algorithm: Algorithm) {
    this.#algorithm = algorithm;
    this.#digestSize = DIGEST_SIZE[algorithm];
    this.#fanout = BLOCK_SIZE / this.#digestSize;
    this.#zero = [this.#hash(Buffer.alloc(BLOCK_SIZE))];
  }

  /** Appends the digests of blocks, back to back. */
  push(digests: Uint8Array): void {
    for (let at = 0; at < digests.length; at += this.#digestSize) {
      this.#append(0, digests.subarray(at, at + this.#digestSize));
    }
    this.#blocks += digests.length / this.#digestSize;
  }

  /** Appends zero blocks. */
  zeros(count: number): void {
    for (let left = count; left > 0; ) {
      let height = 0;
      let span = 1;
      while (span * this.#fanout <= left && this.#blocks % (span * this.#fanout) === 0) {
        span *= this.#fanout;
        height++;
      }
      // Below an aligned position every level is empty, or full and only not handed up yet.
      for (let i = 0; i < height; i++) if (this.#level(i).count > 0) this.#handUp(i);
      this.#append(height, this.#zeroDigest(height));
      this.#blocks += span;
      left -= span;
    }
  }

  finish(size: number): ObjectId {
    const descriptor = Buffer.alloc(256);
    descriptor.set([1, ALGORITHM_NUMBER[this.#algorithm], 12]);
    descriptor.writeBigUInt64LE(BigInt(size), 8);
    for (let i = 0; i < this.#levels.length; i++) {
      const { block, count } = this.#level(i);
      if (i === this.#levels.length - 1 && count === 1) descriptor.set(block.subarray(0, this.#digestSize), 16);
      else if (count > 0) this.#handUp(i);
    }
    return createHash(this.#algorithm).update(descriptor).digest("hex");
  }

  #append(index: number, digest: Uint8Array): void {
    const level = this.#level(index);
    if (level.count === this.#fanout) this.#handUp(index);
    level.block.set(digest, level.count++ * this.#digestSize);
  }

  #handUp(index: number): void {
    const level = this.#level(index);
    level.block.fill(0, level.count * this.#digestSize);
    level.count = 0;
    this.#append(index + 1, this.#hash(level.block));
  }

  #level(index: number): Level {
    for (let i = this.#levels.length; i <= index; i++) this.#levels.push({ block: Buffer.alloc(BLOCK_SIZE), count: 0 });
    return this.#levels[index] as Level;
  }

  #zeroDigest(height: number): Buffer {
    for (let i = this.#zero.length; i <= height; i++) {
      const below = this.#zero[i - 1] as Buffer;
      this.#zero.push(this.#hash(Buffer.concat(Array.from({ length: this.#fanout }, () => below))));
    }
    return this.#zero[height] as Buffer;
  }

  #hash(block: Uint8Array): Buffer {
    return createHash(this.#algorithm).update(block).digest();
  }
}
