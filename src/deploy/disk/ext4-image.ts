// An ext4 file system from a directory, in one pass (docs/spec/vm-testing.md, sections 6 and 8).
//
// A writer of our own rather than mke2fs and debugfs: it needs no program, no staged copy as large as the result, and no script of two
// commands for each object whose failures are only text; owners are what is asked for without being root; and the trees of fs-verity are
// made from the very bytes that are written, so that an object which does not have its name's digest is found instead of being sealed.
// What it makes is plain: all metadata in front, extents without gaps, directories without index. The kernel and e2fsprogs take it from
// there; the tests hold it against both.

import { createHash } from "node:crypto";
import { displayBytes } from "../../bytes/byte-string.ts";
import { ComposefsError, throwIfAborted } from "../../error.ts";
import { scanCalls } from "../../runtime/scan-calls.ts";
import { crc32c } from "./checksum.ts";
import { directoryContent, type DirectoryRecord } from "./ext4-directory.ts";
import { BlockAllocator, BLOCKS_PER_GROUP, ext4Geometry, FIRST_INODE } from "./ext4-geometry.ts";
import { type Geometry, hasSuperblock, INODE_SIZE, type Run } from "./ext4-geometry.ts";
import { BLOCK_LIST_SIZE, deviceBlockList, encodeExtents, encodeInode, extentsOf } from "./ext4-inode.ts";
import { INODE_FLAG, type Inode, inodeSeed, leafCount } from "./ext4-inode.ts";
import { type Ext4Plan, LOST_FOUND_BLOCKS, type PlannedNode } from "./ext4-plan.ts";
import { encodeDescriptor, encodeJournal, encodeSuperblock, JOURNAL_INODE, ROOT_INODE } from "./ext4-superblock.ts";
import { XATTR_CHECKSUM } from "./ext4-xattrs.ts";
import { openContent, readPieces } from "./source-content.ts";
import { type SourceNode, TYPE } from "./source-tree.ts";
import { BLOCK, type BlockOutput } from "./sparse-output.ts";
import { verityLayout, VerityMetadata } from "./verity-data.ts";

/** What an ext4 image is made with. */
export interface Ext4Options {
  /** Bytes. */
  readonly size: number;
  /** 16 bytes. */
  readonly uuid: Uint8Array;
  /** Up to 16 bytes. */
  readonly label: Uint8Array;
  /** When it is made, in seconds. */
  readonly seconds: number;
  /** Path of the directory. */
  readonly rootPath: string;
  readonly signal: AbortSignal | undefined;
  /** Gets the bytes that have been read so far. */
  readonly onBytes: (done: number) => void;
}

/**
 * Writes the file system.
 *
 * @throws ComposefsError `no-space` when the size is too small, `corrupt` for an object whose content is not what its name says, and what
 *   the operating system refuses
 */
export async function writeExt4(output: BlockOutput, plan: Ext4Plan, options: Ext4Options): Promise<void> {
  await new Ext4Writer(output, plan, options).write();
}

interface Placed {
  readonly list: Uint8Array;
  /** Blocks of the list itself, and those of {@link Placed.parts}. */
  readonly blocks: number;
}

interface Part {
  readonly logical: number;
  readonly runs: readonly Run[];
}

class Ext4Writer {
  readonly #output: BlockOutput;
  readonly #plan: Ext4Plan;
  readonly #options: Ext4Options;
  readonly #geometry: Geometry;
  readonly #allocator: BlockAllocator;
  readonly #seed: number;
  readonly #blockBitmaps: number[];
  readonly #inodeBitmaps: number[];
  readonly #tables: number[] = [];
  readonly #directories: number[];
  readonly #area = Buffer.allocUnsafeSlow(1 << 20);
  #table = Buffer.alloc(BLOCK);
  #tableBlock = -1;
  #bytes = 0;
  #files = 0;

  constructor(output: BlockOutput, plan: Ext4Plan, options: Ext4Options) {
    this.#output = output;
    this.#plan = plan;
    this.#options = options;
    this.#geometry = ext4Geometry(options.size, plan.inodes);
    this.#allocator = new BlockAllocator(this.#geometry);
    this.#seed = crc32c(options.uuid);
    const { groups, tableBlocks } = this.#geometry;
    this.#blockBitmaps = blockNumbers(this.#allocator.take(groups));
    this.#inodeBitmaps = blockNumbers(this.#allocator.take(groups));
    for (let group = 0; group < groups; group++) this.#tables.push(this.#allocator.takeContiguous(tableBlocks));
    this.#directories = Array.from({ length: groups }, () => 0);
  }

