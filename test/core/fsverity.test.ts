import { createHash } from "node:crypto";
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { createSHA256, createSHA512 } from "hash-wasm";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Algorithm, DIGEST_SIZE } from "../../src/bytes/algorithm.ts";
import { backend, calibrate, chooseBackend } from "../../src/core/backend.ts";
import { FsverityHasher, fsverityDigest, fsverityFile } from "../../src/core/fsverity.ts";
import { core, coreBytes, inCore } from "../../src/core/load.ts";
import { ComposefsError } from "../../src/error.ts";
import { describeVector, readVectors, type Vector, vectorData, wholeData } from "./vectors.ts";

const ALGORITHMS: Algorithm[] = ["sha256", "sha512"];
const vectors = readVectors();
const small = vectors.filter((vector) => vector.slow !== true);

/** The definition of the specification, written down directly on node:crypto. */
function byDefinition(algorithm: Algorithm, data: Uint8Array): string {
  const hash = (bytes: Uint8Array): Buffer => createHash(algorithm).update(bytes).digest();
  const blocks = (bytes: Uint8Array): Buffer[] =>
    Array.from({ length: Math.ceil(bytes.length / 4096) }, (_, i) => {
      const block = Buffer.alloc(4096);
      block.set(bytes.subarray(i * 4096, (i + 1) * 4096));
      return hash(block);
    });
  let level = blocks(data);
  while (level.length > 1) level = blocks(Buffer.concat(level));
  const descriptor = Buffer.alloc(256);
  descriptor.set([1, algorithm === "sha256" ? 1 : 2, 12]);
  descriptor.writeBigUInt64LE(BigInt(data.length), 8);
  level[0]?.copy(descriptor, 16);
  return hash(descriptor).toString("hex");
}

function streamed(algorithm: Algorithm, vector: Vector, nextLength: () => number): string {
  using hasher = new FsverityHasher(algorithm);
  for (const piece of vectorData(vector, nextLength)) hasher.update(piece);
  expect(hasher.size).toBe(vector.size);
  return hasher.digest();
}

/** Through the window; each piece is copied into as much of it as there is. */
function windowed(algorithm: Algorithm, vector: Vector, nextLength: () => number, min: number): string {
  using hasher = new FsverityHasher(algorithm);
  for (const piece of vectorData(vector, nextLength)) {
    for (let done = 0; done < piece.length; ) {
      const window = hasher.window(min);
      expect(window.length).toBeGreaterThanOrEqual(Math.min(min, 1 << 20));
      const n = Math.min(window.length, piece.length - done);
      window.set(piece.subarray(done, done + n));
      hasher.advance(n);
      done += n;
    }
  }
  return hasher.digest();
}

/** Lengths that hit and miss block and window borders. */
function oddLengths(): () => number {
  const lengths = [1, 4095, 4096, 4097, 63, 8192, 12_289, 65_536, 100_003, 1_048_575, 1_048_576, 1_048_577, 3_000_017];
  let next = 0;
  return () => lengths[next++ % lengths.length]!;
}

const scratch = mkdtempSync(join(tmpdir(), "fsverity-"));
afterAll(() => rmSync(scratch, { recursive: true }));

