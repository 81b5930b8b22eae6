// The back end on the runtime's own SHA-2, called once per block (docs/spec/wasm-core.md, sections 4.1 and 4.4).

import { hash as nodeHash } from "node:crypto";
import { ALGORITHM_NUMBER, type Algorithm, DIGEST_SIZE, type ObjectId } from "../bytes/algorithm.ts";
import { type Backend, BLOCK_SIZE, type TreeHasher, WINDOW_SIZE } from "./tree-hasher.ts";

/** Digests that are collected for the next level, and the views that some runtimes want to write them through. */
interface DigestArea {
  readonly bytes: Buffer;
  /** One view per digest, made when first needed: making them costs as much as a tenth of hashing a block. */
  readonly slots: Uint8Array[];
}

/** The plain hash of the runtime. */
interface PlainHash {
  /** Hashes the message and writes the digest at place `slot` of the area. */
  into(message: Uint8Array, area: DigestArea, slot: number): void;
  hex(message: Uint8Array): string;
}

type LatinWriter = Buffer & { latin1Write(text: string, offset: number, length: number): number };

/** Node and Deno: a digest that comes as a latin1 ("binary") string costs far less than one in a Buffer of its own. */
function nodePlainHash(algorithm: Algorithm): PlainHash {
  const size = DIGEST_SIZE[algorithm];
  return {
    into(message, area, slot) {
      (area.bytes as LatinWriter).latin1Write(nodeHash(algorithm, message, "binary"), slot * size, size);
    },
    hex: (message) => nodeHash(algorithm, message, "hex"),
  };
}

interface BunHash {
  hash(message: Uint8Array, target: Uint8Array): Uint8Array;
  hash(message: Uint8Array, encoding: "hex"): string;
}
interface BunGlobal {
  SHA256: BunHash;
  SHA512: BunHash;
}

/** Bun: hashes straight into a view. */
function bunPlainHash(algorithm: Algorithm, bun: BunGlobal): PlainHash {
  const size = DIGEST_SIZE[algorithm];
  const hasher = algorithm === "sha256" ? bun.SHA256 : bun.SHA512;
  return {
    into(message, area, slot) {
      let view = area.slots[slot];
      if (view === undefined) {
        view = area.bytes.subarray(slot * size, (slot + 1) * size);
        area.slots[slot] = view;
      }
      hasher.hash(message, view);
    },
    hex: (message) => hasher.hash(message, "hex"),
  };
}

function plainHash(algorithm: Algorithm): PlainHash {
  const { Bun } = globalThis as { Bun?: BunGlobal };
  return Bun === undefined ? nodePlainHash(algorithm) : bunPlainHash(algorithm, Bun);
}

/** One block of digests, filled from the front. */
class Level implements DigestArea {
  readonly bytes = Buffer.alloc(BLOCK_SIZE);
  readonly slots: Uint8Array[] = [];
  count = 0;
}

class NativeTree implements TreeHasher {
  readonly #algorithm: Algorithm;
  readonly #hash: PlainHash;
  /** Digests per block. */
  readonly #fanout: number;
  readonly #levels: Level[] = [];
  #height = 0;
  #size = 0;
  /** One block, or the whole window once a caller wants to write into it. */
  #window: Buffer | undefined;
  #blocks: Buffer[] = [];
  #filled = 0;
  readonly #descriptor = Buffer.alloc(256);

  constructor(algorithm: Algorithm, hash: PlainHash) {
    this.#algorithm = algorithm;
    this.#hash = hash;
    this.#fanout = BLOCK_SIZE / DIGEST_SIZE[algorithm];
    this.#descriptor.set([1, ALGORITHM_NUMBER[algorithm], 12]);
  }

  reset(): void {
    this.#height = 0;
    this.#size = 0;
    this.#filled = 0;
  }

  free(): void {
    this.#levels.length = 0;
    this.#window = undefined;
    this.#blocks = [];
    this.reset();
  }

