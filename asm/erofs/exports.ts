// The `erofs` interface of core.wit: canonical-ABI glue around the writer. Names: ../index.ts.
// A record argument arrives flattened, one wasm value per field; enums and u32 are i32, u64 is i64.

import { PAYLOAD, returnOk } from "../abi/failure";
import { freeIncoming } from "../abi/memory";
import { returnArea, returnBlock, returnCopy, returnPair } from "../abi/return-area";
import { readLines } from "../dumpfile/line";
import { Tree, finishTree, freeTree, newTree, updateTree } from "../fsverity/tree";
import { digestSize } from "../sha2/blocks";
import { nextPiece } from "./emit";
import { FailureCode, failureCode, refuse, refuseMemory, returnRefusal } from "./failure";
import { imageSize, layOut } from "./layout";
import { readRecords } from "./record";
import { isNone } from "./tree";
import { Phase, Writer, enterPhase, freeWriter, newWriter } from "./writer";

@external("[export]composefs:core/erofs@0.1.0", "[resource-new]writer")
declare function newHandle(representation: usize): i32;

/** What a handle stands for: the writer (0 when there was no memory for one) and what it needs at the border. */
@unmanaged
class Resource {
  writer: usize;
  /** The fs-verity tree of the image, if the core computes it. */
  tree: usize;
  hashing: bool;
  started: bool;
  ended: bool;
  algorithm: i32;
  /** What of the last piece `pull` has not answered yet. */
  pieceAt: usize;
  pieceLength: u32;
}

/** The digest of the image lies behind the object. */
const DIGEST_ROOM: usize = 64;

export function writer_constructor(minVersion: u32, maxVersion: u32, dialect: i32, objects: i32, image: i32): i32 {
  const size = offsetof<Resource>() + DIGEST_ROOM;
  const resource = changetype<Resource>(heap.alloc(size));
  memory.fill(changetype<usize>(resource), 0, size);
  resource.hashing = true;
  resource.algorithm = image;
  resource.writer = newWriter(minVersion, maxVersion, dialect, objects);
  return newHandle(changetype<usize>(resource));
}

export function writer_drop(self: Resource): void {
  if (self.writer != 0) freeWriter(changetype<Writer>(self.writer));
  if (self.tree != 0) freeTree(changetype<Tree>(self.tree));
  heap.free(changetype<usize>(self));
}

/** The refusal that was set; the writer takes nothing more after it. */
function failed(self: Resource): usize {
  if (self.writer != 0 && failureCode != FailureCode.STATE) changetype<Writer>(self.writer).phase = Phase.FAILED;
  return returnRefusal();
}

function enter(self: Resource, phase: u8): bool {
  return self.writer == 0 ? refuseMemory() : enterPhase(changetype<Writer>(self.writer), phase);
}

function read(writer: Writer, last: bool): bool {
  return writer.phase == Phase.DUMP ? readLines(writer, last) : readRecords(writer, last);
}

/** Takes bytes that the host has put elsewhere, window by window. */
function push(self: Resource, phase: u8, data: usize, length: usize): bool {
  if (!enter(self, phase)) return false;
  const writer = changetype<Writer>(self.writer);
  const input = writer.input;
  let taken: usize = 0;
  while (taken < length) {
    if (!input.makeRoom(writer.arena, 1)) return refuseMemory();
    const piece = min<usize>(input.freeLength, length - taken);
    memory.copy(input.freeAddress, data + taken, piece);
    input.end += <u32>piece;
    taken += piece;
    if (!read(writer, false)) return false;
  }
  return true;
}

function pushAndFree(self: Resource, phase: u8, data: usize, length: usize): usize {
  const taken = push(self, phase, data, length);
  freeIncoming(data, length);
  return taken ? returnOk() : failed(self);
}

export function writer_pushDump(self: Resource, data: usize, length: usize): usize {
  return pushAndFree(self, Phase.DUMP, data, length);
}

export function writer_pushRecords(self: Resource, data: usize, length: usize): usize {
  return pushAndFree(self, Phase.RECORDS, data, length);
}

