// What an ext4 file system of a directory will hold, and how much room that takes, before a byte of it is written.

import type { Algorithm, ObjectId } from "../../bytes/algorithm.ts";
import { displayBytes } from "../../bytes/byte-string.ts";
import { scanCalls } from "../../runtime/scan-calls.ts";
import { directoryBlocks } from "./ext4-directory.ts";
import { BLOCKS_PER_GROUP, ext4Geometry, FIRST_INODE } from "./ext4-geometry.ts";
import { BLOCK_LIST_SIZE, XATTR_ROOM } from "./ext4-inode.ts";
import { encodeXattrs, type EncodedXattrs } from "./ext4-xattrs.ts";
import { openContent } from "./source-content.ts";
import { type SourceNode, TYPE } from "./source-tree.ts";
import { BLOCK } from "./sparse-output.ts";
import { verityLayout } from "./verity-data.ts";

/** A file that gets fs-verity. */
export interface Seal {
  readonly algorithm: Algorithm;
  /** What its digest has to be; whatever it is, when left out. */
  readonly id: ObjectId | undefined;
}

/** Says which files get fs-verity, by their paths relative to the root. */
export type SealChoice = (path: string) => Seal | undefined;

/** Data of a file that lies in one piece; the rest of the file is a hole. */
export interface Segment {
  /** The first block, and how many. */
  readonly logical: number;
  readonly blocks: number;
}

/** One inode of the directory. */
export interface PlannedNode {
  readonly node: SourceNode;
  readonly xattrs: EncodedXattrs;
  readonly seal: Seal | undefined;
  readonly segments: readonly Segment[];
}

/** All of it. */
export interface Ext4Plan {
  /** In the order of their inodes, the root first. */
  readonly nodes: readonly PlannedNode[];
  /** Inodes that are used, those of the file system itself among them. */
  readonly inodes: number;
  /** Blocks of files, directories and attributes. */
  readonly blocks: number;
  /** Bytes that will be read. */
  readonly bytes: number;
  readonly sealed: number;
}

/** Blocks of `lost+found`, as mke2fs makes it. */
export const LOST_FOUND_BLOCKS = 4;

/**
 * Gives every file its inode and counts.
 *
 * @param rootPath of the directory, for holes and messages
 * @throws ComposefsError as {@link encodeXattrs}, and what the operating system refuses
 */
export function planExt4(root: SourceNode, rootPath: string, sealOf: SealChoice): Ext4Plan {
  const nodes: PlannedNode[] = [];
  let [next, blocks, bytes, sealed] = [FIRST_INODE + 1, LOST_FOUND_BLOCKS, 0, 0];
  const rootFd = scanCalls().openRoot(rootPath);
  const visit = (node: SourceNode) => {
    if (node.inode !== 0) return;
    node.inode = nodes.length === 0 ? 2 : next++;
    const seal = (node.mode & TYPE.mask) === TYPE.regular ? sealOf(node.path) : undefined;
    const shown = node.path === "" ? rootPath : `${rootPath}/${displayBytes(node.path)}`;
    const xattrs = encodeXattrs(node.xattrs, XATTR_ROOM, shown);
    const segments = segmentsOf(node, seal, rootFd, shown);
    nodes.push({ node, xattrs, seal, segments });
    for (const segment of segments) blocks += segment.blocks;
    if (seal !== undefined) {
      blocks += verityLayout(seal.algorithm, node.size).blocks;
      sealed++;
    }
    if (xattrs.block !== undefined) blocks++;
    // Some large file may need blocks for its list of blocks: two for each GiB are more than enough.
    blocks += 2 * Math.floor(node.size / 2 ** 30);
    bytes += node.size;
    for (const child of node.children ?? []) visit(child.node);
  };
  try {
    visit(root);
  } finally {
    scanCalls().close(rootFd);
  }
  return { nodes, inodes: next - 1, blocks, bytes, sealed };
}

function segmentsOf(node: SourceNode, seal: Seal | undefined, rootFd: number, shown: string): Segment[] {
  const whole = (blocks: number) => (blocks === 0 ? [] : [{ logical: 0, blocks }]);
  switch (node.mode & TYPE.mask) {
    case TYPE.directory: {
      const names = (node.children ?? []).map(({ name }) => name);
      return whole(directoryBlocks(node.path === "" ? ["lost+found", ...names] : names));
    }
    case TYPE.symlink:
      return whole((node.target ?? "").length < BLOCK_LIST_SIZE ? 0 : 1);
    case TYPE.regular:
      // What fs-verity covers has a digest for every block of it.
      return node.hasHoles && seal === undefined
        ? dataSegments(node, rootFd, shown)
        : whole(Math.ceil(node.size / BLOCK));
    default:
      return [];
  }
}

function dataSegments(node: SourceNode, rootFd: number, shown: string): Segment[] {
  const calls = scanCalls();
  const fd = openContent(rootFd, node, shown);
  try {
    const segments: Segment[] = [];
    let end = 0;
    for (let at = 0; at < node.size; ) {
      const data = calls.nextData(fd, at);
      if (data < 0 || data >= node.size) break;
      const hole = Math.min(calls.nextHole(fd, data), node.size);
      const first = Math.max(end, Math.floor(data / BLOCK));
      end = Math.max(end, Math.ceil(hole / BLOCK));
      if (end > first) segments.push({ logical: first, blocks: end - first });
      at = hole;
    }
    return segments;
  } finally {
    calls.close(fd);
  }
}

/** The smallest size in bytes, a multiple of 1 MiB, that holds the plan and has that much room beside. */
export function ext4Size({ blocks, inodes }: Ext4Plan, freeBytes: number): number {
  const MIB = 1 << 20;
  let size = Math.ceil(((blocks * BLOCK + freeBytes) * 1.02 + 8 * MIB) / MIB) * MIB;
  for (;;) {
    const needed = (blocks + overhead(size, inodes)) * BLOCK + freeBytes;
    if (needed <= size) return size;
    size += Math.ceil((needed - size) / MIB) * MIB;
  }
}

/** Blocks that are taken by the file system itself, at most. */
export function overhead(size: number, inodes: number): number {
  const { groups, descriptorBlocks, tableBlocks, journalBlocks } = ext4Geometry(size, inodes);
  // An inode table that meets the copy of a superblock leaves the blocks before it free, once for each group with one.
  const copies = Math.ceil((groups * (tableBlocks + 2)) / BLOCKS_PER_GROUP) + 1;
  return (
    groups * (2 + tableBlocks) + journalBlocks + (1 + descriptorBlocks) * Math.min(groups, 60) + copies * tableBlocks
  );
}
