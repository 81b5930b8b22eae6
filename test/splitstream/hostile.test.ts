// Each row of docs/spec/splitstream.md, section 6.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { storedFrame } from "../../src/runtime/zstd-encode.ts";
import { looksLikeSplitstream, readSplitstream } from "../../src/splitstream/read.ts";

const A = "aa".repeat(32);
const B = "bb".repeat(32);

interface Parts {
  names: Uint8Array;
  body: Uint8Array;
  streamRefs: string[];
  objectRefs: string[];
  size: bigint;
}

const number = (value: bigint) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64LE(value);
  return bytes;
};

const records = (...names: string[]) => Buffer.from(names.map((name) => `${name}\0`).join(""));

const good: Parts = {
  names: storedFrame(records("0:config", "1:x")),
  body: storedFrame(Buffer.concat([number(-3n), Buffer.from("abc"), number(1n)])),
  streamRefs: [A, B],
  objectRefs: [B, A],
  size: 3n,
};

/** Where the numbers of the info section are. */
const INFO = { streamRefs: 32, objectRefs: 48, stream: 64, namedRefs: 80 };

function file(parts: Partial<Parts> = {}): Buffer {
  const all = { ...good, ...parts };
  const tables = [all.streamRefs, all.objectRefs].map((ids) => Buffer.from(ids.join(""), "hex"));
  const bytes = Buffer.concat([Buffer.alloc(112), ...tables, all.names, all.body]);
  bytes.write("SplitStream", 0);
  bytes[14] = 1;
  bytes[15] = 12;
  bytes.writeBigUInt64LE(32n, 16);
  bytes.writeBigUInt64LE(112n, 24);
  let at = 112n;
  const range = (offset: number, length: number) => {
    bytes.writeBigUInt64LE(at, offset);
    at += BigInt(length);
    bytes.writeBigUInt64LE(at, offset + 8);
  };
  range(INFO.streamRefs, tables[0]?.length ?? 0);
  range(INFO.objectRefs, tables[1]?.length ?? 0);
  range(INFO.namedRefs, all.names.length);
  range(INFO.stream, all.body.length);
  bytes.write("ocilayer", 96);
  bytes.writeBigUInt64LE(all.size, 104);
  return bytes;
}

const edited = (edit: (bytes: Buffer) => void, parts: Partial<Parts> = {}) => {
  const bytes = file(parts);
  edit(bytes);
  return bytes;
};

async function read(bytes: Uint8Array): Promise<string> {
  const stream = await readSplitstream(bytes, "sha256", "stream S");
  let text = "";
  for await (const chunk of stream.chunks())
    text += chunk.kind === "inline" ? Buffer.from(chunk.bytes).toString() : `<${chunk.id.slice(0, 2)}>`;
  return text;
}

// Announced sizes must not become allocations: the whole file needs less than this, even of addresses.
let before = 0;
beforeAll(() => {
  before = process.memoryUsage().arrayBuffers;
});
afterAll(() => {
  // On Bun files are threads of one process, and the others' buffers count, too.
  const limit = process.versions["bun"] === undefined ? 64 << 20 : 512 << 20;
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(limit);
});

test("the file that all cases are derived from is good", async () => {
  expect(await read(file())).toBe("abc<aa>");
  const stream = await readSplitstream(file(), "sha256");
  expect([...stream.namedRefs]).toEqual([
    ["config", A],
    ["x", B],
  ]);
});

