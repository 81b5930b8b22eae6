// Directories of ext4 as a list of blocks without an index, which the kernel reads at any length. Each block ends with a checksum.

import type { ByteString } from "../../bytes/byte-string.ts";
import { crc32c } from "./checksum.ts";
import { BLOCK } from "./sparse-output.ts";

/** What a name leads to. */
export interface DirectoryRecord {
  readonly name: ByteString;
  readonly inode: number;
  /** As in st_mode. */
  readonly mode: number;
}

const TAIL = 12;
const ROOM = BLOCK - TAIL;
/** The number of a type in an entry, by the four type bits of st_mode. */
const FILE_TYPES: Readonly<Record<number, number>> = { 0o10: 1, 0o4: 2, 0o2: 3, 0o6: 4, 0o1: 5, 0o12: 7 };

function recordLength(name: ByteString): number {
  return 8 + Math.ceil(name.length / 4) * 4;
}

/** How many blocks a directory with these names has, `.` and `..` not among them. */
export function directoryBlocks(names: Iterable<ByteString>): number {
  let blocks = 1;
  let used = recordLength(".") + recordLength("..");
  for (const name of names) {
    const length = recordLength(name);
    if (used + length > ROOM) {
      blocks++;
      used = 0;
    }
    used += length;
  }
  return blocks;
}

/**
 * The blocks.
 *
 * @param records `.` and `..` first, sorted
 * @param seed checksum of the directory's inode
 * @param minimum blocks, those without a name at the end
 */
export function* directoryContent(
  records: Iterable<DirectoryRecord>,
  seed: number,
  minimum = 1,
): Generator<Buffer, void, undefined> {
  let block = Buffer.alloc(BLOCK);
  let used = 0;
  let last = -1;
  let count = 0;
  const finish = () => {
    // The last entry reaches to the checksum; a block without a name has one that leads nowhere.
    if (last < 0) block.writeUInt16LE(ROOM, 4);
    else block.writeUInt16LE(ROOM - last, last + 4);
    block.writeUInt16LE(TAIL, ROOM + 4);
    block[ROOM + 7] = 0xde;
    block.writeUInt32LE(crc32c(block.subarray(0, ROOM), seed), ROOM + 8);
    const done = block;
    block = Buffer.alloc(BLOCK);
    used = 0;
    last = -1;
    count++;
    return done;
  };
  for (const { name, inode, mode } of records) {
    const length = recordLength(name);
    if (used + length > ROOM) yield finish();
    block.writeUInt32LE(inode, used);
    block.writeUInt16LE(length, used + 4);
    block[used + 6] = name.length;
    block[used + 7] = FILE_TYPES[mode >> 12] ?? 0;
    block.write(name, used + 8, "latin1");
    last = used;
    used += length;
  }
  yield finish();
  for (let made = count; made < minimum; made++) yield finish();
}
