// The partition table, read by the rules of the UEFI specification; checksums by zlib.

import { crc32 } from "node:zlib";
import { expect, test } from "vitest";
import { crc32 as ours, crc32c } from "../../../src/deploy/disk/checksum.ts";
import { ALIGNMENT, ESP_TYPE, type Partition, ROOT_TYPES, writeGpt } from "../../../src/deploy/disk/gpt.ts";

const SIZE = 8 * ALIGNMENT;
const DISK = "01234567-89ab-8def-8123-456789abcdef";
const PARTITIONS: Partition[] = [
  { type: ESP_TYPE, uuid: "11111111-2222-8333-8444-555555555555", name: "ESP", start: ALIGNMENT, size: 2 * ALIGNMENT },
  {
    type: ROOT_TYPES["amd64"] as string,
    uuid: "aaaaaaaa-bbbb-8ccc-8ddd-eeeeeeeeeeee",
    name: "root",
    start: 3 * ALIGNMENT,
    size: 4 * ALIGNMENT,
  },
];

function disk(): Buffer {
  const bytes = Buffer.alloc(SIZE);
  writeGpt({ write: (at, part) => bytes.set(part, at) }, SIZE, DISK, PARTITIONS);
  return bytes;
}

function guid(bytes: Buffer): string {
  const hex = (part: Buffer) => part.toString("hex");
  const swapped = (start: number, end: number) => hex(Buffer.from(bytes.subarray(start, end)).reverse());
  return [swapped(0, 4), swapped(4, 6), swapped(6, 8), hex(bytes.subarray(8, 10)), hex(bytes.subarray(10, 16))].join(
    "-",
  );
}

test("checksums are those of others", () => {
  const text = Buffer.from("123456789");
  expect(ours(text)).toBe(crc32(text));
  // The check value of CRC-32C, which is inverted at the end.
  expect((crc32c(text) ^ 0xffffffff) >>> 0).toBe(0xe3069283);
});

test("both headers are right, and name the same partitions", () => {
  const bytes = disk();
  const sectors = SIZE / 512;
  for (const [own, other] of [
    [1, sectors - 1],
    [sectors - 1, 1],
  ] as const) {
    const header = Buffer.from(bytes.subarray(own * 512, own * 512 + 92));
    expect(header.toString("latin1", 0, 8)).toBe("EFI PART");
    expect([header.readBigUInt64LE(24), header.readBigUInt64LE(32)]).toEqual([BigInt(own), BigInt(other)]);
    expect([header.readBigUInt64LE(40), header.readBigUInt64LE(48)]).toEqual([34n, BigInt(sectors - 34)]);
    expect(guid(header.subarray(56, 72))).toBe(DISK);
    const checksum = header.readUInt32LE(16);
    header.writeUInt32LE(0, 16);
    expect(checksum).toBe(crc32(header));
    const at = Number(header.readBigUInt64LE(72)) * 512;
    const entries = bytes.subarray(at, at + 128 * 128);
    expect(header.readUInt32LE(88)).toBe(crc32(entries));
    for (const [index, partition] of PARTITIONS.entries()) {
      const entry = entries.subarray(index * 128, (index + 1) * 128);
      expect(guid(entry)).toBe(partition.type);
      expect(guid(entry.subarray(16))).toBe(partition.uuid);
      expect(Number(entry.readBigUInt64LE(32)) * 512).toBe(partition.start);
      expect((Number(entry.readBigUInt64LE(40)) + 1) * 512).toBe(partition.start + partition.size);
      expect(entry.toString("utf16le", 56).replace(/\0+$/, "")).toBe(partition.name);
    }
    expect(entries.subarray(256).every((byte) => byte === 0)).toBe(true);
  }
});

test("programs that know no GPT see one partition over all of it", () => {
  const bytes = disk();
  expect(bytes.subarray(446, 458).toString("hex")).toBe("00000200eeffffff01000000");
  expect(bytes.readUInt32LE(458)).toBe(SIZE / 512 - 1);
  expect(bytes.readUInt16LE(510)).toBe(0xaa55);
});
