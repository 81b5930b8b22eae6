// The `erofs-reader` interface of core.wit: canonical-ABI glue around the reader. How functions get their WIT names: ../index.ts.
// An `option<enum>` argument arrives as two values: whether it is there, and the case.

import { FailureCode, PAYLOAD, returnFailure, returnOk } from "../abi/failure";
import { freeIncoming } from "../abi/memory";
import { giveCopy, returnArea, returnPair } from "../abi/return-area";
import { refuse, refuseMemory, returnRefusal } from "../erofs/failure";
import { takeFinding } from "./check";
import { Dump, newDump, resetDump, writeDump } from "./dump";
import { MAX_NAME } from "./directory";
import { openImage } from "./image";
import { loadTree } from "./load";
import { Found, lookUp } from "./lookup";
import { sortObjects, writeObjects } from "./objects";
import { Output, Reader, State, dropReader, newReader } from "./reader";
import { RECORD_ROOM } from "./record-window";
import { Records, newRecords, resetRecords, startNode, writeNode, writeRecords } from "./records";
import { selectName } from "./selection";

@external("[export]composefs:core/erofs-reader@0.1.0", "[resource-new]reader")
declare function newHandle(representation: usize): i32;

function wrongState(message: string): usize {
  return returnFailure(FailureCode.STATE, 0, "", message);
}

export function reader_constructor(hasAlgorithm: i32, algorithm: i32): i32 {
  return newHandle(changetype<usize>(newReader(hasAlgorithm == 0 ? 0 : algorithm == 0 ? 32 : 64)));
}

export function reader_drop(self: usize): void {
  dropReader(changetype<Reader>(self));
}

export function reader_reserve(self: usize, size: u64): usize {
  const reader = changetype<Reader>(self);
  if (reader.state != State.NEW) return wrongState("the size of the image is given already");
  if (size > MAX_IMAGE) {
    refuse(FailureCode.LIMIT, "size", "an image of more than 3 GiB does not fit into the memory that WebAssembly has");
    return returnRefusal();
  }
  // One byte more, so that an image of no bytes has an address too.
  reader.image.base = reader.arena.alloc(<usize>size + 1);
  if (reader.image.base == 0) {
    refuseMemory();
    return returnRefusal();
  }
  reader.image.room = <u32>size;
  reader.state = State.FILLING;
  return returnOk();
}

const MAX_IMAGE: u64 = 3 << 30;

export function reader_push(self: usize, data: usize, length: usize): usize {
  const reader = changetype<Reader>(self);
  const image = reader.image;
  const fits = reader.state == State.FILLING && length <= <usize>(image.room - image.size);
  if (fits) {
    memory.copy(image.base + image.size, data, length);
    image.size += <u32>length;
  }
  freeIncoming(data, length);
  return fits ? returnOk() : wrongState("more bytes than the size that was given");
}

export function reader_window(self: usize): usize {
  const image = changetype<Reader>(self).image;
  if (changetype<Reader>(self).state != State.FILLING) return returnPair(0, 0);
  return returnPair(<u32>(image.base + image.size), image.room - image.size);
}

export function reader_advance(self: usize, n: u32): usize {
  const reader = changetype<Reader>(self);
  const image = reader.image;
  if (reader.state != State.FILLING || n > image.room - image.size) {
    return wrongState("more bytes than the window has room for");
  }
  image.size += n;
  return returnOk();
}

export function reader_open(self: usize): usize {
  const reader = changetype<Reader>(self);
  const image = reader.image;
  if (reader.state == State.NEW) return wrongState("the size of the image was not given");
  if (reader.state == State.FILLING) {
    if (image.size != image.room) return wrongState("the image is not complete");
    if (!openImage(image)) return returnRefusal();
    reader.state = State.OPEN;
  }
  returnOk();
  const area = returnArea();
  store<u32>(area + PAYLOAD, image.version);
  store<u32>(area + PAYLOAD, image.flags, 4);
  store<u32>(area + PAYLOAD, image.root, 8);
  store<u64>(area + PAYLOAD, image.inodes, 16);
  return area;
}

/** Runs the walk. True if the image is valid; else `failed` is the result. */
function load(reader: Reader, check: bool, repository: bool, collect: bool): bool {
  if (reader.state != State.OPEN) {
    failed = wrongState("the image is not open");
    return false;
  }
  reader.output = Output.NOTHING;
  reader.check = check;
  reader.checkRepository = repository;
  reader.collect = collect;
  if (loadTree(reader)) return true;
  failed = returnRefusal();
  return false;
}

let failed: usize = 0;

export function reader_load(self: usize): usize {
  const reader = changetype<Reader>(self);
  if (!reader.loaded && !load(reader, false, false, false)) return failed;
  const area = returnOk();
  store<u64>(area + PAYLOAD, reader.inodeCount);
  store<u64>(area + PAYLOAD, reader.directoryCount, 8);
  store<u32>(area + PAYLOAD, reader.digestSize, 16);
  return area;
}