describe.each(["native", "wasm"] as const)("%s back end", (choice) => {
  beforeEach(() => chooseBackend(choice));
  afterEach(() => chooseBackend(undefined));

  test.each(ALGORITHMS)("is the one in use for %s", (algorithm) => {
    expect(backend(algorithm).name).toBe(choice);
  });

  describe.each(ALGORITHMS)("%s", (algorithm) => {
    test.each(small.map((vector) => [describeVector(vector), vector] as const))("%s", (_, vector) => {
      expect(fsverityDigest(algorithm, wholeData(vector))).toBe(vector[algorithm]);
      expect(streamed(algorithm, vector, oddLengths())).toBe(vector[algorithm]);
      expect(windowed(algorithm, vector, oddLengths(), 1)).toBe(vector[algorithm]);
    });

    test.each(
      vectors.filter((vector) => vector.slow === true).map((vector) => [describeVector(vector), vector] as const),
    )(
      "%s, streamed",
      (_, vector) => {
        expect(streamed(algorithm, vector, oddLengths())).toBe(vector[algorithm]);
      },
      120_000,
    );

    test("pieces of every kind give the same as the whole", () => {
      const vector = vectors.find(({ size }) => size === 262_145)!;
      for (const length of [1, 7, 4095, 4096, 4097, 65_537]) {
        expect(streamed(algorithm, vector, () => length)).toBe(vector[algorithm]);
        expect(windowed(algorithm, vector, () => length, 4096)).toBe(vector[algorithm]);
      }
      const large = vectors.find(({ size }) => size === 16_777_217)!;
      for (const min of [1, 4097, 700_000, 1 << 20]) {
        expect(windowed(algorithm, large, () => 99_991, min)).toBe(large[algorithm]);
      }
    });

    test("any data in any pieces, update and window mixed", () => {
      fc.assert(
        fc.property(
          fc.integer({ min: 0, max: 60_000 }),
          fc.array(fc.tuple(fc.integer({ min: 1, max: 9000 }), fc.boolean()), { minLength: 1, maxLength: 30 }),
          fc.integer(),
          (size, steps, seed) => {
            const data = new Uint8Array(size);
            for (let i = 0; i < size; i++) data[i] = Math.imul(i ^ seed, 0x9e3779b1) >>> 24;
            using hasher = new FsverityHasher(algorithm);
            let done = 0;
            for (let i = 0; done < size; i++) {
              const [length, throughWindow] = steps[i % steps.length]!;
              const piece = data.subarray(done, done + length);
              if (throughWindow) {
                hasher.window(piece.length).set(piece);
                hasher.advance(piece.length);
              } else {
                hasher.update(piece);
              }
              done += piece.length;
            }
            const expected = byDefinition(algorithm, data);
            expect(hasher.digest()).toBe(expected);
            expect(fsverityDigest(algorithm, data)).toBe(expected);
          },
        ),
        { numRuns: 60 },
      );
    });

    test("plain block hashes are those of hash-wasm", async () => {
      const oracle = await (algorithm === "sha256" ? createSHA256() : createSHA512());
      const size = DIGEST_SIZE[algorithm];
      for (const count of [1, 2, 3, 4, 5, 7, 8, 254, 255, 256]) {
        const data = wholeData({ size: count * 4096 - 1, pattern: { kind: "xorshift32", seed: count } } as Vector);
        backend(algorithm).blockWindow().set(data);
        const digests = Buffer.from(backend(algorithm).hashWindow(algorithm, data.length));
        expect(digests).toHaveLength(count * size);
        for (let i = 0; i < count; i++) {
          const block = new Uint8Array(4096);
          block.set(data.subarray(i * 4096, (i + 1) * 4096));
          const expected = oracle.init().update(block).digest("hex");
          expect(digests.toString("hex", i * size, (i + 1) * size), `block ${i} of ${count}`).toBe(expected);
        }
      }
    });

    test("a file", () => {
      const path = join(scratch, "file");
      for (const vector of vectors.filter(({ size }) => [0, 1, 4096, 4097, 1_048_577, 16_777_217].includes(size))) {
        writeFileSync(path, wholeData(vector));
        const fd = openSync(path, "r");
        try {
          // The position of the file does not matter.
          readSync(fd, Buffer.alloc(10));
          expect(fsverityFile(algorithm, fd)).toBe(vector[algorithm]);
          expect(fsverityFile(algorithm, fd, vector.size)).toBe(vector[algorithm]);
          expect(() => fsverityFile(algorithm, fd, vector.size + 1)).toThrow(/ended after \d+ bytes/);
        } finally {
          closeSync(fd);
        }
      }
    });

    test("a spent or disposed hasher refuses with a reason", () => {
      const hasher = new FsverityHasher(algorithm);
      hasher.update(Buffer.from("hello world"));
      expect(hasher.digest()).toBe(byDefinition(algorithm, Buffer.from("hello world")));
      for (const use of [
        () => hasher.digest(),
        () => hasher.update(Buffer.from("x")),
        () => hasher.window(),
        () => hasher.advance(0),
      ]) {
        expect(use).toThrow(expect.objectContaining({ code: "usage", message: expect.stringContaining("spent") }));
      }
      hasher[Symbol.dispose]();
    });

    test("windows are checked", () => {
      using hasher = new FsverityHasher(algorithm);
      expect(() => hasher.window((1 << 20) + 1)).toThrow(ComposefsError);
      expect(() => hasher.window(-1)).toThrow(ComposefsError);
      expect(() => hasher.advance(1)).toThrow(/cannot advance/);
      const { length } = hasher.window();
      for (const n of [-1, 0.5, NaN, length + 1]) expect(() => hasher.advance(n)).toThrow(/cannot advance/);
      hasher.advance(0);
      // A window can be used once.
      expect(() => hasher.advance(1)).toThrow(/cannot advance/);
    });
  });

  test("a file that cannot be read is an error that says so", () => {
    const fd = openSync(scratch, "r");
    try {
      expect(() => fsverityFile("sha256", fd)).toThrow(/reading a file to hash/);
    } finally {
      closeSync(fd);
    }
    const vector = small.at(-1)!;
    expect(fsverityDigest("sha256", wholeData(vector))).toBe(vector.sha256);
  });
});

