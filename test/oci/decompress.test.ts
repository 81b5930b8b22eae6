// Decompression of layers to their last member or frame (docs/spec/oci.md, section 4.2).

import { deflateRawSync, gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { ComposefsError } from "../../src/error.ts";
import { type Compression, decompress, sniffCompression } from "../../src/oci/decompress.ts";
import { zstdCompress } from "../../src/runtime/zstd.ts";
import { randomBytes, seededRandom } from "../fixtures/random.ts";

const random = seededRandom(7);
const TEXT = Buffer.from("composefs ".repeat(500));
const NOISE = randomBytes(random, 300_000);

async function* inChunks(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function all(bytes: Uint8Array, chunk = 65536): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of decompress(inChunks(bytes, chunk), { name: "layer" })) parts.push(part);
  return Buffer.concat(parts);
}

async function refused(bytes: Uint8Array, chunk?: number): Promise<ComposefsError> {
  try {
    await all(bytes, chunk);
  } catch (error) {
    expect(error).toBeInstanceOf(ComposefsError);
    return error as ComposefsError;
  }
  throw new Error("it was accepted");
}

function zstd(bytes: Uint8Array): Buffer {
  const encoder = zstdCompress();
  return Buffer.concat([...encoder.write(bytes), ...encoder.end()]);
}

function skippable(data: string, magic = 0x50): Buffer {
  const head = Buffer.from([magic, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]);
  head.writeUInt32LE(data.length, 4);
  return Buffer.concat([head, Buffer.from(data)]);
}

/** A gzip member with every optional header field. */
function memberWithFields(content: Buffer, options: { headerCrc?: boolean } = {}): Buffer {
  const plain = gzipSync(content);
  const flags = 4 | 8 | 16 | (options.headerCrc === undefined ? 0 : 2);
  const head = Buffer.concat([
    Buffer.from([0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 3, 5, 0]),
    Buffer.from("extra"),
    Buffer.from("name\0comment\0"),
  ]);
  if (options.headerCrc === undefined) return Buffer.concat([head, plain.subarray(10)]);
  const check = Buffer.alloc(2);
  check.writeUInt16LE((crc(head) & 0xffff) ^ (options.headerCrc ? 0 : 1));
  return Buffer.concat([head, check, plain.subarray(10)]);
}

/** CRC-32 as the trailer of a member of these bytes has it. */
function crc(bytes: Buffer): number {
  const member = gzipSync(bytes);
  return member.readUInt32LE(member.length - 8);
}

describe("sniffing", () => {
  test.each<[string, number[], Compression]>([
    ["nothing", [], "none"],
    ["one byte", [0x1f], "none"],
    ["gzip", [0x1f, 0x8b], "gzip"],
    ["zstd", [0x28, 0xb5, 0x2f, 0xfd], "zstd"],
    ["a skippable frame", [0x5f, 0x2a, 0x4d, 0x18], "zstd"],
    ["almost zstd", [0x28, 0xb5, 0x2f, 0xfe], "none"],
    ["almost skippable", [0x60, 0x2a, 0x4d, 0x18], "none"],
  ])("%s", (_, bytes, expected) => {
    expect(sniffCompression(Uint8Array.from(bytes))).toBe(expected);
  });

  test("is told before the first byte", async () => {
    const events: string[] = [];
    const source = inChunks(gzipSync(TEXT), 1);
    for await (const _ of decompress(source, { onCompression: (kind) => events.push(kind) })) events.push("bytes");
    expect(events.slice(0, 2)).toEqual(["gzip", "bytes"]);
  });
});

describe.each([1, 3, 100, 65536, 10_000_000])("in chunks of %i", (chunk) => {
  const noise = chunk < 100 ? NOISE.subarray(0, 3000) : NOISE;

  test("plain", async () => {
    expect(await all(TEXT, chunk)).toEqual(TEXT);
    expect(await all(Buffer.alloc(0), chunk)).toEqual(Buffer.alloc(0));
    expect(await all(Buffer.from("x"), chunk)).toEqual(Buffer.from("x"));
  });

  test("one gzip member", async () => {
    expect(await all(gzipSync(noise), chunk)).toEqual(noise);
    expect(await all(gzipSync(Buffer.alloc(0)), chunk)).toEqual(Buffer.alloc(0));
  });

  test("many gzip members, small, large and empty", async () => {
    const parts = [TEXT, Buffer.alloc(0), Buffer.from("a"), noise, Buffer.alloc(0), TEXT, noise, TEXT];
    expect(await all(Buffer.concat(parts.map((part) => gzipSync(part))), chunk)).toEqual(Buffer.concat(parts));
  });

  test("gzip header fields", async () => {
    const members = [memberWithFields(TEXT), memberWithFields(noise, { headerCrc: true }), memberWithFields(TEXT)];
    expect(await all(Buffer.concat(members), chunk)).toEqual(Buffer.concat([TEXT, noise, TEXT]));
    expect((await refused(memberWithFields(TEXT, { headerCrc: false }), chunk)).message).toContain("header checksum");
  });

  test.each([
    ["zeros", Buffer.alloc(1000)],
    ["one zero", Buffer.alloc(1)],
    ["garbage", Buffer.from("garbage that is no member")],
    ["half a magic", Buffer.from([0x1f])],
    ["zeros, then a member, which is not looked at", Buffer.concat([Buffer.alloc(3), gzipSync(TEXT)])],
  ])("%s behind the last gzip member is ignored", async (_, rest) => {
    expect(await all(Buffer.concat([gzipSync(noise), rest]), chunk)).toEqual(noise);
    expect(await all(Buffer.concat([gzipSync(TEXT), gzipSync(TEXT), rest]), chunk)).toEqual(
      Buffer.concat([TEXT, TEXT]),
    );
  });

  test("zstd frames, skippable ones anywhere", async () => {
    const bytes = [
      skippable("first"),
      zstd(TEXT),
      skippable("", 0x5f),
      zstd(noise),
      zstd(Buffer.alloc(0)),
      skippable("z"),
    ];
    expect(await all(Buffer.concat(bytes), chunk)).toEqual(Buffer.concat([TEXT, noise]));
  });
});

