// The `erofs` interface of core.wit: canonical-ABI glue around the writer. How functions get their WIT names: ../index.ts.
// A record argument arrives flattened, one wasm value per field; enums and u32 are i32, u64 is i64.

import { FailureCode, returnFailure } from "../abi/failure";
import { freeIncoming } from "../abi/memory";
import { returnBlock, returnPair } from "../abi/return-area";

@external("[export]composefs:core/erofs@0.1.0", "[resource-new]writer")
declare function newWriter(representation: usize): i32;

function notYet(): usize {
  return returnFailure(FailureCode.STATE, 0, "", "the image writer is not part of this build");
}

export function writer_constructor(
  minVersion: u32,
  maxVersion: u32,
  dialect: i32,
  objects: i32,
  image: i32,
): i32 {
  return newWriter(heap.alloc(16));
}

export function writer_drop(self: usize): void {
  heap.free(self);
}

export function writer_pushDump(self: usize, data: usize, length: usize): usize {
  freeIncoming(data, length);
  return notYet();
}

export function writer_pushRecords(self: usize, data: usize, length: usize): usize {
  freeIncoming(data, length);
  return notYet();
}

export function writer_window(self: usize, min: u32): usize {
  return returnPair(0, 0);
}

export function writer_advanceDump(self: usize, n: u32): usize {
  return notYet();
}

export function writer_advanceRecords(self: usize, n: u32): usize {
  return notYet();
}

export function writer_reserve(self: usize, inodes: u32, bytes: u32): void {}

export function writer_finish(self: usize): usize {
  return notYet();
}

export function writer_pull(self: usize, max: u32): usize {
  return returnBlock(1, 0);
}

export function writer_pullWindow(self: usize): usize {
  return returnPair(0, 0);
}

export function writer_digest(self: usize): usize {
  return returnBlock(1, 0);
}

export function writer_hashing(self: usize, on: i32): void {}