describe("choice of the back end", () => {
  const saved = process.env["COMPOSEFS_HASH"];
  afterEach(() => {
    if (saved === undefined) delete process.env["COMPOSEFS_HASH"];
    else process.env["COMPOSEFS_HASH"] = saved;
    chooseBackend(undefined);
  });

  test("the environment forces one or is refused", () => {
    process.env["COMPOSEFS_HASH"] = "wasm";
    chooseBackend(undefined);
    expect(backend("sha256").name).toBe("wasm");
    process.env["COMPOSEFS_HASH"] = "fast";
    chooseBackend(undefined);
    expect(() => backend("sha256")).toThrow(/COMPOSEFS_HASH is "fast", expected wasm, native or auto/);
  });

  test.each(ALGORITHMS)("measuring for %s takes the one that is faster here", (algorithm) => {
    const seconds = (choice: "wasm" | "native"): number => {
      chooseBackend(choice);
      backend(algorithm).blockWindow().fill(7);
      const start = performance.now();
      for (let i = 0; i < 20; i++) backend(algorithm).hashWindow(algorithm, 1 << 20);
      return performance.now() - start;
    };
    const ratio = seconds("native") / seconds("wasm");
    const { name } = calibrate(algorithm);
    // Too close to call on a busy machine: either is right then.
    const acceptable = ratio < 0.6 ? ["native"] : ratio > 1.7 ? ["wasm"] : ["native", "wasm"];
    expect(acceptable).toContain(name);
  });

  test("without a choice there is one for every size", () => {
    chooseBackend("auto");
    for (const algorithm of ALGORITHMS) {
      expect(["wasm", "native"]).toContain(backend(algorithm).name);
      expect(["wasm", "native"]).toContain(backend(algorithm, 1 << 30).name);
    }
  });
});

describe("the component's own interface", () => {
  const { fsverity } = core();

  test.each(ALGORITHMS)("%s digests, hashers and block hashes", (algorithm) => {
    for (const vector of small) {
      const data = wholeData(vector);
      expect(Buffer.from(fsverity.digest(algorithm, data)).toString("hex")).toBe(vector[algorithm]);
      const hasher = new fsverity.Hasher(algorithm);
      hasher.update(data.subarray(0, 5000));
      // Up to a whole window at once: what is left of a started block must not make it smaller.
      const rest = data.subarray(5000, 5000 + (1 << 20));
      const [address, capacity] = hasher.window(rest.length);
      expect(capacity).toBeGreaterThanOrEqual(rest.length);
      coreBytes(core(), address, rest.length).set(rest);
      hasher.advance(rest.length);
      hasher.update(data.subarray(5000 + rest.length));
      expect(Buffer.from(hasher.finish()).toString("hex")).toBe(vector[algorithm]);
      expect(hasher.finish()).toHaveLength(0);
      hasher.update(data);
      expect(hasher.window(1)).toEqual([0, 0]);
      (hasher as unknown as Disposable)[Symbol.dispose]();
    }
    const block = Buffer.alloc(4096, 1);
    const hash = createHash(algorithm).update(block).digest("hex");
    expect(Buffer.from(fsverity.hashBlocks(algorithm, Buffer.concat([block, block]))).toString("hex")).toBe(
      hash + hash,
    );
    const padded = createHash(algorithm)
      .update(Buffer.concat([Buffer.alloc(10, 1), Buffer.alloc(4086)]))
      .digest("hex");
    expect(Buffer.from(fsverity.hashBlocks(algorithm, Buffer.alloc(10, 1))).toString("hex")).toBe(padded);
    expect(fsverity.hashBlocks(algorithm, new Uint8Array(0))).toHaveLength(0);
  });

  test("does not leak: thousands of digests and hashers leave the memory as large as it was", () => {
    const { memory } = core();
    const round = (): void => {
      const hasher = new fsverity.Hasher("sha256");
      hasher.update(Buffer.alloc(5000));
      hasher.finish();
      (hasher as unknown as Disposable)[Symbol.dispose]();
      fsverity.digest("sha512", Buffer.alloc(100_000));
      fsverity.hashBlocks("sha512", Buffer.alloc(100_000));
    };
    for (let i = 0; i < 20; i++) round();
    const before = memory.buffer.byteLength;
    for (let i = 0; i < 2000; i++) round();
    expect(memory.buffer.byteLength).toBe(before);
  });
});

test("a trap becomes an internal error, and the next use has a fresh core", () => {
  const broken = core();
  const hasher = broken.raw.rawHasherNew(0);
  expect(() => inCore(broken, () => broken.raw.rawHasherAdvance(hasher, 0x7fffffff))).toThrow(
    expect.objectContaining({ code: "internal", message: expect.stringContaining("WebAssembly core failed") }),
  );
  expect(core()).not.toBe(broken);
  chooseBackend("wasm");
  expect(fsverityDigest("sha256", Buffer.from("hello world"))).toBe(
    "1e2eaa4202d750a41174ee454970b92c1bc2f925b1e35076d8c7d5f56362ba64",
  );
  chooseBackend(undefined);
});
