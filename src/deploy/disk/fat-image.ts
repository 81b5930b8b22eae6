// A FAT32 file system from a directory: the EFI system partition of a disk image (docs/spec/vm-testing.md, section 6). Files lie in one
// piece each, directories first.

import { closeSync, lstatSync, openSync, readdirSync, readSync } from "node:fs";
import { join } from "node:path";
import { ComposefsError, systemError, throwIfAborted } from "../../error.ts";
import { encodeFatEntry, encodeFatName, FAT_ENTRY, fatEntryCount, type FatName, fatNames } from "./fat-names.ts";
import { SECTOR } from "./gpt.ts";
import type { BlockOutput } from "./sparse-output.ts";

const RESERVED = 32;
const FATS = 2;
/** With fewer clusters it would be FAT16 to those who read it. */
const MIN_CLUSTERS = 65_525;
const MAX_FILE = 2 ** 32 - 1;
const MIB = 1 << 20;
const DIRECTORY = 0x10;
const ARCHIVE = 0x20;
const LABEL = 0x08;

interface FatNode {
  readonly path: string;
  readonly name: string;
  readonly seconds: number;
  /** Bytes. */
  readonly size: number;
  /** Of a directory. */
  readonly children: readonly FatNode[] | undefined;
  readonly names: ReadonlyMap<string, FatName>;
  cluster: number;
}

/** A directory that becomes a FAT file system. */
export interface FatPlan {
  readonly root: FatNode;
  readonly files: number;
  readonly bytes: number;
}

/**
 * Reads names and sizes.
 *
 * @param latest no time is later than this second
 * @throws ComposefsError `invalid` for what FAT cannot hold: links, names, files of 4 GiB; what the operating system refuses
 */
export function planFat(directory: string, latest?: number): FatPlan {
  let [files, bytes] = [0, 0];
  const read = (path: string, name: string): FatNode => {
    const stat = lstatSync(path);
    const seconds = Math.min(Math.floor(stat.mtimeMs / 1000), latest ?? Infinity);
    if (stat.isDirectory()) {
      const entries = readdirSync(path).sort();
      const names = fatNames(entries, path);
      const children = entries.map((entry) => read(join(path, entry), entry));
      const count = children.reduce(
        (sum, child) => sum + fatEntryCount(child.name, names.get(child.name) as FatName),
        2,
      );
      return { path, name, seconds, size: count * FAT_ENTRY, children, names, cluster: 0 };
    }
    if (!stat.isFile() || stat.size > MAX_FILE)
      throw new ComposefsError(
        "invalid",
        `${path}: FAT has ${stat.isFile() ? "no files of 4 GiB" : "only files and directories"}`,
        {
          path,
          hint: "remove it from the directory of the ESP",
        },
      );
    files++;
    bytes += stat.size;
    return { path, name, seconds, size: stat.size, children: undefined, names: new Map(), cluster: 0 };
  };
  try {
    return { root: read(directory, ""), files, bytes };
  } catch (error) {
    throw systemError(error, `reading ${directory}`, directory);
  }
}

/** The size that an ESP gets: three times its content, as upgrades bring more kernels, and at least 512 MiB. */
export function fatSize({ bytes }: FatPlan): number {
  return Math.max(512 * MIB, Math.ceil((bytes * 3) / MIB) * MIB);
}

interface FatShape {
  readonly sectors: number;
  readonly perCluster: number;
  readonly fatSectors: number;
  readonly clusters: number;
}

function fatShape(size: number): FatShape {
  const sectors = Math.floor(size / SECTOR);
  const perCluster =
    size >= 16 * 1024 * MIB ? 32 : size >= 272 * MIB ? 8 : size >= 136 * MIB ? 4 : size >= 68 * MIB ? 2 : 1;
  // A cluster needs its own sectors and four bytes in each table.
  const perFatSector = SECTOR / 4;
  const fatSectors = Math.ceil((sectors - RESERVED + 2 * perCluster) / (perFatSector * perCluster + FATS));
  const clusters = Math.floor((sectors - RESERVED - FATS * fatSectors) / perCluster);
  if (clusters < MIN_CLUSTERS || sectors > 0xffffffff)
    throw new ComposefsError("usage", `an ESP of ${size} bytes cannot be FAT32`, {
      hint: "give an --esp-size from 36M up to less than 2T",
    });
  return { sectors, perCluster, fatSectors, clusters };
}

/** How an ESP is made. */
export interface FatOptions {
  /** Bytes. */
  readonly size: number;
  /** Bytes before it on the disk. */
  readonly offset: number;
  /** A number that tells one volume from another, 32 bits. */
  readonly serial: number;
  /** Up to 11 capital letters. */
  readonly label: string;
  /** When it is made. */
  readonly seconds: number;
  readonly signal: AbortSignal | undefined;
  readonly onBytes: (done: number) => void;
}

/**
 * Writes the file system.
 *
 * @throws ComposefsError `no-space` when the size is too small; what the operating system refuses
 */