describe("damage", () => {
  test("a wrong CRC and a wrong length, in any member", async () => {
    for (const before of [Buffer.alloc(0), gzipSync(TEXT)]) {
      for (const [back, says] of [
        [8, /CRC-32/],
        [4, /length field/],
      ] as const) {
        const bytes = Buffer.concat([before, gzipSync(TEXT)]);
        const at = bytes.length - back;
        bytes[at] = (bytes[at] as number) ^ 1;
        expect((await refused(bytes)).message).toMatch(says);
      }
    }
  });

  test("broken deflate data names the layer", async () => {
    const bytes = gzipSync(NOISE, { level: 9 });
    bytes.fill(0xff, 5000, 5100);
    const error = await refused(Buffer.concat([bytes.subarray(0, 10), Buffer.from([0xff, 0xff]), bytes.subarray(12)]));
    expect(error.code).toBe("invalid");
    expect(error.message).toMatch(/^layer: gzip data: /);
  });

  test("another method, reserved flags", async () => {
    expect((await refused(Buffer.from([0x1f, 0x8b, 7, 0, 0, 0, 0, 0, 0, 0, 0]))).message).toContain("method 7");
    expect((await refused(Buffer.from([0x1f, 0x8b, 8, 0x20, 0, 0, 0, 0, 0, 0, 0]))).message).toContain("flags");
  });

  test("an endless header is not gathered without end", async () => {
    const head = Buffer.from([0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3]);
    expect((await refused(Buffer.concat([head, Buffer.alloc(3 << 20, "n")]))).code).toBe("limit");
  });

  test("gzip cut at every byte", async () => {
    const bytes = Buffer.concat([gzipSync(TEXT), memberWithFields(TEXT, { headerCrc: true })]);
    const first = gzipSync(TEXT).length;
    for (let at = 2; at < bytes.length; at++) {
      // Behind a whole member one byte is garbage, two begin another member.
      if (at === first || at === first + 1) expect(await all(bytes.subarray(0, at))).toEqual(TEXT);
      else
        expect([at, (await refused(bytes.subarray(0, at), 50)).message]).toEqual([
          at,
          expect.stringContaining("unexpected end"),
        ]);
    }
    expect(await all(bytes)).toEqual(Buffer.concat([TEXT, TEXT]));
  });

  test("zstd cut at every byte", async () => {
    const first = zstd(TEXT);
    const bytes = Buffer.concat([first, skippable("skip"), zstd(TEXT)]);
    const ends = [first.length, first.length + 12];
    for (let at = 4; at < bytes.length; at++) {
      if (ends.includes(at)) expect(await all(bytes.subarray(0, at))).toEqual(TEXT);
      else expect([at, (await refused(bytes.subarray(0, at))).code]).toEqual([at, "invalid"]);
    }
  });

  test("garbage behind a zstd frame", async () => {
    expect((await refused(Buffer.concat([zstd(TEXT), Buffer.from("garbage")]))).code).toBe("invalid");
  });

  test("deflate without a gzip header is a plain layer", async () => {
    const raw = deflateRawSync(TEXT);
    expect(await all(raw)).toEqual(raw);
  });
});

describe("sources", () => {
  test("an error of the source comes through as it is", async () => {
    const bytes = gzipSync(NOISE);
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield bytes.subarray(0, 1000);
      throw new ComposefsError("io", "the line went dead");
    }
    const read = async () => {
      for await (const _ of decompress(broken()));
    };
    await expect(read()).rejects.toThrow("the line went dead");
  });

  test("giving up early closes the source", async () => {
    for (const bytes of [NOISE, gzipSync(NOISE), zstd(NOISE)]) {
      let closed = false;
      async function* source(): AsyncGenerator<Uint8Array> {
        try {
          for (;;) yield bytes;
        } finally {
          closed = true;
        }
      }
      for await (const _ of decompress(source())) break;
      expect(closed).toBe(true);
    }
  });

  test("a small bomb stays small in memory", async () => {
    const bomb = gzipSync(Buffer.alloc(64 << 20));
    let size = 0;
    let largest = 0;
    for await (const bytes of decompress(inChunks(Buffer.concat([bomb, bomb]), 4096))) {
      size += bytes.length;
      largest = Math.max(largest, bytes.length);
    }
    expect(size).toBe(128 << 20);
    expect(largest).toBeLessThanOrEqual(1 << 20);
  });
});
