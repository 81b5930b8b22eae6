// The xattrs of one inode while they are read: checked, escaped for overlayfs, sorted and made an XattrSet.

import { compareBytes, equalBytes } from "./bytes";
import { FailureCode, refuse, refuseMemory, say, sayBytes, sayNumber } from "./failure";
import { sortAddresses } from "./sort";
import { Writer } from "./writer";
import { Pair, XattrSet, XattrTables, comparePairNames, pairName, pairValue } from "./xattrs";

/** `trusted.overlay.` */
export const OVERLAY: usize = memory.data<u8>([
  0x74, 0x72, 0x75, 0x73, 0x74, 0x65, 0x64, 0x2e, 0x6f, 0x76, 0x65, 0x72, 0x6c, 0x61, 0x79, 0x2e,
]);
export const OVERLAY_LENGTH: u32 = 16;
/** `overlay.`, which escaping puts in once more. */
const ESCAPE_LENGTH: u32 = 8;

const MAX_NAME: u32 = 255;
const MAX_VALUE: u32 = 65535;
/** What the C tools accept for the names and values of one inode of a dump (docs/spec/erofs.md, 2.2). */
const MAX_SPACE: u64 = 32767;
/** No inode can refer to more, as xattr_icount is 16 bits and an entry takes 4 bytes at least. */
const MAX_PAIRS: u32 = 65535;

const ESCAPED: usize = memory.data(264, 8);

/** Starts a list. */
export function startXattrs(writer: Writer): void {
  writer.xattrs.itemCount = 0;
}

/** Adds an xattr by its name before escaping. */
export function addXattr(writer: Writer, name: usize, nameLength: u32, value: usize, valueLength: u32): bool {
  if (nameLength == 0) return refuse(FailureCode.SYNTAX, "XATTR", "an xattr has an empty name");
  if (nameLength > MAX_NAME) return refuse(FailureCode.LIMIT, "XATTR", "an xattr name is longer than 255 bytes");
  for (let i: u32 = 0; i < nameLength; i++) {
    if (load<u8>(name + i) == 0) return refuse(FailureCode.SYNTAX, "XATTR", "an xattr name holds a NUL byte");
  }
  if (valueLength > MAX_VALUE) {
    refuse(FailureCode.LIMIT, "XATTR", "the value of xattr ");
    sayBytes(name, nameLength);
    return say(" is longer than 65535 bytes");
  }
  const tables = writer.xattrs;
  const count = tables.itemCount;
  if (count == MAX_PAIRS) return refuse(FailureCode.LIMIT, "XATTR", "there are more than 65535 xattrs");
  if (nameLength >= OVERLAY_LENGTH && equalBytes(name, OVERLAY, OVERLAY_LENGTH)) {
    memory.copy(ESCAPED, OVERLAY, OVERLAY_LENGTH);
    memory.copy(ESCAPED + OVERLAY_LENGTH, OVERLAY + OVERLAY_LENGTH - ESCAPE_LENGTH, ESCAPE_LENGTH);
    memory.copy(ESCAPED + OVERLAY_LENGTH + ESCAPE_LENGTH, name + OVERLAY_LENGTH, nameLength - OVERLAY_LENGTH);
    name = ESCAPED;
    nameLength += ESCAPE_LENGTH;
  }
  const pair = tables.pair(writer.arena, name, nameLength, value, valueLength);
  if (changetype<usize>(pair) == 0) return refuseMemory();
  if (count == tables.itemRoom && !tables.growItems(writer.arena)) return refuseMemory();
  store<u32>(tables.items + (<usize>count << 2), <u32>changetype<usize>(pair));
  tables.itemCount = count + 1;
  return true;
}

/**
 * Ends the list and answers its set; none after a refusal. Of equal names the last wins in dialect `c`, the largest
 * value in `rs` (docs/spec/erofs.md, 16 item 12). `fromDump` asks for the space limit of dialect `c`.
 */
export function endXattrs(writer: Writer, fromDump: bool): XattrSet {
  const tables = writer.xattrs;
  if (tables.itemCount == 0) return tables.empty;
  // Escaping keeps the order, so sorting by stored name also is the order by input name that V2 wants.
  if (tables.itemCount > 1) {
    sortAddresses(tables.items, tables.itemCount, tables.items + (<usize>tables.itemRoom << 2), comparePairNames);
    dropDuplicates(tables, writer.dialectC);
  }
  if (fromDump && writer.dialectC && !checkSpace(tables)) return changetype<XattrSet>(0);
  const set = tables.set(writer.arena, tables.items, tables.itemCount);
  if (changetype<usize>(set) == 0) refuseMemory();
  return set;
}

function itemAt(tables: XattrTables, index: u32): Pair {
  return changetype<Pair>(<usize>load<u32>(tables.items + (<usize>index << 2)));
}

function dropDuplicates(tables: XattrTables, lastWins: bool): void {
  let kept: u32 = 0;
  for (let i: u32 = 1; i < tables.itemCount; i++) {
    const pair = itemAt(tables, i);
    const previous = itemAt(tables, kept);
    if (comparePairNames(changetype<usize>(previous), changetype<usize>(pair)) != 0) {
      kept++;
    } else if (
      !lastWins &&
      compareBytes(pairValue(previous), previous.valueLength, pairValue(pair), pair.valueLength) > 0
    ) {
      continue;
    }
    store<u32>(tables.items + (<usize>kept << 2), <u32>changetype<usize>(pair));
  }
  tables.itemCount = kept + 1;
}

function checkSpace(tables: XattrTables): bool {
  let space: u64 = 12;
  for (let i: u32 = 0; i < tables.itemCount; i++) {
    const pair = itemAt(tables, i);
    let nameLength = <u64>pair.nameLength;
    if (nameLength >= OVERLAY_LENGTH && equalBytes(pairName(pair), OVERLAY, OVERLAY_LENGTH))
      nameLength -= ESCAPE_LENGTH;
    space += 7 + nameLength + pair.valueLength;
  }
  if (space <= MAX_SPACE) return true;
  refuse(FailureCode.LIMIT, "XATTR", "the xattrs take ");
  sayNumber(space);
  return say(" bytes; at most 32767 are accepted");
}
