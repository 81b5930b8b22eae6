// Streaming the image out, from the first byte to the last (docs/spec/erofs.md, 3 and 14): header and superblock,
// inodes, shared xattrs, data blocks. The state between two pieces is where the next thing goes and which it is.

import { storeDirents } from "./dirents";
import { storeInode, storeSuperblock } from "./emit-inode";
import { imageSize } from "./layout";
import { entrySize } from "./share";
import { DIRECTORY, Directory, Entry, Inode, InodeFlag, Leaf, isNone, typeOf } from "./tree";
import { Writer } from "./writer";
import { storeEntry } from "./xattr-area";
import { Pair } from "./xattrs";

/** A piece is at least so long, unless the image ends. */
const PIECE: u32 = 1 << 20;
/** Room for the largest thing that is written at once: an inode with its xattrs and tail, and the gap before it. */
const SLACK: u32 = 1 << 19;
const BLOCK_SIZE: u32 = 4096;

namespace Part {
  export const SUPERBLOCK: u8 = 0;
  export const INODES: u8 = 1;
  export const SHARED: u8 = 2;
  export const DATA: u8 = 3;
  export const END: u8 = 4;
}

@unmanaged
export class Emitter {
  /** Offset of the buffer's first byte in the image. */
  base: u64;
  /** Where the next thing of the current part goes. */
  position: u64;
  buffer: usize;
  capacity: u32;
  /** Bytes at the start of the buffer that were handed out. */
  handedOut: u32;
  /** Bytes of the buffer that are written. */
  used: u32;
  part: u8;
  /** The inode that comes next. */
  inode: Inode;
  /** Block number for the next inode with data blocks. */
  nextBlock: u32;
  sharedIndex: u32;
  /** Number of the data block within the inode, and the entry that begins it. */
  blockIndex: u32;
  entry: Entry;
}

/** An emitter at the start of the laid out image; none at the memory limit. */
export function newEmitter(writer: Writer): Emitter {
  const arena = writer.arena;
  const at = arena.alloc(offsetof<Emitter>());
  if (at == 0) return changetype<Emitter>(0);
  const emitter = changetype<Emitter>(at);
  emitter.capacity = <u32>min<u64>(PIECE + SLACK, imageSize(writer));
  emitter.buffer = arena.alloc(emitter.capacity);
  if (emitter.buffer == 0) return changetype<Emitter>(0);
  return emitter;
}

/** Fills the buffer with the next piece and answers its length, a multiple of 4096; 0 at the end of the image. */
export function nextPiece(writer: Writer): u32 {
  const emitter = writer.emitter;
  const rest = emitter.used - emitter.handedOut;
  if (emitter.handedOut != 0) {
    memory.copy(emitter.buffer, emitter.buffer + emitter.handedOut, rest);
    emitter.base += emitter.handedOut;
    emitter.handedOut = 0;
    emitter.used = rest;
    memory.fill(emitter.buffer + rest, 0, emitter.capacity - rest);
  }
  while (emitter.part != Part.END && emitter.used < PIECE) step(writer, emitter);
  emitter.handedOut = emitter.part == Part.END ? emitter.used : emitter.used & ~(BLOCK_SIZE - 1);
  return emitter.handedOut;
}

/** Where in the buffer the image offset is. */
@inline
function addressOf(emitter: Emitter, position: u64): usize {
  return emitter.buffer + <usize>(position - emitter.base);
}

function step(writer: Writer, emitter: Emitter): void {
  if (emitter.part == Part.INODES) return emitInode(writer, emitter);
  if (emitter.part == Part.SHARED) return emitShared(writer, emitter);
  if (emitter.part == Part.DATA) return emitData(writer, emitter);
  storeSuperblock(writer, emitter.buffer);
  emitter.inode = writer.firstInode;
  emitter.nextBlock = <u32>(writer.dataStart >> 12);
  emitter.part = Part.INODES;
}

function emitInode(writer: Writer, emitter: Emitter): void {
  const inode = emitter.inode;
  if (isNone(changetype<usize>(inode))) {
    emitter.position = writer.inodesEnd;
    emitter.part = Part.SHARED;
    return;
  }
  const position = <u64>inode.nid << 5;
  const end = storeInode(writer, inode, emitter.position, emitter.nextBlock, addressOf(emitter, position));
  // For inodes `position` counts them: it is the number of versions 0 and 1.
  emitter.position++;
  emitter.nextBlock += inode.blocks;
  emitter.used = <u32>(end - emitter.buffer);
  emitter.inode = inode.next;
}

function emitShared(writer: Writer, emitter: Emitter): void {
  const index = emitter.sharedIndex++;
  if (index == writer.sharedCount) {
    emitter.used = <u32>(writer.dataStart - emitter.base);
    emitter.part = Part.DATA;
    emitter.inode = changetype<Inode>(0);
    startNextData(writer.firstInode, emitter);
    return;
  }
  const pair = changetype<Pair>(<usize>load<u32>(writer.shared + (<usize>index << 2)));
  storeEntry(pair, addressOf(emitter, emitter.position));
  emitter.position += entrySize(pair);
  emitter.used = <u32>(emitter.position - emitter.base);
}

/** Goes to the first inode with data blocks, from `inode` on. */
function startNextData(inode: Inode, emitter: Emitter): void {
  while (!isNone(changetype<usize>(inode)) && inode.blocks == 0) inode = inode.next;
  emitter.inode = inode;
  emitter.blockIndex = 0;
  if (isNone(changetype<usize>(inode))) emitter.part = Part.END;
  else if (typeOf(inode) == DIRECTORY) emitter.entry = changetype<Directory>(inode).first;
}

/** Writes one data block. */
function emitData(writer: Writer, emitter: Emitter): void {
  const inode = emitter.inode;
  const to = emitter.buffer + emitter.used;
  if (typeOf(inode) == DIRECTORY) {
    emitter.entry = storeDirents(emitter.entry, to);
  } else if ((inode.flags & InodeFlag.CHUNKS_IN_BLOCK) != 0) {
    memory.fill(to, 0xff, BLOCK_SIZE);
  } else {
    const offset = <u64>emitter.blockIndex << 12;
    memory.copy(to, changetype<Leaf>(inode).data + <usize>offset, <usize>min<u64>(BLOCK_SIZE, inode.size - offset));
  }
  emitter.used += BLOCK_SIZE;
  if (++emitter.blockIndex == inode.blocks) startNextData(inode.next, emitter);
}
