// A GUID partition table (docs/spec/vm-testing.md, section 6): protective MBR, header and entries at both ends, sectors of 512 bytes.

import { crc32 } from "./checksum.ts";
import type { BlockOutput } from "./sparse-output.ts";

export const SECTOR = 512;
/** Partitions begin at multiples of it; so much stays free at both ends. */
export const ALIGNMENT = 1 << 20;

const ENTRIES = 128;
const ENTRY_SIZE = 128;
const ENTRY_SECTORS = (ENTRIES * ENTRY_SIZE) / SECTOR;

/** The type of an EFI system partition. */
export const ESP_TYPE = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";

/** The types of root partitions that systemd finds by themselves, by the names of architectures in OCI images. */
export const ROOT_TYPES: Readonly<Record<string, string>> = {
  "386": "44479540-f297-41b2-9af7-d131d5f0458a",
  amd64: "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
  arm: "69dad710-2ce4-4e3c-b16c-21a1d49abed3",
  arm64: "b921b045-1df0-41c3-af44-4c6f280d3fae",
  loong64: "77055800-792c-4f94-b39a-98c91b762bb6",
  ppc64le: "c31c45e6-3f39-412e-80fb-4809c4980599",
  riscv64: "72ec70a6-cf74-40e6-bd49-4bda08e8f224",
  s390x: "5eead9a9-fe09-4a1e-a1d7-520d00531306",
};

/** A partition. */
export interface Partition {
  /** GUID of what it is. */
  readonly type: string;
  /** GUID of this one: its PARTUUID. */
  readonly uuid: string;
  /** Up to 36 characters. */
  readonly name: string;
  /** In bytes, multiples of {@link ALIGNMENT}. */
  readonly start: number;
  readonly size: number;
}

/**
 * Writes the table.
 *
 * @param size of the disk in bytes
 * @param uuid GUID of the disk
 */
export function writeGpt(output: BlockOutput, size: number, uuid: string, partitions: readonly Partition[]): void {
  const sectors = Math.floor(size / SECTOR);
  const entries = Buffer.alloc(ENTRIES * ENTRY_SIZE);
  for (const [index, partition] of partitions.entries()) {
    const entry = entries.subarray(index * ENTRY_SIZE, (index + 1) * ENTRY_SIZE);
    entry.set(guidBytes(partition.type), 0);
    entry.set(guidBytes(partition.uuid), 16);
    entry.writeBigUInt64LE(BigInt(partition.start / SECTOR), 32);
    entry.writeBigUInt64LE(BigInt((partition.start + partition.size) / SECTOR - 1), 40);
    entry.write(partition.name.slice(0, 36), 56, "utf16le");
  }
  const header = (own: number, other: number, entriesAt: number) => {
    const bytes = Buffer.alloc(SECTOR);
    bytes.write("EFI PART", 0, "latin1");
    bytes.writeUInt32LE(0x10000, 8);
    bytes.writeUInt32LE(92, 12);
    bytes.writeBigUInt64LE(BigInt(own), 24);
    bytes.writeBigUInt64LE(BigInt(other), 32);
    bytes.writeBigUInt64LE(BigInt(2 + ENTRY_SECTORS), 40);
    bytes.writeBigUInt64LE(BigInt(sectors - 2 - ENTRY_SECTORS), 48);
    bytes.set(guidBytes(uuid), 56);
    bytes.writeBigUInt64LE(BigInt(entriesAt), 72);
    bytes.writeUInt32LE(ENTRIES, 80);
    bytes.writeUInt32LE(ENTRY_SIZE, 84);
    bytes.writeUInt32LE(crc32(entries), 88);
    bytes.writeUInt32LE(crc32(bytes.subarray(0, 92)), 16);
    return bytes;
  };
  const last = sectors - 1;
  const copyAt = last - ENTRY_SECTORS;
  output.write(copyAt * SECTOR, entries);
  output.write(last * SECTOR, header(last, 1, copyAt));
  output.write(2 * SECTOR, entries);
  output.write(SECTOR, header(1, last, 2));
  output.write(0, protectiveMbr(sectors));
}

function protectiveMbr(sectors: number): Buffer {
  const bytes = Buffer.alloc(SECTOR);
  // One partition of type EE over all of it, for programs that know no GPT.
  bytes.set([0, 0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff], 446);
  bytes.writeUInt32LE(1, 454);
  bytes.writeUInt32LE(Math.min(sectors - 1, 0xffffffff), 458);
  bytes.set([0x55, 0xaa], 510);
  return bytes;
}

/** The first three groups of a GUID are little endian. */
function guidBytes(guid: string): Buffer {
  const bytes = Buffer.from(guid.replaceAll("-", ""), "hex");
  bytes.subarray(0, 4).reverse();
  bytes.subarray(4, 6).reverse();
  bytes.subarray(6, 8).reverse();
  return bytes;
}
