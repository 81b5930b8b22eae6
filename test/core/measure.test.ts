import { createHash } from "node:crypto";
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import type { Algorithm } from "../../src/bytes/algorithm.ts";
import { chooseBackend } from "../../src/core/backend.ts";
import { measureFile } from "../../src/core/measure.ts";
import { hashSegment, SEGMENT_SIZE, segmentResultSize } from "../../src/core/segment.ts";
import { hashSharedSegments, openShared, shareWork } from "../../src/core/shared-work.ts";
import { backend } from "../../src/core/backend.ts";
import { readVectors } from "./vectors.ts";

const ALGORITHMS: Algorithm[] = ["sha256", "sha512"];
const scratch = mkdtempSync(join(tmpdir(), "measure-"));
afterAll(() => rmSync(scratch, { recursive: true }));
afterEach(() => chooseBackend(undefined));

/** A file of zeros with one other byte at the end: sparse, so its size costs nothing. */
function tailFile(size: number, last: number): string {
  const path = join(scratch, `tail-${size}`);
  const fd = openSync(path, "w");
  ftruncateSync(fd, size);
  writeSync(fd, Buffer.from([last]), 0, 1, size - 1);
  closeSync(fd);
  return path;
}

const tails = readVectors().flatMap((vector) =>
  vector.pattern.kind === "tail" && vector.pattern.value === 0 && vector.size < 2 ** 27
    ? [{ ...vector, last: vector.pattern.last }]
    : [],
);

describe.each(["native", "wasm"] as const)("%s back end", (choice) => {
  test.each(ALGORITHMS)("%s of big files, with one thread and with several", async (algorithm) => {
    chooseBackend(choice);
    expect(tails.length).toBeGreaterThan(2);
    for (const vector of tails) {
      const path = tailFile(vector.size, vector.last);
      for (const threads of [1, 2, 3]) {
        expect(await measureFile(algorithm, path, { threads })).toEqual({
          digest: vector[algorithm],
          size: vector.size,
        });
      }
    }
  });

  test.each(ALGORITHMS)("%s: a segment is the second level of its blocks", (algorithm) => {
    chooseBackend(choice);
    const size = SEGMENT_SIZE + 70 * 4096 + 5;
    const data = Buffer.alloc(size);
    for (let i = 0; i < size; i += 4) data.writeUInt32LE(Math.imul(i, 0x9e3779b1) >>> 0, i <= size - 4 ? i : size - 4);
    const path = join(scratch, "segments");
    writeFileSync(path, data);
    const level = (bytes: Uint8Array): Buffer =>
      Buffer.concat(
        Array.from({ length: Math.ceil(bytes.length / 4096) }, (_, i) => {
          const block = Buffer.alloc(4096);
          block.set(bytes.subarray(i * 4096, (i + 1) * 4096));
          return createHash(algorithm).update(block).digest();
        }),
      );
    const fd = openSync(path, "r");
    try {
      const results = [0, SEGMENT_SIZE].map((start) => {
        const result = Buffer.alloc(segmentResultSize(algorithm));
        const used = hashSegment(
          backend(algorithm),
          algorithm,
          fd,
          start,
          Math.min(start + SEGMENT_SIZE, size),
          result,
        );
        return result.subarray(0, used);
      });
      expect(Buffer.concat(results).equals(level(level(data)))).toBe(true);
    } finally {
      closeSync(fd);
    }
  });
});

test("small files need no threads", async () => {
  const path = join(scratch, "small");
  writeFileSync(path, "hello world");
  expect(await measureFile("sha256", path)).toEqual({
    digest: "1e2eaa4202d750a41174ee454970b92c1bc2f925b1e35076d8c7d5f56362ba64",
    size: 11,
  });
});

test("what cannot be measured is refused with the path", async () => {
  await expect(measureFile("sha256", join(scratch, "missing"))).rejects.toMatchObject({
    code: "not-found",
    path: join(scratch, "missing"),
  });
  await expect(measureFile("sha256", scratch)).rejects.toMatchObject({ code: "invalid", path: scratch });
});

test("a file that was replaced or shortened while threads start is an error, not a wrong digest", () => {
  const path = join(scratch, "replaced");
  const size = 2 * SEGMENT_SIZE;
  writeFileSync(path, Buffer.alloc(size));
  const fd = openSync(path, "r+");
  try {
    const work = shareWork(path, fd, "sha256");
    ftruncateSync(fd, size - 1);
    expect(() => openShared(work)).toThrow(/was changed while it was read/);
    expect(() => [...hashSharedSegments(work, fd)]).toThrow(/ended after 16777215 bytes/);
    rmSync(path);
    expect(() => openShared(work)).toThrow(/no such file/);
  } finally {
    closeSync(fd);
  }
});

test("can be interrupted", async () => {
  const path = tailFile(2 ** 30, 1);
  const controller = new AbortController();
  const measured = measureFile("sha256", path, { threads: 2, signal: controller.signal });
  setTimeout(() => controller.abort(), 20);
  await expect(measured).rejects.toMatchObject({ code: "aborted" });
  await expect(measureFile("sha256", path, { signal: controller.signal })).rejects.toMatchObject({ code: "aborted" });
});
