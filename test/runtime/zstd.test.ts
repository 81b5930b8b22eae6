import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { zstdCompress, zstdDecompress, zstdDecompressFrames, zstdEncoder } from "../../src/runtime/zstd.ts";
import { storedFrame } from "../../src/runtime/zstd-encode.ts";

const text = (length: number) =>
  Buffer.from("the quick brown fox jumps over the lazy dog\n".repeat(length / 44 + 1)).subarray(0, length);

const hasTool = spawnSync("zstd", ["--version"]).status === 0;
const tool = (args: string[], input: Uint8Array) => {
  // By a file: Deno writes all of a child's input before it reads any output, so that large pipes block each other.
  const folder = mkdtempSync(join(tmpdir(), "composefs-zstd-"));
  try {
    const file = join(folder, "input.zst");
    writeFileSync(file, input);
    const run = spawnSync("zstd", [...args, "-c", "-q", file], { maxBuffer: 1 << 30 });
    expect(run.stderr.toString()).toBe("");
    return run.stdout;
  } finally {
    rmSync(folder, { recursive: true });
  }
};

const compress = (data: Uint8Array, encoder?: "node:zlib" | "zstd-codec" | "stored") => {
  const compressor = zstdCompress(3, encoder);
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < data.length; at += 100_000) pieces.push(...compressor.write(data.subarray(at, at + 100_000)));
  return Buffer.concat([...pieces, ...compressor.end()]);
};

const skippable = (content: string, number = 0) => {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(0x184d2a50 + number, 0);
  head.writeUInt32LE(content.length, 4);
  return Buffer.concat([head, Buffer.from(content)]);
};

function* split(data: Uint8Array, size: number): Generator<Uint8Array> {
  for (let at = 0; at < data.length; at += size) {
    // One buffer that is reused: what the decoder keeps it must copy.
    reused.set(data.subarray(at, at + size));
    yield reused.subarray(0, Math.min(size, data.length - at));
  }
}
// Single segment, content size in one byte, one raw block of three bytes.
const frame = (size: number) => Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x20, size, 0x19, 0, 0, 1, 2, 3]);
const head = (...bytes: number[]) => Buffer.from([0x28, 0xb5, 0x2f, 0xfd, ...bytes]);
const reused = new Uint8Array(1 << 20);

const decoder =
  (portable: boolean) =>
  async (data: Uint8Array, size = 65536): Promise<Uint8Array> => {
    const pieces: Uint8Array[] = [];
    for await (const piece of zstdDecompressFrames(split(data, size), { portable })) pieces.push(piece.slice());
    return Buffer.concat(pieces);
  };