/** At the memory limit the window has no room; the next call says why. */
export function writer_window(self: Resource, min: u32): usize {
  if (self.writer == 0) return returnPair(0, 0);
  const writer = changetype<Writer>(self.writer);
  if (writer.phase > Phase.RECORDS) return returnPair(0, 0);
  const input = writer.input;
  if (!input.makeRoom(writer.arena, min)) return returnPair(0, 0);
  return returnPair(<u32>input.freeAddress, input.freeLength);
}

function advance(self: Resource, phase: u8, n: u32): usize {
  if (!enter(self, phase)) return failed(self);
  const writer = changetype<Writer>(self.writer);
  if (n > writer.input.freeLength) {
    refuse(FailureCode.STATE, "", "there are fewer bytes in the window");
    return failed(self);
  }
  writer.input.end += n;
  return read(writer, false) ? returnOk() : failed(self);
}

export function writer_advanceDump(self: Resource, n: u32): usize {
  return advance(self, Phase.DUMP, n);
}

export function writer_advanceRecords(self: Resource, n: u32): usize {
  return advance(self, Phase.RECORDS, n);
}

/** What an inode takes with its name and digest; a little more than it is on average. */
const BYTES_PER_INODE: usize = 176;

export function writer_reserve(self: Resource, inodes: u32, bytes: u32): void {
  if (self.writer == 0) return;
  const size = <u64>inodes * BYTES_PER_INODE + bytes;
  changetype<Writer>(self.writer).arena.reserve(<usize>min<u64>(size, u32.MAX_VALUE));
}

export function writer_finish(self: Resource): usize {
  if (!finish(self)) return failed(self);
  const writer = changetype<Writer>(self.writer);
  const area = returnArea();
  store<u64>(area, imageSize(writer), PAYLOAD);
  store<u32>(area, writer.version, PAYLOAD + 8);
  store<u64>(area, writer.inodeCount, PAYLOAD + 16);
  return area;
}

function finish(self: Resource): bool {
  if (self.writer == 0) return refuseMemory();
  const writer = changetype<Writer>(self.writer);
  if (!enterPhase(writer, writer.phase == Phase.EMPTY ? Phase.DUMP : writer.phase)) return false;
  if (writer.phase == Phase.FINISHED) return refuse(FailureCode.STATE, "", "the writer is finished");
  if (writer.phase == Phase.FAILED) return refuse(FailureCode.STATE, "", "the writer has failed before");
  if (!read(writer, true)) return false;
  if (isNone(changetype<usize>(writer.root))) {
    return refuse(FailureCode.MISSING_PARENT, "PATH", "there are no entries; the first must be the root directory, /");
  }
  writer.line = 0;
  return layOut(writer);
}

/** Makes the next piece and hashes it. */
function nextHashedPiece(self: Resource): u32 {
  if (self.writer == 0) return 0;
  const writer = changetype<Writer>(self.writer);
  if (writer.phase != Phase.FINISHED || self.ended) return 0;
  if (!self.started) {
    self.started = true;
    if (self.hashing) self.tree = changetype<usize>(newTree(self.algorithm));
  }
  const length = nextPiece(writer);
  self.pieceAt = writer.emitter.buffer;
  self.pieceLength = length;
  if (length == 0) self.ended = true;
  else if (self.tree != 0) updateTree(changetype<Tree>(self.tree), self.pieceAt, length);
  return length;
}

export function writer_pull(self: Resource, max: u32): usize {
  if (self.pieceLength == 0) nextHashedPiece(self);
  const length = min(self.pieceLength, max);
  const at = self.pieceAt;
  self.pieceAt += length;
  self.pieceLength -= length;
  return returnCopy(at, length);
}

export function writer_pullWindow(self: Resource): usize {
  if (self.pieceLength == 0) nextHashedPiece(self);
  const length = self.pieceLength;
  self.pieceLength = 0;
  return returnPair(<u32>self.pieceAt, length);
}

export function writer_digest(self: Resource): usize {
  if (!self.ended || self.tree == 0) return returnBlock(1, 0);
  const size = digestSize(self.algorithm);
  const tree = changetype<Tree>(self.tree);
  if (!tree.spent) finishTree(tree, tree.size, changetype<usize>(self) + offsetof<Resource>());
  return returnCopy(changetype<usize>(self) + offsetof<Resource>(), size);
}

export function writer_hashing(self: Resource, on: i32): void {
  if (!self.started) self.hashing = on != 0;
}
