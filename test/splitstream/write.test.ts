import { describe, expect, test } from "vitest";
import { readSplitstream, type Splitstream } from "../../src/splitstream/read.ts";
import { SplitstreamWriter } from "../../src/splitstream/write.ts";

const id = (digit: string) => digit.repeat(64);

async function chunks(stream: Splitstream): Promise<(number | string)[]> {
  const list: (number | string)[] = [];
  for await (const chunk of stream.chunks()) {
    if (chunk.kind === "external") list.push(chunk.id);
    // Pieces of one inline chunk are adjacent: add them up.
    else if (typeof list.at(-1) === "number") list.push((list.pop() as number) + chunk.bytes.length);
    else list.push(chunk.bytes.length);
  }
  return list;
}

test("writes the example of the specification byte by byte", () => {
  // docs/spec/splitstream.md, section 5.3: a manifest with four names; names and ids shortened to one digit.
  const writer = new SplitstreamWriter("sha256", "ocimanif");
  for (const [name, digit] of [
    ["config:sha256:c", "1"],
    ["sha256:3", "2"],
    ["sha256:1", "3"],
    ["sha256:2", "4"],
  ])
    writer.namedRef(name as string, id(digit as string));
  writer.external(id("a"), 708);
  const file = Buffer.from(writer.finish());
  expect(file.subarray(0, 32).toString("hex")).toBe(
    `${Buffer.from("SplitStream").toString("hex")}00_0000_01_0c_2000000000000000_7000000000000000`.replaceAll("_", ""),
  );
  expect(file.readBigUInt64LE(32)).toBe(0x70n);
  expect(file.readBigUInt64LE(40)).toBe(0xf0n);
  expect(file.readBigUInt64LE(48)).toBe(0xf0n);
  expect(file.readBigUInt64LE(56)).toBe(0x110n);
  // The body comes first in the table and last in the file.
  expect(file.readBigUInt64LE(80)).toBe(0x110n);
  expect(file.readBigUInt64LE(88)).toBe(file.readBigUInt64LE(64));
  expect(file.readBigUInt64LE(72)).toBe(BigInt(file.length));
  expect(file.subarray(96, 104).toString()).toBe("ocimanif");
  expect(file.readBigUInt64LE(104)).toBe(708n);
  expect(file.subarray(112, 240).toString("hex")).toBe(id("1") + id("2") + id("3") + id("4"));
  expect(file.subarray(240, 272).toString("hex")).toBe(id("a"));
});

describe("round trips", () => {
  for (const [name, build, expected] of [
    ["empty", () => {}, []],
    ["only inline", (w: SplitstreamWriter) => w.inline(Buffer.alloc(1000)), [1000]],
    ["only external", (w: SplitstreamWriter) => w.external(id("b"), 7), [id("b")]],
    [
      "the same object twice, external first and last",
      (w: SplitstreamWriter) => {
        w.external(id("b"), 7);
        w.inline(Buffer.alloc(3));
        w.inline(Buffer.alloc(0));
        w.inline(Buffer.alloc(509));
        w.external(id("c"), 8);
        w.external(id("b"), 7);
      },
      [id("b"), 512, id("c"), id("b")],
    ],
    [
      "inline chunks over 128 KiB",
      (w: SplitstreamWriter) => {
        w.inline(Buffer.alloc(300_000, "abcdefg"));
        w.external(id("b"), 7);
        for (let i = 0; i < 2000; i++) w.inline(Buffer.alloc(512, i));
      },
      [300_000, id("b"), 1_024_000],
    ],
  ] as const)
    test(name, async () => {
      const writer = new SplitstreamWriter("sha256", "ocilayer");
      build(writer);
      const size = writer.size;
      const stream = await readSplitstream(writer.finish(), "sha256");
      expect(stream.size).toBe(BigInt(size));
      expect(stream.contentType).toBe("ocilayer");
      expect(stream.layout).toBe("new");
      expect(await chunks(stream)).toEqual(expected);
      const externals = expected.filter((chunk) => typeof chunk === "string");
      expect(stream.objectRefs).toEqual([...new Set(externals)]);
    });

  test("names: sorted by UTF-8 bytes, one row per id, re-pointed names keep the old row", async () => {
    const writer = new SplitstreamWriter("sha256", "ociconfg");
    writer.namedRef("b", id("1"));
    writer.namedRef("\u{10000}", id("2"));
    writer.namedRef("\uffff", id("1"));
    writer.namedRef("", id("3"));
    writer.namedRef("b:c:d", id("2"));
    writer.namedRef("b", id("4"));
    const stream = await readSplitstream(writer.finish(), "sha256");
    expect(stream.streamRefs).toEqual([id("1"), id("2"), id("3"), id("4")]);
    // In UTF-16 order the surrogates of U+10000 would come before U+FFFF.
    expect([...stream.namedRefs]).toEqual([
      ["", id("3")],
      ["b", id("4")],
      ["b:c:d", id("2")],
      ["\uffff", id("1")],
      ["\u{10000}", id("2")],
    ]);
  });

  test("sha512", async () => {
    const writer = new SplitstreamWriter("sha512", "oci_blob");
    writer.external("d".repeat(128), 1);
    writer.namedRef("n", "e".repeat(128));
    const file = writer.finish();
    const stream = await readSplitstream(file, "sha512");
    expect(stream.objectRefs).toEqual(["d".repeat(128)]);
    expect(stream.namedRefs.get("n")).toBe("e".repeat(128));
    await expect(readSplitstream(file, "sha256")).rejects.toMatchObject({ code: "invalid" });
  });
});

test("refuses ids of another algorithm, NUL in names, and use after the end", () => {
  const writer = new SplitstreamWriter("sha256", "ocilayer");
  expect(() => writer.external("d".repeat(128), 1)).toThrowError(/not a sha256 object id/);
  expect(() => writer.namedRef("a\0b", id("1"))).toThrowError(/NUL/);
  writer.finish();
  expect(() => writer.inline(Buffer.alloc(1))).toThrowError(/finished/);
});

test("memory stays bounded by what is compressed, not by the stream", async () => {
  const writer = new SplitstreamWriter("sha256", "ocilayer");
  const header = Buffer.alloc(512);
  const before = process.memoryUsage.rss();
  // 300 MB of headers without any external chunk between them.
  for (let i = 0; i < 600_000; i++) {
    header.writeUInt32LE(i);
    writer.inline(header);
  }
  const file = writer.finish();
  expect(process.memoryUsage.rss() - before).toBeLessThan(150 << 20);
  let size = 0;
  let sum = 0;
  for await (const chunk of (await readSplitstream(file, "sha256")).chunks()) {
    if (chunk.kind !== "inline") throw new Error("no external chunk was written");
    for (let at = (512 - (size % 512)) % 512; at < chunk.bytes.length; at += 512) sum += chunk.bytes[at] as number;
    size += chunk.bytes.length;
  }
  expect(size).toBe(512 * 600_000);
  expect(sum).toBe(Array.from({ length: 600_000 }, (_, i) => i & 255).reduce((a, b) => a + b));
});
