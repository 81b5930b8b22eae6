// Digests of files with holes: those of the same bytes without, whatever the layout; and of holes that nobody could read.

import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { sparseDigest, type SparseFile } from "../../src/core/sparse.ts";
import { ComposefsError } from "../../src/error.ts";
import { referenceFsverity } from "../fixtures/fsverity.ts";
import { seededRandom } from "../fixtures/random.ts";

/** Data at some places, in order; all else is hole. */
function sparseFile(size: number, data: readonly (readonly [start: number, bytes: Buffer])[]): SparseFile {
  const ends = data.map(([start, bytes]) => start + bytes.length);
  return {
    size,
    read(target, length, position) {
      target.fill(0, 0, length);
      for (const [start, bytes] of data) {
        for (let at = Math.max(start, position); at < Math.min(start + bytes.length, position + length); at++) {
          target[at - position] = bytes[at - start] as number;
        }
      }
      return Math.min(length, size - position);
    },
    nextData: (position) => {
      const i = ends.findIndex((end) => end > position);
      return i < 0 ? -1 : Math.max(data[i]?.[0] ?? 0, position);
    },
    nextHole: (position) => ends.find((end) => end > position) ?? size,
  };
}

describe.each(["sha256", "sha512"] as const)("%s", (algorithm) => {
  const fanout = algorithm === "sha256" ? 128 : 64;

  it.each([
    ["only a hole, one block", 4096, []],
    ["only a hole, a part of a block", 100, []],
    ["only a hole, a whole level", 4096 * fanout, []],
    ["only a hole, one more", 4096 * fanout + 1, []],
    ["only a hole, some levels and a bit", 4096 * (fanout * 3 + 5) + 7, []],
    ["data at the start", 4096 * fanout * 2, [[0, 1]]],
    ["data at the end", 4096 * fanout * 2 + 5, [[4096 * fanout * 2, 5]]],
    ["data across the border of a level", 4096 * fanout * 3, [[4096 * fanout - 5, 10]]],
    [
      "data at odd places",
      3_000_000,
      [
        [5, 3],
        [100_000, 5000],
        [2_999_990, 10],
      ],
    ],
  ] as const)("%s", (_name, size, places) => {
    const data = places.map(([start, length]) => [start, Buffer.alloc(length, "data")] as const);
    const whole = Buffer.alloc(size);
    for (const [start, bytes] of data) whole.set(bytes, start);
    expect(sparseDigest(algorithm, sparseFile(size, data))).toBe(referenceFsverity(algorithm, whole));
  });

  it("random layouts", () => {
    const random = seededRandom(fanout);
    for (let round = 0; round < 30; round++) {
      const size = 1 + Math.floor(random() * 4096 * fanout * 4);
      const data: [number, Buffer][] = [];
      for (let at = Math.floor(random() * 200_000); at < size; at += Math.floor(random() * 900_000)) {
        const bytes = Buffer.alloc(Math.min(size - at, 1 + Math.floor(random() * 9000)), `${round}`);
        data.push([at, bytes]);
        at += bytes.length;
      }
      const whole = Buffer.alloc(size);
      for (const [start, bytes] of data) whole.set(bytes, start);
      expect(sparseDigest(algorithm, sparseFile(size, data)), `round ${round}`).toBe(
        referenceFsverity(algorithm, whole),
      );
    }
  });

  it("a hole of a pebibyte, at once", () => {
    const hash = (bytes: Buffer) => createHash(algorithm).update(bytes).digest();
    // The height at which one block covers it: 2^50 bytes are 2^38 blocks.
    const height = algorithm === "sha256" ? 38 / 7 : 38 / 6;
    let digest = hash(Buffer.alloc(4096));
    for (let i = 0; i < Math.floor(height); i++)
      digest = hash(Buffer.concat(Array.from({ length: fanout }, () => digest)));
    const rest = 2 ** 38 / fanout ** Math.floor(height);
    const top = Buffer.alloc(4096);
    for (let i = 0; i < rest; i++) top.set(digest, i * digest.length);
    const descriptor = Buffer.alloc(256);
    descriptor.set([1, algorithm === "sha256" ? 1 : 2, 12]);
    descriptor.writeBigUInt64LE(1n << 50n, 8);
    descriptor.set(hash(top), 16);
    expect(sparseDigest(algorithm, sparseFile(2 ** 50, []))).toBe(hash(descriptor).toString("hex"));
  });

  it("a file that ends early is an error", () => {
    const file = { ...sparseFile(10_000, [[0, Buffer.alloc(10_000)]]), read: () => 0 };
    expect(() => sparseDigest(algorithm, file)).toThrow(ComposefsError);
    for (const nextHole of [() => -1, () => 0])
      expect(() => sparseDigest(algorithm, { ...file, nextHole })).toThrow(ComposefsError);
    expect(() =>
      sparseDigest(algorithm, { ...sparseFile(90_000, [[50_000, Buffer.alloc(9)]]), nextData: () => 1 }),
    ).toThrow(ComposefsError);
  });
});