describe("refused", () => {
  const cases: [string, Buffer, RegExp][] = [
    ["shorter than 32 bytes", file().subarray(0, 31), /31 bytes/],
    ["an empty file", Buffer.alloc(0), /0 bytes/],
    ["no magic", edited((b) => b.write("splitstream", 0)), /does not begin/],
    ["another version", edited((b) => (b[11] = 1)), /version 1/],
    ["another algorithm", edited((b) => (b[14] = 2)), /algorithm is 2/],
    ["another block size", edited((b) => (b[15] = 16)), /2\^16/],
    ["info beyond the file", edited((b) => b.writeBigUInt64LE(1n << 62n, 24)), /info section ends/],
    ["info of 79 bytes", edited((b) => b.writeBigUInt64LE(111n, 24)), /79 bytes/],
    ["an empty info section", edited((b) => b.writeBigUInt64LE(32n, 24)), /0 bytes/],
    ["info that ends before it begins", edited((b) => b.writeBigUInt64LE(31n, 24)), /before it begins/],
    ...Object.entries(INFO).flatMap(([name, offset]): [string, Buffer, RegExp][] => [
      [
        `${name} that ends before it begins`,
        edited((b) => b.writeBigUInt64LE(2n ** 64n - 1n, offset)),
        /before it begins/,
      ],
      [
        `${name} one byte beyond the file`,
        edited((b) => b.writeBigUInt64LE(BigInt(b.length + 1), offset + 8)),
        /the file at/,
      ],
      [`${name} 2^60 bytes long`, edited((b) => b.writeBigUInt64LE(2n ** 60n, offset + 8)), /the file at/],
      [`${name} at the end of u64`, edited((b) => b.fill(255, offset + 8, offset + 16)), /the file at/],
    ]),
    ["a table of 63 bytes", edited((b) => b.writeBigUInt64LE(239n, INFO.objectRefs + 8)), /no multiple of 32/],
    ["names that are no zstd", file({ names: Buffer.from("0:config\0") }), /named_refs.*zstd/],
    ["names of no bytes", file({ names: Buffer.alloc(0) }), /named_refs.*zstd/],
    ["names in a truncated frame", file({ names: good.names.subarray(0, -1) }), /truncated/],
    ["names without a last NUL", file({ names: storedFrame(Buffer.from("0:config")) }), /NUL/],
    ["a name without colon", file({ names: storedFrame(records("0", "0:a")) }), /colon/],
    ["an index that is empty", file({ names: storedFrame(Buffer.from(":a\0")) }), /index/],
    ["an index in hex", file({ names: storedFrame(Buffer.from("0x1:a\0")) }), /index/],
    ["an index with a space", file({ names: storedFrame(Buffer.from(" 1:a\0")) }), /index/],
    ["an index with a minus", file({ names: storedFrame(Buffer.from("-0:a\0")) }), /index/],
    ["an index out of range", file({ names: storedFrame(Buffer.from("2:a\0")) }), /row 2/],
    ["an index of many digits", file({ names: storedFrame(Buffer.from(`${"9".repeat(400)}:a\0`)) }), /index/],
    ["a name that is not UTF-8", file({ names: storedFrame(Buffer.from([0x30, 0x3a, 0xff, 0])) }), /UTF-8/],
    ["a body that is no zstd", file({ body: Buffer.from("no zstd") }), /body.*zstd/],
    ["a body of no bytes", file({ body: Buffer.alloc(0) }), /body.*zstd/],
    ["a truncated body", file({ body: good.body.subarray(0, -1) }), /truncated/],
    [
      "a body with bytes after the last frame",
      file({ body: Buffer.concat([good.body, Buffer.from("xxxx")]) }),
      /no zstd frame/,
    ],
    [
      "a body with a wrong checksum",
      file({ body: Buffer.from("28b52ffd2403190000616263deadbeef", "hex") }),
      /checksum/,
    ],
    [
      "a body that ends inside a chunk's head",
      file({ body: storedFrame(number(-1n).subarray(0, 7)) }),
      /head of a chunk/,
    ],
    [
      "a body that ends inside inline data",
      file({ body: storedFrame(Buffer.concat([number(-3n), Buffer.from("ab")])) }),
      /1 bytes before/,
    ],
    ["an external index out of range", file({ body: storedFrame(number(2n)) }), /row 2/],
    ["the largest external index", file({ body: storedFrame(number(2n ** 63n - 1n)) }), /row 9223372036854775807/],
    ["an inline chunk of 2^40 bytes", file({ body: storedFrame(number(-(2n ** 40n))) }), /1099511627776 bytes before/],
    [
      "an inline chunk of 2^63 bytes",
      file({ body: storedFrame(number(-(2n ** 63n))) }),
      /9223372036854775808 bytes before/,
    ],
    ["more objects than the stream has bytes", file({ body: storedFrame(new Uint8Array(32)) }), /more than 3 objects/],
    ["a window over 128 MiB", file({ body: Buffer.from("28b52ffd0089010000", "hex") }), /too much memory/],
  ];
  for (const [name, bytes, message] of cases)
    test(name, async () => {
      await expect(read(bytes)).rejects.toThrowError(message);
      await expect(read(bytes)).rejects.toThrowError(/^stream S: /);
      await expect(read(bytes)).rejects.toMatchObject({ name: "ComposefsError" });
    });

  test("names that decode to more than 64 MiB, from 2 KB", async () => {
    const names = storedFrame(new Uint8Array((64 << 20) + 1));
    expect(names.length).toBeLessThan(4096);
    await expect(read(file({ names }))).rejects.toMatchObject({ code: "limit" });
  });
});