  async write(): Promise<void> {
    const { rootPath } = this.#options;
    const [root, ...rest] = this.#plan.nodes;
    if (root === undefined) throw new ComposefsError("internal", "a file system without a root");
    const calls = scanCalls();
    const rootFd = calls.openRoot(rootPath);
    try {
      // In the order of their inodes, so that each block of the table is written once.
      await this.#writeNode(root, rootFd);
      const journal = this.#writeJournal();
      this.#writeLostFound(root.node);
      this.#countDirectories();
      for (const planned of rest) await this.#writeNode(planned, rootFd);
      this.#flushTable();
      this.#writeGroups(journal);
    } finally {
      calls.close(rootFd);
    }
  }

  async #writeNode(planned: PlannedNode, rootFd: number): Promise<void> {
    if (++this.#files % 256 === 0) await this.#pause();
    const { node, xattrs, seal, segments } = planned;
    const seed = inodeSeed(this.#seed, node.inode);
    const parts: Part[] = segments.map(({ logical, blocks }) => ({ logical, runs: this.#allocator.take(blocks) }));
    const type = node.mode & TYPE.mask;
    let [size, flags] = [node.size, 0];
    if (type === TYPE.regular) {
      if (seal !== undefined) {
        flags = INODE_FLAG.verity;
        const { start, blocks } = verityLayout(seal.algorithm, node.size);
        parts.push({ logical: start, runs: this.#allocator.take(blocks) });
      }
      if (node.size > 0) await this.#writeContent(planned, parts, rootFd);
      else if (seal !== undefined) this.#finishSeal(planned, new VerityMetadata(seal.algorithm, 0, this.#sink(parts)));
    } else if (type === TYPE.directory) {
      size = this.#writeDirectory(node, parts, seed);
    } else if (type === TYPE.symlink) {
      size = node.target?.length ?? 0;
      if (parts.length > 0) this.#sink(parts)(0, Buffer.from(node.target ?? "", "latin1"));
    }
    const { list, blocks } = this.#placed(planned, parts, seed);
    const xattrBlock = xattrs.block === undefined ? 0 : this.#writeXattrBlock(xattrs.block);
    const hasExtents = type === TYPE.regular || type === TYPE.directory || parts.length > 0;
    this.#writeInode(
      node.inode,
      {
        mode: node.mode,
        uid: node.uid,
        gid: node.gid,
        size,
        links: linkCount(node),
        blocks: blocks + (xattrBlock === 0 ? 0 : 1),
        flags: flags | (hasExtents ? INODE_FLAG.extents : 0),
        seconds: node.seconds,
        nanoseconds: node.nanoseconds,
        blockList: list,
        xattrs: xattrs.inline,
        xattrBlock,
      },
      seed,
    );
  }

  #placed({ node }: PlannedNode, parts: readonly Part[], seed: number): Placed {
    const type = node.mode & TYPE.mask;
    if (type === TYPE.character || type === TYPE.block) return { list: deviceBlockList(node.rdev), blocks: 0 };
    if (type === TYPE.symlink && parts.length === 0) {
      const list = Buffer.alloc(BLOCK_LIST_SIZE);
      list.write(node.target ?? "", "latin1");
      return { list, blocks: 0 };
    }
    if (type === TYPE.fifo) return { list: Buffer.alloc(BLOCK_LIST_SIZE), blocks: 0 };
    return this.#extents(parts, seed, node);
  }

  #extents(parts: readonly Part[], seed: number, node?: SourceNode): Placed {
    const extents = extentsOf(parts);
    const count = leafCount(extents);
    if (count > 4)
      throw new ComposefsError("limit", `${this.#shown(node)} has too many separate pieces`, {
        path: this.#shown(node),
        hint: "copy it, so that it has fewer holes",
      });
    const leaves = blockNumbers(this.#allocator.take(count));
    const tree = encodeExtents(extents, leaves, seed);
    for (const [index, leaf] of tree.leaves.entries()) this.#output.write((leaves[index] as number) * BLOCK, leaf);
    return { list: tree.root, blocks: count + extents.reduce((sum, { length }) => sum + length, 0) };
  }

  async #writeContent(planned: PlannedNode, parts: readonly Part[], rootFd: number): Promise<void> {
    const { node, seal, segments } = planned;
    const shown = this.#shown(node);
    const sink = this.#sink(parts);
    const metadata = seal && new VerityMetadata(seal.algorithm, node.size, sink);
    const fd = openContent(rootFd, node, shown);
    try {
      for (const { logical, blocks } of segments) {
        const range = { start: logical * BLOCK, end: Math.min(node.size, (logical + blocks) * BLOCK), shown };
        await readPieces(
          fd,
          range,
          () => metadata?.window() ?? this.#area,
          async (piece, position) => {
            sink(position / BLOCK, piece);
            metadata?.take(piece.length);
            this.#bytes += piece.length;
            if (piece.length === this.#area.length) await this.#pause();
          },
        );
      }
    } finally {
      scanCalls().close(fd);
    }
    if (metadata !== undefined) this.#finishSeal(planned, metadata);
  }

  #finishSeal({ node, seal }: PlannedNode, metadata: VerityMetadata): void {
    const digest = metadata.finish();
    if (seal?.id === undefined || seal.id === digest) return;
    throw new ComposefsError(
      "corrupt",
      `the object ${this.#shown(node)} is damaged: its content has the digest ${digest}`,
      {
        path: this.#shown(node),
        digest: seal.id,
        hint: "`composefs fsck --repair` removes damaged objects; then pull the image again",
      },
    );
  }

  /** Writes at a block of a file, across runs. */
  #sink(parts: readonly Part[]): (block: number, bytes: Uint8Array) => void {
    return (block, bytes) => {
      let done = 0;
      for (const { logical, runs } of parts) {
        let at = logical;
        for (const { start, length } of runs) {
          const from = Math.max(block + done / BLOCK, at);
          if (done < bytes.length && from < at + length && block + done / BLOCK >= at) {
            const count = Math.min(bytes.length - done, (at + length - from) * BLOCK);
            this.#output.write((start + from - at) * BLOCK, bytes.subarray(done, done + count));
            done += count;
          }
          at += length;
        }
      }
      if (done < bytes.length) throw new ComposefsError("internal", "data beyond the blocks of a file");
    };
  }

  #writeDirectory(node: SourceNode, parts: readonly Part[], seed: number): number {
    const parent = this.#parents.get(node) ?? node;
    const records = function* (children: NonNullable<SourceNode["children"]>): Generator<DirectoryRecord> {
      yield { name: ".", inode: node.inode, mode: TYPE.directory };
      yield { name: "..", inode: parent.inode, mode: TYPE.directory };
      if (node === parent) yield { name: "lost+found", inode: FIRST_INODE, mode: TYPE.directory };
      for (const { name, node: child } of children) yield { name, inode: child.inode, mode: child.mode };
    };
    const sink = this.#sink(parts);
    let block = 0;
    for (const bytes of directoryContent(records(node.children ?? []), seed)) sink(block++, bytes);
    for (const { node: child } of node.children ?? []) if (child.children !== undefined) this.#parents.set(child, node);
    return block * BLOCK;
  }

  /** Directories whose parent has been written, until they are. */
  readonly #parents = new WeakMap<SourceNode, SourceNode>();

  #writeLostFound(root: SourceNode): void {
    const seed = inodeSeed(this.#seed, FIRST_INODE);
    const parts = [{ logical: 0, runs: this.#allocator.take(LOST_FOUND_BLOCKS) }];
    const sink = this.#sink(parts);
    let block = 0;
    const records = [
      { name: ".", inode: FIRST_INODE, mode: TYPE.directory },
      { name: "..", inode: ROOT_INODE, mode: TYPE.directory },
    ];
    for (const bytes of directoryContent(records, seed, LOST_FOUND_BLOCKS)) sink(block++, bytes);
    const { list, blocks } = this.#extents(parts, seed);
    const inode = { ...OWN_FILE, mode: TYPE.directory | 0o700, links: 2, seconds: root.seconds };
    this.#writeInode(FIRST_INODE, { ...inode, size: blocks * BLOCK, blocks, blockList: list }, seed);
  }

  #writeJournal(): Uint8Array {
    const { journalBlocks } = this.#geometry;
    const seed = inodeSeed(this.#seed, JOURNAL_INODE);
    const parts = [{ logical: 0, runs: this.#allocator.take(journalBlocks) }];
    this.#sink(parts)(0, encodeJournal(journalBlocks, BLOCK, this.#options.uuid));
    const { list, blocks } = this.#extents(parts, seed);
    const inode = { ...OWN_FILE, mode: TYPE.regular | 0o600, links: 1, seconds: this.#options.seconds };
    this.#writeInode(JOURNAL_INODE, { ...inode, size: journalBlocks * BLOCK, blocks, blockList: list }, seed);
    return list;
  }

  #writeXattrBlock(block: Buffer): number {
    const [at = 0] = blockNumbers(this.#allocator.take(1));
    const place = Buffer.alloc(8);
    place.writeBigUInt64LE(BigInt(at));
    block.writeUInt32LE(crc32c(block, crc32c(place, this.#seed)), XATTR_CHECKSUM);
    this.#output.write(at * BLOCK, block);
    return at;
  }

  #writeInode(number: number, inode: Inode, seed: number): void {
    const { inodesPerGroup } = this.#geometry;
    const group = Math.floor((number - 1) / inodesPerGroup);
    const position = ((number - 1) % inodesPerGroup) * INODE_SIZE;
    const block = (this.#tables[group] as number) + Math.floor(position / BLOCK);
    if (block !== this.#tableBlock) {
      this.#flushTable();
      this.#tableBlock = block;
    }
    this.#table.set(encodeInode(inode, seed), position % BLOCK);
  }

  #flushTable(): void {
    if (this.#tableBlock >= 0) this.#output.write(this.#tableBlock * BLOCK, this.#table);
    this.#table.fill(0);
  }

  #countDirectories(): void {
    const count = (inode: number) => {
      const group = Math.floor((inode - 1) / this.#geometry.inodesPerGroup);
      this.#directories[group] = (this.#directories[group] as number) + 1;
    };
    count(FIRST_INODE);
    for (const { node } of this.#plan.nodes) if (node.children !== undefined) count(node.inode);
  }

  #writeGroups(journal: Uint8Array): void {
    const { groups, inodesPerGroup, descriptorBlocks, journalBlocks } = this.#geometry;
    const descriptors = Buffer.alloc(descriptorBlocks * BLOCK);
    let [freeBlocks, freeInodes] = [0, 0];
    for (let group = 0; group < groups; group++) {
      const bitmap = this.#allocator.bitmap(group);
      const used = Math.min(inodesPerGroup, Math.max(0, this.#plan.inodes - group * inodesPerGroup));
      const inodes = inodeBitmap(used, inodesPerGroup);
      this.#output.write((this.#blockBitmaps[group] as number) * BLOCK, bitmap);
      this.#output.write((this.#inodeBitmaps[group] as number) * BLOCK, inodes);
      const facts = {
        blockBitmap: { block: this.#blockBitmaps[group] as number, checksum: crc32c(bitmap, this.#seed) },
        inodeBitmap: {
          block: this.#inodeBitmaps[group] as number,
          checksum: crc32c(inodes.subarray(0, inodesPerGroup / 8), this.#seed),
        },
        inodeTable: this.#tables[group] as number,
        freeBlocks: this.#allocator.free(group),
        freeInodes: inodesPerGroup - used,
        directories: this.#directories[group] as number,
      };
      freeBlocks += facts.freeBlocks;
      freeInodes += facts.freeInodes;
      const descriptor = encodeDescriptor(facts, group, this.#seed);
      descriptors.set(descriptor, group * descriptor.length);
    }
    const { uuid, label, seconds } = this.#options;
    const facts = {
      uuid,
      label,
      seconds,
      // Any will do that cannot be guessed from outside, and is the same for the same file system.
      hashSeed: createHash("sha256").update("ext4 hash seed").update(uuid).digest().subarray(0, 16),
      freeBlocks,
      freeInodes,
      written: 0,
      journalBlockList: journal,
      journalSize: journalBlocks * BLOCK,
    };
    for (let group = groups - 1; group >= 0; group--) {
      if (!hasSuperblock(group)) continue;
      const at = group * BLOCKS_PER_GROUP * BLOCK;
      this.#output.write(at + BLOCK, descriptors);
      this.#output.write(group === 0 ? 1024 : at, encodeSuperblock(this.#geometry, facts, group));
    }
  }

  #shown(node: SourceNode | undefined): string {
    const { rootPath } = this.#options;
    return node === undefined || node.path === "" ? rootPath : `${rootPath}/${displayBytes(node.path)}`;
  }

  /** Lets signals come through, and progress. */
  async #pause(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    throwIfAborted(this.#options.signal);
    this.#options.onBytes(this.#bytes);
  }
}

/** What the files of the file system itself have in common. */
const OWN_FILE = {
  uid: 0,
  gid: 0,
  flags: INODE_FLAG.extents,
  nanoseconds: 0,
  xattrs: Buffer.alloc(0),
  xattrBlock: 0,
} as const;

/** More names than a count holds are said with 1. */
const MAX_LINKS = 65_000;

function linkCount(node: SourceNode): number {
  if (node.children === undefined) return node.links;
  const directories = node.children.filter(({ node: child }) => child.children !== undefined).length;
  const links = 2 + directories + (node.path === "" ? 1 : 0);
  return links > MAX_LINKS ? 1 : links;
}

function blockNumbers(runs: readonly Run[]): number[] {
  return runs.flatMap(({ start, length }) => Array.from({ length }, (_, i) => start + i));
}

/** The first `used` are in use; what no inode belongs to counts as used. */
function inodeBitmap(used: number, inodes: number): Buffer {
  const bitmap = Buffer.alloc(BLOCK);
  bitmap.fill(0xff, 0, Math.floor(used / 8));
  if (used % 8 !== 0) bitmap[Math.floor(used / 8)] = (1 << (used % 8)) - 1;
  bitmap.fill(0xff, inodes / 8);
  return bitmap;
}
