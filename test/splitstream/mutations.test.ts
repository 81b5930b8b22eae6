// Splitstreams damaged at random: never anything but an answer or a ComposefsError, at once and in little memory.
// COMPOSEFS_MUTATIONS sets the number of cases, COMPOSEFS_SEED repeats a run.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ComposefsError } from "../../src/error.ts";
import { entryObject } from "../../src/repository/resolve.ts";
import { zstdDecompress } from "../../src/runtime/zstd.ts";
import { storedFrame } from "../../src/runtime/zstd-encode.ts";
import { readSplitstream } from "../../src/splitstream/read.ts";
import { goldenRepositories, unpackRepository } from "../repository/golden-repository.ts";

const CASES = Number(process.env["COMPOSEFS_MUTATIONS"] ?? 6000);
const SEED = Number(process.env["COMPOSEFS_SEED"] ?? Date.now() % 2 ** 32);

interface Sample {
  name: string;
  algorithm: "sha256" | "sha512";
  file: Buffer;
}

const samples: Sample[] = [];
beforeAll(() => {
  for (const [tar, { algorithm: name, streams }] of goldenRepositories()) {
    const { path, remove } = unpackRepository(tar);
    const algorithm = name === "fsverity-sha256-12" ? "sha256" : "sha512";
    for (const stream of Object.keys(streams)) {
      const id = entryObject(path, "streams", stream, algorithm) as string;
      samples.push({
        name: `${tar} ${stream}`,
        algorithm,
        file: readFileSync(join(path, "objects", id.slice(0, 2), id.slice(2))),
      });
    }
    remove();
  }
});

/** A generator of numbers below n (mulberry32). */
function random(seed: number): (n: number) => number {
  let state = seed >>> 0;
  return (n) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % n;
  };
}

const EXTREMES = [
  0n,
  1n,
  31n,
  111n,
  112n,
  2n ** 31n,
  2n ** 32n,
  2n ** 40n,
  2n ** 53n,
  2n ** 62n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 1n,
];

function mutate(bytes: Buffer, pick: (n: number) => number): Buffer {
  let result = Buffer.from(bytes);
  for (let edits = 1 + pick(3); edits > 0; edits--) {
    if (result.length === 0) return result;
    const at = pick(result.length);
    switch (pick(7)) {
      case 0:
        result[at] = (result[at] as number) ^ (1 << pick(8));
        break;
      case 1:
        result[at] = pick(256);
        break;
      case 2:
        result = result.subarray(0, at);
        break;
      case 3:
        result = Buffer.concat([result.subarray(0, at), result.subarray(at + 1 + pick(64))]);
        break;
      case 4:
        result = Buffer.concat([
          result.subarray(0, at),
          result.subarray(pick(result.length)),
          result.subarray(at),
        ]).subarray(0, 1 << 20);
        break;
      case 5:
        if (result.length >= 8)
          result.writeBigUInt64LE(
            EXTREMES[pick(EXTREMES.length)] as bigint,
            pick(Math.min(result.length - 7, 15) || 1) * (result.length >= 128 ? 8 : 0),
          );
        break;
      default:
        if (at + 8 <= result.length) result.writeBigUInt64LE(EXTREMES[pick(EXTREMES.length)] as bigint, at);
    }
  }
  return result;
}

/** Damages what is inside of a compressed section, and compresses it again: the damage reaches the parser behind. */
async function mutateInside(file: Buffer, pick: (n: number) => number): Promise<Buffer> {
  const old = !file.subarray(0, 11).equals(Buffer.from("SplitStream"));
  const info = Number(file.readBigUInt64LE(old ? 0 : 16));
  const field = info + (pick(2) === 0 ? 32 : 48);
  const [start, end] = [Number(file.readBigUInt64LE(field)), Number(file.readBigUInt64LE(field + 8))];
  const content = Buffer.from(await zstdDecompress(file.subarray(start, end), 1 << 24));
  const damaged = storedFrame(mutate(content, pick));
  const result = Buffer.concat([file, damaged]);
  result.writeBigUInt64LE(BigInt(file.length), field);
  result.writeBigUInt64LE(BigInt(result.length), field + 8);
  return result;
}

async function consume(sample: Sample, file: Buffer): Promise<"read" | "refused"> {
  try {
    const stream = await readSplitstream(file, sample.algorithm);
    for (const id of stream.namedRefs.values())
      if (!stream.streamRefs.includes(id)) throw new Error("a row from nowhere");
    let inline = 0;
    for await (const chunk of stream.chunks()) {
      if (chunk.kind === "external" && !stream.objectRefs.includes(chunk.id)) throw new Error("an object from nowhere");
      if (chunk.kind === "inline") inline += chunk.bytes.length;
      // Run-length blocks: 128 KiB from 4 bytes.
      if (inline > file.length * 2 ** 15 + 2 ** 17) throw new Error("more bytes than the file can hold");
    }
    return "read";
  } catch (error) {
    if (error instanceof ComposefsError) return "refused";
    throw error;
  }
}

// Processor time, not the clock's: a busy machine must not look like a slow decoder.
function cpuTime(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

describe(`seed ${SEED}`, () => {
  const counts = { read: 0, refused: 0 };
  let peak = 0;
  let slowest = 0;
  let baseline = 0;
  afterAll(() => {
    console.log(
      `${CASES} damaged splitstreams, seed ${SEED}: ${counts.refused} refused, ${counts.read} readable; slowest ${slowest.toFixed(0)} ms of processor time, memory +${((peak - baseline) / 2 ** 20).toFixed(0)} MiB`,
    );
  });

  test(
    `${CASES} cases`,
    async () => {
      const pick = random(SEED);
      baseline = process.memoryUsage.rss();
      for (let i = 0; i < CASES; i++) {
        const sample = samples[pick(samples.length)] as Sample;
        const file = pick(2) === 0 ? mutate(sample.file, pick) : await mutateInside(sample.file, pick);
        const begin = cpuTime();
        try {
          counts[await consume(sample, file)]++;
        } catch (error) {
          throw new Error(`case ${i} of seed ${SEED}, ${sample.name}: ${file.toString("base64")}`, { cause: error });
        }
        slowest = Math.max(slowest, cpuTime() - begin);
        if (i % 64 === 0) peak = Math.max(peak, process.memoryUsage.rss());
      }
      expect(slowest).toBeLessThan(1000);
      expect(peak - baseline).toBeLessThan(256 << 20);
      // Damage that is never noticed, or always, would mean that the test is blind.
      expect(counts.refused).toBeGreaterThan(CASES / 4);
      expect(counts.read).toBeGreaterThan(CASES / 100);
    },
    Math.max(120_000, CASES * 20),
  );

  test("the samples themselves are read", async () => {
    expect(samples.length).toBeGreaterThan(10);
    for (const sample of samples) expect(await consume(sample, sample.file), sample.name).toBe("read");
  });
});