describe("accepted", () => {
  test("any flags", async () => {
    expect(await read(edited((b) => b.writeUInt16LE(0xffff, 12)))).toBe("abc<aa>");
  });

  test("an empty section that begins beyond the file", async () => {
    const bytes = edited((b) => b.fill(255, INFO.streamRefs, INFO.streamRefs + 16), {
      names: storedFrame(new Uint8Array(0)),
    });
    expect(await read(bytes)).toBe("abc<aa>");
  });

  test("a longer info section, sections in another order, unaligned", async () => {
    const original = file();
    const bytes = Buffer.concat([original, Buffer.alloc(3), original.subarray(32, 112), Buffer.from("later")]);
    const info = original.length + 3;
    bytes.writeBigUInt64LE(BigInt(info), 16);
    bytes.writeBigUInt64LE(BigInt(info + 85), 24);
    bytes.fill(255, 32, 112);
    expect(await read(bytes)).toBe("abc<aa>");
  });

  test("indices with plus and leading zeros, names twice (the last wins), the empty name", async () => {
    const names = storedFrame(records("+1:a", `${"0".repeat(300)}1:b`, "0:b", "1:"));
    const stream = await readSplitstream(file({ names }), "sha256");
    expect([...stream.namedRefs]).toEqual([
      ["a", B],
      ["b", A],
      ["", B],
    ]);
  });

  test("several frames, split inside a chunk, with skippable frames", async () => {
    const content = Buffer.concat([number(-3n), Buffer.from("abc"), number(1n)]);
    const skippable = Buffer.from("5e2a4d180300000078797a", "hex");
    const frames = [skippable];
    for (const byte of content) frames.push(Buffer.from(storedFrame(Uint8Array.of(byte))), skippable);
    expect(await read(file({ body: Buffer.concat(frames) }))).toBe("abc<aa>");
  });

  test("adjacent inline chunks", async () => {
    const body = storedFrame(Buffer.concat([number(-1n), Buffer.from("a"), number(-2n), Buffer.from("bc")]));
    expect(await read(file({ body }))).toBe("abc");
  });

  test("the old header layout", async () => {
    const bytes = file();
    const header = Buffer.alloc(32);
    bytes.copy(header, 0, 16, 32);
    bytes.copy(header, 16, 12, 14);
    bytes.copy(header, 18, 0, 12);
    bytes.copy(header, 30, 14, 16);
    header.copy(bytes);
    expect(await read(bytes)).toBe("abc<aa>");
    expect((await readSplitstream(bytes, "sha256")).layout).toBe("old");
    expect(looksLikeSplitstream(bytes.subarray(0, 32))).toBe(true);
    await expect(read(edited((b) => bytes.copy(b).valueOf() && (b[29] = 1)))).rejects.toThrowError(/version 1/);
  });
});

test("a gigabyte of inline data from 32 KB comes in pieces", async () => {
  const length = 2 ** 30 - 8;
  const frame = [Buffer.from("28b52ffd0058", "hex")];
  // A raw block with the length, then run-length blocks.
  frame.push(Buffer.from([(8 << 3) & 255, 0, 0]), number(-BigInt(length)));
  for (let left = length; left > 0; left -= 131072) {
    const size = Math.min(131072, left);
    const head = (size << 3) | 2 | (left <= 131072 ? 1 : 0);
    frame.push(Buffer.from([head & 255, (head >> 8) & 255, head >> 16, 0x61]));
  }
  const rss = process.memoryUsage.rss();
  let size = 0;
  const stream = await readSplitstream(file({ body: Buffer.concat(frame) }), "sha256");
  for await (const chunk of stream.chunks()) if (chunk.kind === "inline") size += chunk.bytes.length;
  expect(size).toBe(length);
  expect(process.memoryUsage.rss() - rss).toBeLessThan(200 << 20);
});

test("looksLikeSplitstream tells by either place of the magic", () => {
  expect(looksLikeSplitstream(file().subarray(0, 32))).toBe(true);
  expect(looksLikeSplitstream(Buffer.from("SplitStrea"))).toBe(false);
  expect(looksLikeSplitstream(Buffer.alloc(32))).toBe(false);
});
