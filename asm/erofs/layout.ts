// From the finished tree to positions for everything: the order of work of docs/spec/erofs.md, 2.3.

import { newEmitter } from "./emit";
import { FailureCode, refuse, refuseMemory } from "./failure";
import { resolveLinks } from "./links";
import { addDots, chooseOwners, orderByBreadth, orderByDepth, sortDirectories } from "./order";
import { rewriteForOverlay } from "./overlay";
import { placeInodes as placeV1 } from "./place-v1";
import { placeInodes as placeV2 } from "./place-v2";
import { ACL_ACCESS, ACL_DEFAULT } from "./prefixes";
import { buildSharedTable } from "./share";
import { isNone } from "./tree";
import { Phase, Writer } from "./writer";

/** Lays the image out. The input was read whole and has a root. */
export function layOut(writer: Writer): bool {
  const fromDump = writer.phase == Phase.DUMP;
  if (!resolveLinks(writer) || !sortDirectories(writer)) return false;
  chooseVersion(writer);
  if (writer.version != 2 && !rewriteForOverlay(writer)) return false;
  // In a dump of dialect `c` the owner is the line without `@` (docs/spec/erofs.md, 16 item 3).
  if (!fromDump || !writer.dialectC) chooseOwners(writer);
  if (!addDots(writer)) return false;
  if (writer.version == 2) orderByDepth(writer);
  else orderByBreadth(writer);
  if (!buildSharedTable(writer)) return false;
  if (writer.version != 2) findAcl(writer);
  if (!(writer.version == 2 ? placeV2(writer) : placeV1(writer))) return false;
  writer.dataStart = (writer.inodesEnd + writer.sharedSize + 4095) & ~4095;
  if ((writer.dataStart >> 12) + writer.dataBlocks > u32.MAX_VALUE) {
    return refuse(FailureCode.LIMIT, "", "the image has more than 2^32 blocks");
  }
  const emitter = newEmitter(writer);
  if (isNone(changetype<usize>(emitter))) return refuseMemory();
  writer.emitter = emitter;
  writer.phase = Phase.FINISHED;
  return true;
}

/** Size of the image in bytes. */
export function imageSize(writer: Writer): u64 {
  return writer.dataStart + (writer.dataBlocks << 12);
}

/** Whiteouts raise version 0 to 1 if that is allowed. */
function chooseVersion(writer: Writer): void {
  const raise = writer.minVersion == 0 && writer.maxVersion == 1 && !isNone(changetype<usize>(writer.whiteouts));
  writer.version = raise ? 1 : writer.minVersion;
}

/** Whether any inode has an ACL; dialect `rs` also takes longer names that begin so (16, item 6). */
function findAcl(writer: Writer): void {
  const tables = writer.xattrs;
  for (let i: u32 = 0; i < tables.pairSlotCount; i++) {
    const pair = tables.pairInSlot(i);
    if (isNone(changetype<usize>(pair)) || pair.count == 0) continue;
    if (pair.index != ACL_ACCESS && pair.index != ACL_DEFAULT) continue;
    if (!writer.dialectC || pair.nameLength == pair.prefixLength) {
      writer.hasAcl = true;
      return;
    }
  }
}
