// Trees and descriptors of fs-verity as they lie on ext4, against a second implementation (docs/spec/vm-testing.md, section 8).

import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import type { Algorithm } from "../../../src/bytes/algorithm.ts";
import { chooseBackend } from "../../../src/core/backend.ts";
import { verityLayout, VerityMetadata } from "../../../src/deploy/disk/verity-data.ts";
import { referenceFsverity } from "../../fixtures/fsverity.ts";

const BLOCK = 4096;

function pattern(size: number): Buffer {
  const data = Buffer.alloc(size);
  for (let i = 0; i < size; i++) data[i] = (i * 31 + (i >> 12) * 7 + (i >> 20)) & 0xff;
  return data;
}

/** What is written behind the data, by block. */
function metadataOf(algorithm: Algorithm, data: Buffer): { id: string; blocks: Map<number, Buffer> } {
  const blocks = new Map<number, Buffer>();
  const metadata = new VerityMetadata(algorithm, data.length, (block, bytes) => {
    expect(blocks.has(block), `block ${block} is written once`).toBe(false);
    blocks.set(block, Buffer.from(bytes));
  });
  for (let at = 0; at < data.length; ) {
    const window = metadata.window();
    const length = Math.min(window.length, data.length - at);
    window.set(data.subarray(at, at + length));
    metadata.take(length);
    at += length;
  }
  return { id: metadata.finish(), blocks };
}

function hashes(algorithm: Algorithm, data: Buffer): Buffer {
  const all: Buffer[] = [];
  for (let at = 0; at < data.length; at += BLOCK) {
    const block = Buffer.alloc(BLOCK);
    data.copy(block, 0, at, at + BLOCK);
    all.push(createHash(algorithm).update(block).digest());
  }
  return Buffer.concat(all);
}

const SIZES = [
  0,
  1,
  4095,
  4096,
  4097,
  65_535,
  65_536,
  65_537,
  128 * BLOCK,
  128 * BLOCK + 1,
  1_048_576,
  3_000_001,
  (16 << 20) + 1,
];

test.each(["sha256", "sha512"] as const)("trees of %s are those of the file, the top first", (algorithm) => {
  for (const size of SIZES) {
    const data = pattern(size);
    const { id, blocks } = metadataOf(algorithm, data);
    expect(id, `digest of ${size} bytes`).toBe(referenceFsverity(algorithm, data));
    const layout = verityLayout(algorithm, size);
    expect(layout.start).toBe(Math.ceil(size / 65_536) * 16);
    // Level by level from the leaves, each of them where the next one ends.
    const digestSize = algorithm === "sha256" ? 32 : 64;
    let level = hashes(algorithm, data);
    let end = layout.descriptor;
    let count = 0;
    while (level.length > digestSize) {
      const length = Math.ceil(level.length / BLOCK);
      const padded = Buffer.alloc(length * BLOCK);
      level.copy(padded);
      for (let i = 0; i < length; i++)
        expect(blocks.get(end - length + i)?.equals(padded.subarray(i * BLOCK, (i + 1) * BLOCK))).toBe(true);
      end -= length;
      count += length;
      level = hashes(algorithm, padded);
    }
    expect(end).toBe(layout.start);
    const last = blocks.get(layout.descriptor) as Buffer;
    expect(last.readUInt32LE(BLOCK - 4)).toBe(256);
    expect(createHash(algorithm).update(last.subarray(0, 256)).digest("hex")).toBe(id);
    expect(last.readBigUInt64LE(8)).toBe(BigInt(size));
    expect(last.subarray(256, BLOCK - 4).every((byte) => byte === 0)).toBe(true);
    expect(blocks.size).toBe(count + 1);
    expect(layout.blocks).toBe(count + 1);
  }
});

test("both ways to hash give the same blocks", () => {
  const data = pattern(2_500_000);
  try {
    const [one, other] = (["wasm", "native"] as const).map((way) => {
      chooseBackend(way);
      return metadataOf("sha256", data);
    });
    expect(one?.id).toBe(other?.id);
    expect([...(one?.blocks ?? [])].map(([at, block]) => [at, block.toString("hex")])).toEqual(
      [...(other?.blocks ?? [])].map(([at, block]) => [at, block.toString("hex")]),
    );
  } finally {
    chooseBackend(undefined);
  }
});
