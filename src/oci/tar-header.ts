// One 512-byte tar header: magic, numbers, text fields, checksum (docs/spec/oci.md, section 5.1).
// Reads in place from a larger buffer; fields that hold more than 53 bits come out as bigint, never rounded.

import type { ByteString } from "../bytes/byte-string.ts";

/** Headers, data padding and end-of-archive blocks are multiples of this many bytes. */
export const TAR_BLOCK = 512;

/** Which dialect the magic field announces; it decides how prefix, devices and extension headers are read. */
export type TarMagic = "ustar" | "gnu" | "v7";

/** The byte range of a header field. */
type Field = readonly [start: number, end: number];

const NAME: Field = [0, 100];
const MODE: Field = [100, 108];
const UID: Field = [108, 116];
const GID: Field = [116, 124];
const SIZE: Field = [124, 136];
const MTIME: Field = [136, 148];
const CHECKSUM: Field = [148, 156];
const TYPEFLAG = 156;
const LINKNAME: Field = [157, 257];
const MAGIC = 257;
const DEVMAJOR: Field = [329, 337];
const DEVMINOR: Field = [337, 345];
const PREFIX: Field = [345, 500];

const U64 = (1n << 64n) - 1n;

/** What is wrong with a header field; the reader adds layer, entry and offset. */
export class HeaderFault extends Error {}

/** The numbers of an entry's header, parsed whether they will be used or not: one bad field refuses the archive. */
export interface HeaderNumbers {
  mode: number | bigint;
  uid: number | bigint;
  gid: number | bigint;
  mtime: number | bigint;
  /** `undefined` for V7 headers, which have no device fields. */
  devmajor: number | undefined;
  devminor: number | undefined;
}

/** Whether the block at `at` is all zero. */
export function isZeroBlock(bytes: Uint8Array, at: number): boolean {
  for (let i = at; i < at + TAR_BLOCK; i++) if (bytes[i] !== 0) return false;
  return true;
}

/** Throws {@link HeaderFault} unless the unsigned checksum is right. There is no signed variant. */
export function verifyChecksum(bytes: Uint8Array, at: number): void {
  let sum = 0;
  for (let i = at; i < at + TAR_BLOCK; i++) sum += bytes[i] as number;
  for (let i = at + CHECKSUM[0]; i < at + CHECKSUM[1]; i++) sum += 32 - (bytes[i] as number);
  const expected = octal(bytes, at, CHECKSUM, "checksum");
  if (expected !== sum) throw new HeaderFault(`checksum mismatch: expected ${expected}, computed ${sum}`);
}

/** The type flag as a character code. */
export function typeFlag(bytes: Uint8Array, at: number): number {
  return bytes[at + TYPEFLAG] as number;
}

/** Reads magic and version: `ustar\0` `00`, `ustar  \0`, or neither. */
export function magic(bytes: Uint8Array, at: number): TarMagic {
  const m = at + MAGIC;
  // "ustar"
  if (bytes[m] !== 0x75 || bytes[m + 1] !== 0x73 || bytes[m + 2] !== 0x74 || bytes[m + 3] !== 0x61) return "v7";
  if (bytes[m + 4] !== 0x72) return "v7";
  if (bytes[m + 5] === 0 && bytes[m + 6] === 0x30 && bytes[m + 7] === 0x30) return "ustar";
  if (bytes[m + 5] === 0x20 && bytes[m + 6] === 0x20 && bytes[m + 7] === 0) return "gnu";
  return "v7";
}

/** The size field: bytes of data that follow the header. A bigint only when it passes 2^53-1. */
export function headerSize(bytes: Uint8Array, at: number): number | bigint {
  return numeric(bytes, at, SIZE, "size");
}

/** All other numbers of the header. */
export function headerNumbers(bytes: Uint8Array, at: number, dialect: TarMagic): HeaderNumbers {
  return {
    mode: numeric(bytes, at, MODE, "mode"),
    uid: numeric(bytes, at, UID, "uid"),
    gid: numeric(bytes, at, GID, "gid"),
    mtime: numeric(bytes, at, MTIME, "mtime"),
    devmajor: dialect === "v7" ? undefined : octal(bytes, at, DEVMAJOR, "device major"),
    devminor: dialect === "v7" ? undefined : octal(bytes, at, DEVMINOR, "device minor"),
  };
}

/** The name, behind the prefix of ustar headers (the same bytes mean something else in GNU headers). */
export function headerPath(bytes: Uint8Array, at: number, dialect: TarMagic): ByteString {
  const name = text(bytes, at, NAME);
  if (dialect !== "ustar" || bytes[at + PREFIX[0]] === 0) return name;
  return `${text(bytes, at, PREFIX)}/${name}`;
}

/** The link target field. */
export function headerLink(bytes: Uint8Array, at: number): ByteString {
  return bytes[at + LINKNAME[0]] === 0 ? "" : text(bytes, at, LINKNAME);
}

/** A text field: up to the first NUL; a full field has none. */
function text(bytes: Uint8Array, at: number, [from, to]: Field): ByteString {
  const start = at + from;
  let end = start;
  while (end < at + to && bytes[end] !== 0) end++;
  return latin1(bytes, start, end);
}

/** Bytes of a range as a byte string. */
export function latin1(bytes: Uint8Array, start: number, end: number): ByteString {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString("latin1");
}

/** Octal digits, or base-256 when the first byte has its top bit set. */
function numeric(bytes: Uint8Array, at: number, field: Field, what: string): number | bigint {
  const first = bytes[at + field[0]] as number;
  if ((first & 0x80) === 0) return octal(bytes, at, field, what);
  let value = BigInt(first & 0x7f);
  for (let i = at + field[0] + 1; i < at + field[1]; i++) value = ((value << 8n) | BigInt(bytes[i] as number)) & U64;
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}

/** Octal digits up to the first NUL, blanks around them trimmed; none at all is 0. At most 36 bits, so a number. */
function octal(bytes: Uint8Array, at: number, [from, to]: Field, what: string): number {
  let i = at + from;
  let end = i;
  while (end < at + to && bytes[end] !== 0) end++;
  while (i < end && isBlank(bytes[i] as number)) i++;
  while (i < end && isBlank(bytes[end - 1] as number)) end--;
  if (i === end) return 0;
  const start = i;
  if (bytes[i] === 0x2b) i++; // "+"
  let value = 0;
  let digits = 0;
  for (; i < end; i++, digits++) {
    const digit = (bytes[i] as number) - 0x30;
    if (digit < 0 || digit > 7) break;
    value = value * 8 + digit;
  }
  if (i < end || digits === 0) {
    throw new HeaderFault(`invalid octal ${what} field ${JSON.stringify(latin1(bytes, start, end))}`);
  }
  return value;
}

function isBlank(byte: number): boolean {
  return byte === 0x20 || (byte >= 0x09 && byte <= 0x0d);
}