for (const portable of [true, false]) {
  describe(portable ? "WebAssembly" : "the runtime's decoder, if it has one", () => {
    const decode = decoder(portable);

    for (const [name, data] of [
      ["nothing", new Uint8Array(0)],
      ["one byte", Uint8Array.of(7)],
      ["text", text(100_000)],
      ["random bytes", randomBytes(300_000)],
      ["zeros", new Uint8Array(3_000_000)],
      ["many blocks", Buffer.concat([text(9_000_000), randomBytes(2_000_000), text(9_000_000)])],
    ] as const)
      for (const encoder of [zstdEncoder(), "stored"] as const)
        test(`decodes ${name}, ${encoder}`, async () => {
          const compressed = compress(data, encoder);
          const back = await decode(compressed);
          expect(back.length).toBe(data.length);
          expect(Buffer.compare(back, data)).toBe(0);
          if (hasTool) expect(Buffer.compare(tool(["-d"], compressed), data)).toBe(0);
        });

    test("decodes frames that come byte by byte", async () => {
      const data = Buffer.concat([compress(text(5000)), skippable("x"), compress(text(70_000))]);
      expect((await decode(data, 1)).length).toBe(75_000);
    });

    test("decodes every frame, and skips skippable ones wherever they are", async () => {
      const [a, b] = [compress(text(1000)), compress(text(2000))];
      const data = Buffer.concat([skippable("first"), a, skippable("", 15), b, b, skippable("last")]);
      expect((await decode(data)).length).toBe(5000);
      expect((await decode(Buffer.concat([a, b]))).length).toBe(3000);
    });

    test.runIf(hasTool)("decodes what the zstd tool writes, at each kind of level", async () => {
      const data = Buffer.concat([text(3_000_000), randomBytes(100_000), text(7_000_000)]);
      for (const args of [
        ["-1"],
        ["-3"],
        ["-19", "--no-check"],
        ["--ultra", "-22"],
        ["-3", "--long=27"],
        ["-1", "--no-check"],
      ]) {
        const compressed = tool(args, data);
        expect(Buffer.compare(await decode(compressed), data), args.join(" ")).toBe(0);
      }
    });

    test.runIf(hasTool)("notices a wrong checksum, in small and in large frames", async () => {
      for (const size of [10_000, 12_000_000]) {
        const compressed = tool(["-3"], text(size));
        compressed[compressed.length - 1] = (compressed.at(-1) as number) ^ 1;
        await expect(decode(compressed), `${size}`).rejects.toMatchObject({ code: "invalid" });
      }
    });

    test("refuses truncated data wherever it is cut", async () => {
      const data = compress(text(3000));
      for (let length = 0; length < data.length; length++)
        await expect(decode(data.subarray(0, length)), `${length}`).rejects.toMatchObject({ code: "invalid" });
      const large = compress(Buffer.concat([randomBytes(2_000_000), randomBytes(2_000_000)]));
      await expect(decode(large.subarray(0, large.length - 1))).rejects.toMatchObject({ code: "invalid" });
    });

    test("refuses bytes after the last frame, and input without any frame", async () => {
      const data = compress(text(3000));
      for (const garbage of [Uint8Array.of(0), Buffer.from("garbage"), data.subarray(0, 3)])
        await expect(decode(Buffer.concat([data, garbage]))).rejects.toMatchObject({ code: "invalid" });
      await expect(decode(Buffer.from("no zstd at all"))).rejects.toMatchObject({
        code: "invalid",
        message: expect.stringContaining("offset 0"),
      });
      await expect(decode(skippable("only"))).rejects.toMatchObject({ code: "invalid" });
    });

    test("refuses a wrong content size, larger or smaller", async () => {
      expect([...(await decode(frame(3)))]).toEqual([1, 2, 3]);
      for (const size of [2, 4, 255])
        await expect(decode(frame(size)), `${size}`).rejects.toMatchObject({ code: "invalid" });
    });

    test("refuses windows over 128 MiB, dictionaries, reserved bits and block types", async () => {
      const window27 = head(0x00, 17 << 3, 0x01, 0, 0);
      expect((await decode(window27)).length).toBe(0);
      await expect(decode(head(0x00, (17 << 3) | 1, 0x01, 0, 0))).rejects.toMatchObject({ code: "limit" });
      await expect(decode(head(0x00, 31 << 3, 0x01, 0, 0))).rejects.toMatchObject({ code: "limit" });
      // A single segment that announces 2^60 bytes.
      await expect(decode(head(0xe0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0x01, 0, 0))).rejects.toMatchObject({ code: "limit" });
      await expect(decode(head(0x01, 0x58, 5, 0x01, 0, 0))).rejects.toMatchObject({ code: "invalid" });
      await expect(decode(head(0x08, 0x58, 0x01, 0, 0))).rejects.toMatchObject({ code: "invalid" });
      await expect(decode(head(0x00, 0x58, 0x07, 0, 0))).rejects.toMatchObject({ code: "invalid" });
    });

    test("refuses at once a block whose matches are gigabytes", async () => {
      const sequences = 30_000;
      const block = Buffer.concat([
        // One raw literal; every sequence: no literals, the last offset, the longest match with 16 bits of its own.
        Buffer.from([0x08, 0x61, 0x80 + (sequences >> 8), sequences & 255, 0x54, 0, 0, 52]),
        Buffer.alloc(2 * sequences, 0xff),
        Buffer.of(1),
      ]);
      const header = (block.length << 3) | 5;
      const data = Buffer.concat([head(0, 0x58, header & 255, (header >> 8) & 255, header >> 16), block]);
      const begin = performance.now();
      await expect(decode(data)).rejects.toMatchObject({ code: "invalid" });
      expect(performance.now() - begin).toBeLessThan(1000);
    });

    test("stops at a limit", async () => {
      const bomb = compress(new Uint8Array(4_000_000));
      await expect(zstdDecompress(bomb, 3_999_999, { portable, what: "a bomb" })).rejects.toMatchObject({
        code: "limit",
        message: expect.stringContaining("a bomb"),
      });
      expect((await zstdDecompress(bomb, 4_000_000, { portable })).length).toBe(4_000_000);
    });

    test("decodes gigabytes of run-length blocks without holding them", async () => {
      // 8192 blocks of 128 KiB of one byte: 1 GiB from 32 KB.
      const bomb = [Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58)];
      for (let i = 0; i < 8192; i++) bomb.push(Uint8Array.of(0x02 | (i === 8191 ? 1 : 0), 0, 0x10, 65));
      const before = process.memoryUsage.rss();
      let size = 0;
      let peak = 0;
      for await (const piece of zstdDecompressFrames([Buffer.concat(bomb)], { portable })) {
        size += piece.length;
        peak = Math.max(peak, process.memoryUsage.rss());
      }
      expect(size).toBe(2 ** 30);
      // Half of it: what a runtime has not collected yet is not held.
      expect(peak - before).toBeLessThan(512 << 20);
    });
  });
}

test("stored frames are valid, with run-length blocks where a block is one byte", () => {
  const zeros = storedFrame(new Uint8Array(400_000));
  expect(zeros.length).toBeLessThan(40);
  if (hasTool) expect(tool(["-d"], zeros).length).toBe(400_000);
  expect(storedFrame(new Uint8Array(0)).toString()).toBe(
    Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0x20, 0, 1, 0, 0).toString(),
  );
});

test("the compressor does not need its input to stay", async () => {
  const compressor = zstdCompress();
  const buffer = new Uint8Array(10);
  const pieces: Uint8Array[] = [];
  for (let i = 0; i < 10; i++) pieces.push(...compressor.write(buffer.fill(i)));
  pieces.push(...compressor.end());
  const expected = Buffer.concat(Array.from({ length: 10 }, (_, i) => Buffer.alloc(10, i)));
  expect(Buffer.compare(await zstdDecompress(Buffer.concat(pieces), 1000), expected)).toBe(0);
});