export async function writeFat(output: BlockOutput, { root }: FatPlan, options: FatOptions): Promise<void> {
  const shape = fatShape(options.size);
  const clusterSize = shape.perCluster * SECTOR;
  const fat: number[] = [0x0ffffff8, 0x0fffffff];
  const all: FatNode[] = [];
  const place = (node: FatNode) => {
    all.push(node);
    const count = Math.max(node.children === undefined ? 0 : 1, Math.ceil(node.size / clusterSize));
    node.cluster = count === 0 ? 0 : fat.length;
    for (let i = 1; i <= count; i++) fat.push(i === count ? 0x0fffffff : fat.length + 1);
  };
  const placeAll = (node: FatNode) => {
    place(node);
    for (const child of node.children ?? []) if (child.children !== undefined) placeAll(child);
  };
  placeAll(root);
  for (const node of all) for (const child of node.children ?? []) if (child.children === undefined) place(child);
  if (fat.length - 2 > shape.clusters)
    throw new ComposefsError("no-space", `the ESP is too small for what is to be in it`, {
      hint: "give a larger --esp-size",
    });

  const dataStart = (RESERVED + FATS * shape.fatSectors) * SECTOR;
  const at = (cluster: number) => dataStart + (cluster - 2) * clusterSize;
  writeDirectories(output, root, root, at, options);
  const table = Buffer.alloc(fat.length * 4);
  for (const [index, value] of fat.entries()) table.writeUInt32LE(value, index * 4);
  for (let copy = 0; copy < FATS; copy++) output.write((RESERVED + copy * shape.fatSectors) * SECTOR, table);
  let done = 0;
  const area = Buffer.allocUnsafeSlow(MIB);
  for (const node of all) {
    if (node.children !== undefined) continue;
    throwIfAborted(options.signal);
    const fd = openSync(node.path, "r");
    try {
      for (let position = 0; position < node.size; ) {
        const count = readSync(fd, area, 0, Math.min(area.length, node.size - position), position);
        if (count === 0)
          throw new ComposefsError("io", `${node.path} was changed while it was read`, {
            path: node.path,
            hint: "run the command again when nothing writes to the ESP",
          });
        output.write(at(node.cluster) + position, area.subarray(0, count));
        position += count;
        done += count;
        await new Promise((resolve) => setImmediate(resolve));
        throwIfAborted(options.signal);
        options.onBytes(done);
      }
    } finally {
      closeSync(fd);
    }
  }
  writeBootSectors(output, shape, fat.length - 2, options);
}

function writeDirectories(
  output: BlockOutput,
  node: FatNode,
  parent: FatNode,
  at: (cluster: number) => number,
  options: FatOptions,
): void {
  const isRoot = node === parent;
  const own = { attributes: DIRECTORY, size: 0, seconds: node.seconds };
  const entries: Buffer[] = isRoot
    ? [encodeFatEntry(options.label.padEnd(11), { attributes: LABEL, cluster: 0, size: 0, seconds: options.seconds })]
    : [
        encodeFatEntry(".".padEnd(11), { ...own, cluster: node.cluster }),
        // The root is 0 here, wherever it lies.
        encodeFatEntry("..".padEnd(11), {
          ...own,
          cluster: parent.children === undefined || parent.name === "" ? 0 : parent.cluster,
        }),
      ];
  for (const child of node.children ?? []) {
    const isDirectory = child.children !== undefined;
    entries.push(
      encodeFatName(child.name, node.names.get(child.name) as FatName, {
        attributes: isDirectory ? DIRECTORY : ARCHIVE,
        cluster: child.cluster,
        size: isDirectory ? 0 : child.size,
        seconds: child.seconds,
      }),
    );
    if (isDirectory) writeDirectories(output, child, node, at, options);
  }
  output.write(at(node.cluster), Buffer.concat(entries));
}

function writeBootSectors(output: BlockOutput, shape: FatShape, used: number, options: FatOptions): void {
  const boot = Buffer.alloc(SECTOR);
  boot.set([0xeb, 0x58, 0x90]);
  boot.write("COMPOSEF", 3, "latin1");
  boot.writeUInt16LE(SECTOR, 11);
  boot[13] = shape.perCluster;
  boot.writeUInt16LE(RESERVED, 14);
  boot[16] = FATS;
  boot[21] = 0xf8;
  boot.writeUInt16LE(63, 24);
  boot.writeUInt16LE(255, 26);
  boot.writeUInt32LE(options.offset / SECTOR, 28);
  boot.writeUInt32LE(shape.sectors, 32);
  boot.writeUInt32LE(shape.fatSectors, 36);
  boot.writeUInt32LE(2, 44);
  boot.writeUInt16LE(1, 48);
  boot.writeUInt16LE(6, 50);
  boot[64] = 0x80;
  boot[66] = 0x29;
  boot.writeUInt32LE(options.serial, 67);
  boot.write(options.label.padEnd(11), 71, "latin1");
  boot.write("FAT32   ", 82, "latin1");
  boot.set([0x55, 0xaa], 510);
  const info = Buffer.alloc(SECTOR);
  info.writeUInt32LE(0x41615252, 0);
  info.writeUInt32LE(0x61417272, 484);
  info.writeUInt32LE(shape.clusters - used, 488);
  info.writeUInt32LE(used + 2, 492);
  info.set([0x55, 0xaa], 510);
  for (const start of [6, 0]) {
    output.write((start + 1) * SECTOR, info);
    output.write(start * SECTOR, boot);
  }
}