  update(data: Uint8Array): void {
    const { length } = data;
    this.#size += length;
    let done = 0;
    while (done < length) {
      if (this.#filled === 0 && length - done >= BLOCK_SIZE) {
        this.#push(0, data.subarray(done, done + BLOCK_SIZE));
        done += BLOCK_SIZE;
        continue;
      }
      const window = this.#room(BLOCK_SIZE);
      const n = Math.min(length - done, window.length - this.#filled);
      window.set(done === 0 && n === length ? data : data.subarray(done, done + n), this.#filled);
      this.#filled += n;
      done += n;
      if (this.#filled === window.length) this.#flush();
    }
  }

  window(): Uint8Array {
    // A started block may be left over when there must be room for a whole window.
    const window = this.#room(WINDOW_SIZE + BLOCK_SIZE);
    if (this.#filled >= BLOCK_SIZE) this.#flush();
    return window.subarray(this.#filled, this.#filled + WINDOW_SIZE);
  }

  advance(n: number): void {
    this.#filled += n;
    this.#size += n;
  }

  finish(size = this.#size): ObjectId {
    if (this.#filled > 0) {
      const window = this.#room(BLOCK_SIZE);
      const end = Math.ceil(this.#filled / BLOCK_SIZE) * BLOCK_SIZE;
      window.fill(0, this.#filled, end);
      this.#filled = end;
      this.#flush();
    }
    const descriptor = this.#descriptor;
    descriptor.writeUInt32LE(size % 2 ** 32, 8);
    descriptor.writeUInt32LE(Math.floor(size / 2 ** 32), 12);
    descriptor.fill(0, 16, 16 + DIGEST_SIZE[this.#algorithm]);
    for (let index = 0; index < this.#height; index++) {
      const level = this.#level(index);
      const end = level.count * DIGEST_SIZE[this.#algorithm];
      if (index + 1 === this.#height && level.count === 1) {
        descriptor.set(level.bytes.subarray(0, end), 16);
      } else {
        level.bytes.fill(0, end);
        this.#push(index + 1, level.bytes);
      }
    }
    return this.#hash.hex(descriptor);
  }

  #level(index: number): Level {
    return (this.#levels[index] ??= new Level());
  }

  /** Appends the digest of a block to a level, after hashing the level into the next one when it is full. */
  #push(index: number, block: Uint8Array): void {
    const level = this.#level(index);
    if (index === this.#height) {
      this.#height++;
      level.count = 0;
    } else if (level.count === this.#fanout) {
      this.#push(index + 1, level.bytes);
      level.count = 0;
    }
    this.#hash.into(block, level, level.count++);
  }

  #room(capacity: number): Buffer {
    const old = this.#window;
    if (old !== undefined && old.length >= capacity) return old;
    const window = alignedBuffer(capacity);
    if (old !== undefined) window.set(old.subarray(0, this.#filled));
    this.#window = window;
    this.#blocks = blockViews(window);
    return window;
  }

  /** Hashes the whole blocks of the window and moves the rest to its front. */
  #flush(): void {
    const window = this.#room(BLOCK_SIZE);
    const count = Math.floor(this.#filled / BLOCK_SIZE);
    for (let i = 0; i < count; i++) this.#push(0, this.#blocks[i] as Buffer);
    window.copyWithin(0, count * BLOCK_SIZE, this.#filled);
    this.#filled -= count * BLOCK_SIZE;
  }
}

/** The digest of files of one block: the block's own digest is the root. Most objects of images are such files. */
class BlockHasher {
  readonly #hash: PlainHash;
  readonly #block = alignedBuffer(BLOCK_SIZE).fill(0);
  readonly #descriptor = Buffer.alloc(256);
  readonly #root: DigestArea;
  // Bytes of the block that are not zero for sure.
  #used = 0;

  constructor(algorithm: Algorithm, hash: PlainHash) {
    this.#hash = hash;
    this.#descriptor.set([1, ALGORITHM_NUMBER[algorithm], 12]);
    this.#root = { bytes: this.#descriptor.subarray(16, 16 + DIGEST_SIZE[algorithm]), slots: [] };
  }

  digest(data: Uint8Array): ObjectId {
    const { length } = data;
    this.#block.set(data);
    if (length < this.#used) this.#block.fill(0, length, this.#used);
    this.#used = length;
    this.#descriptor[8] = length & 0xff;
    this.#descriptor[9] = length >> 8;
    this.#hash.into(this.#block, this.#root, 0);
    return this.#hash.hex(this.#descriptor);
  }
}

/** A window and the digests of its blocks. */
class BlockWindow {
  readonly data = alignedBuffer(WINDOW_SIZE);
  readonly #blocks = blockViews(this.data);
  readonly #digests: Record<Algorithm, DigestArea> = {
    sha256: { bytes: Buffer.alloc((WINDOW_SIZE / BLOCK_SIZE) * DIGEST_SIZE.sha256), slots: [] },
    sha512: { bytes: Buffer.alloc((WINDOW_SIZE / BLOCK_SIZE) * DIGEST_SIZE.sha512), slots: [] },
  };

  hash(algorithm: Algorithm, hash: PlainHash, length: number): Uint8Array {
    const count = Math.ceil(length / BLOCK_SIZE);
    this.data.fill(0, length, count * BLOCK_SIZE);
    const digests = this.#digests[algorithm];
    for (let i = 0; i < count; i++) hash.into(this.#blocks[i] as Buffer, digests, i);
    return digests.bytes.subarray(0, count * DIGEST_SIZE[algorithm]);
  }
}

/**
 * A large buffer in the middle of a page. The C library puts large blocks 16 bytes behind the start of a page, and copying
 * from the page cache to such an address is up to four times slower on current x86 processors: their loads seem to depend on
 * the stores just before, as the two addresses only differ above the lowest 12 bits.
 */
function alignedBuffer(size: number): Buffer {
  return Buffer.allocUnsafeSlow(size + BLOCK_SIZE).subarray(BLOCK_SIZE / 2, BLOCK_SIZE / 2 + size);
}

/** One view per block, made once: making them each time is measurable. */
function blockViews(data: Buffer): Buffer[] {
  return Array.from({ length: data.length / BLOCK_SIZE }, (_, i) =>
    data.subarray(i * BLOCK_SIZE, (i + 1) * BLOCK_SIZE),
  );
}

/** The back end on the runtime's own hash functions. */
export class NativeBackend implements Backend {
  readonly name = "native";
  readonly #hashes: Record<Algorithm, PlainHash> = { sha256: plainHash("sha256"), sha512: plainHash("sha512") };
  /** For digests in one call; it is never in use when a call begins. */
  readonly #small: Record<Algorithm, BlockHasher> = {
    sha256: new BlockHasher("sha256", this.#hashes.sha256),
    sha512: new BlockHasher("sha512", this.#hashes.sha512),
  };
  readonly #scratch = new Map<Algorithm, NativeTree>();
  #blocks: BlockWindow | undefined;

  newHasher(algorithm: Algorithm): TreeHasher {
    return new NativeTree(algorithm, this.#hashes[algorithm]);
  }

  digest(algorithm: Algorithm, data: Uint8Array): ObjectId {
    if (data.length > 0 && data.length <= BLOCK_SIZE) return this.#small[algorithm].digest(data);
    let tree = this.#scratch.get(algorithm);
    if (tree === undefined) {
      tree = new NativeTree(algorithm, this.#hashes[algorithm]);
      this.#scratch.set(algorithm, tree);
    }
    tree.reset();
    tree.update(data);
    return tree.finish();
  }

  blockWindow(): Uint8Array {
    this.#blocks ??= new BlockWindow();
    return this.#blocks.data;
  }

  hashWindow(algorithm: Algorithm, length: number): Uint8Array {
    this.#blocks ??= new BlockWindow();
    return this.#blocks.hash(algorithm, this.#hashes[algorithm], length);
  }
}