export function reader_check(self: usize, repository: i32): usize {
  const reader = changetype<Reader>(self);
  if (!load(reader, true, repository != 0, false)) return failed;
  const area = returnOk();
  store<u64>(area + PAYLOAD, reader.findingCount);
  return area;
}

export function reader_nextFinding(self: usize): usize {
  return takeFinding(changetype<Reader>(self)) ? returnRefusal() : returnArea();
}

export function reader_objects(self: usize, repository: i32): usize {
  const reader = changetype<Reader>(self);
  if (reader.digestSize == 0) return wrongState("the algorithm of the objects was not given");
  if (!load(reader, true, repository != 0, true)) return failed;
  if (takeFinding(reader)) return returnRefusal();
  if (!sortObjects(reader)) return returnRefusal();
  reader.output = Output.OBJECTS;
  const area = returnOk();
  store<u64>(area + PAYLOAD, reader.digestCount);
  return area;
}

/** Case of the enum `dump-form`. */
const C_FORM: i32 = 1;

export function reader_select(self: usize, name: usize, length: usize): usize {
  const reader = changetype<Reader>(self);
  const selected = selectName(reader, name, <u32>length);
  freeIncoming(name, length);
  reader.output = Output.NOTHING;
  return selected ? returnOk() : returnRefusal();
}

export function reader_dump(self: usize, form: i32): usize {
  const reader = changetype<Reader>(self);
  if (!reader.loaded && !load(reader, false, false, false)) return failed;
  if (reader.dump == 0) reader.dump = changetype<usize>(newDump(reader));
  if (reader.dump == 0) {
    refuseMemory();
    return returnRefusal();
  }
  resetDump(changetype<Dump>(reader.dump), form == C_FORM);
  reader.output = Output.DUMP;
  return returnOk();
}

export function reader_tree(self: usize): usize {
  const reader = changetype<Reader>(self);
  if (!reader.loaded && !load(reader, false, false, false)) return failed;
  reader.records = startRecords(reader, reader.records);
  if (reader.records == 0) return returnRefusal();
  reader.output = Output.RECORDS;
  return returnOk();
}

/** Records from the start, those that were made before if there are any. 0 after a refusal. */
function startRecords(reader: Reader, made: usize): usize {
  if (made != 0) resetRecords(changetype<Records>(made));
  else made = changetype<usize>(newRecords(reader));
  if (made == 0) refuseMemory();
  return made;
}

export function reader_lookup(self: usize, path: usize, length: usize): usize {
  const reader = changetype<Reader>(self);
  if (reader.state != State.OPEN) {
    freeIncoming(path, length);
    return wrongState("the image is not open");
  }
  reader.output = Output.NOTHING;
  reader.node = startRecords(reader, reader.node);
  let found = Found.REFUSED;
  if (reader.node != 0) {
    const records = changetype<Records>(reader.node);
    found = lookUp(reader, records.walk, path, <u32>length);
    // The name points into the path, which is given back.
    if (found == Found.NODE && !(keepName(reader, records) && startNode(reader, records))) found = Found.REFUSED;
  }
  freeIncoming(path, length);
  if (found == Found.REFUSED) return returnRefusal();
  if (found == Found.NODE) reader.output = Output.NODE;
  const area = returnOk();
  store<u8>(area + PAYLOAD, <u8>(found == Found.NODE));
  return area;
}

function keepName(reader: Reader, records: Records): bool {
  const walk = records.walk;
  if (walk.nameLength == 0) return true;
  if (reader.nameRoom == 0) reader.nameRoom = reader.arena.alloc(MAX_NAME);
  const copy = reader.nameRoom;
  if (copy == 0) return refuseMemory();
  memory.copy(copy, walk.name, walk.nameLength);
  walk.name = copy;
  return true;
}

/** Fills the window; answers the length, or -1 after a refusal. */
function fill(reader: Reader): i32 {
  const room = RECORD_ROOM;
  if (reader.output == Output.NOTHING) return 0;
  if (reader.window == 0) reader.window = reader.arena.alloc(RECORD_ROOM);
  if (reader.window == 0) {
    refuseMemory();
    return -1;
  }
  if (reader.output == Output.DUMP) return writeDump(reader, changetype<Dump>(reader.dump), reader.window, room);
  if (reader.output == Output.OBJECTS) return <i32>writeObjects(reader, reader.window, room);
  if (reader.output == Output.NODE) return writeNode(reader, changetype<Records>(reader.node), reader.window, room);
  return writeRecords(reader, changetype<Records>(reader.records), reader.window, room);
}

export function reader_pull(self: usize): usize {
  const reader = changetype<Reader>(self);
  const length = fill(reader);
  if (length < 0) return returnRefusal();
  const area = returnOk();
  giveCopy(PAYLOAD, reader.window, length);
  return area;
}

export function reader_pullWindow(self: usize): usize {
  const reader = changetype<Reader>(self);
  const length = fill(reader);
  if (length < 0) return returnRefusal();
  const area = returnOk();
  store<u32>(area + PAYLOAD, <u32>reader.window);
  store<u32>(area + PAYLOAD, length, 4);
  return area;
}
