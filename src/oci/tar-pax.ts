// Pax extended header records and what they change on the entry after them (docs/spec/oci.md, section 5.1).

import { isUtf8 } from "node:buffer";
import type { ByteString } from "../bytes/byte-string.ts";
import { HeaderFault, latin1 } from "./tar-header.ts";

/** What the records of one pax header say; a member is left out when no record sets it. */
export interface PaxFields {
  path?: ByteString;
  linkpath?: ByteString;
  size?: bigint;
  uid?: bigint;
  gid?: bigint;
  mtimeSec?: bigint;
  mtimeNsec?: number;
  xattrs?: Map<ByteString, ByteString>;
}

const U64 = (1n << 64n) - 1n;
const XATTR = "SCHILY.xattr.";

/**
 * Reads the records in order, later ones win. A length that is no number ends the records silently, as trailing NULs
 * do; any other defect throws {@link HeaderFault}.
 */
export function parsePax(data: Uint8Array): PaxFields {
  const fields: PaxFields = {};
  const sparse: Record<string, ByteString> = {};
  let at = 0;
  while (at < data.length) {
    const space = data.indexOf(0x20, at);
    if (space < 0) break;
    const length = decimal(latin1(data, at, space));
    if (length === undefined) break;
    if (length > BigInt(data.length - at)) throw new HeaderFault("malformed pax record: it is longer than its header");
    const end = at + Number(length);
    if (end <= space + 1 || data[end - 1] !== 0x0a) {
      throw new HeaderFault("malformed pax record: no newline where its length says");
    }
    const equals = data.indexOf(0x3d, space + 1);
    if (equals < 0 || equals >= end - 1) throw new HeaderFault("malformed pax record: no '='");
    if (!isUtf8(data.subarray(space + 1, equals))) throw new HeaderFault("invalid UTF-8 in a pax key");
    apply(fields, sparse, latin1(data, space + 1, equals), latin1(data, equals + 1, end - 1));
    at = end;
  }
  if (
    (sparse["major"] === "1" && sparse["minor"] === "0") ||
    sparse["map"] !== undefined ||
    (sparse["offset"] !== undefined && sparse["numbytes"] !== undefined)
  ) {
    throw new HeaderFault("sparse entries are not supported");
  }
  return fields;
}

function apply(fields: PaxFields, sparse: Record<string, ByteString>, key: ByteString, value: ByteString): void {
  switch (key) {
    case "path":
    case "GNU.sparse.name":
      fields.path = value;
      return;
    case "linkpath":
      fields.linkpath = value;
      return;
    case "size":
    case "uid":
    case "gid":
      fields[key] = required(key, value, value);
      return;
    case "mtime": {
      const dot = value.indexOf(".");
      fields.mtimeSec = required(key, dot < 0 ? value : value.slice(0, dot), value);
      // With two records the seconds come from the last and the nanoseconds from the first: what every image id
      // recorded so far depends on.
      fields.mtimeNsec ??= nanoseconds(dot < 0 ? "" : value.slice(dot + 1));
      return;
    }
    default:
      if (key.startsWith(XATTR)) (fields.xattrs ??= new Map()).set(key.slice(XATTR.length), value);
      else if (key.startsWith("GNU.sparse.")) sparse[key.slice("GNU.sparse.".length)] = value;
  }
}

function required(key: string, digits: ByteString, value: ByteString): bigint {
  const number = decimal(digits);
  if (number === undefined) throw new HeaderFault(`invalid pax ${key} value ${JSON.stringify(value)}`);
  return number;
}

/** An unsigned 64-bit decimal: digits, one leading `+` let through. */
function decimal(text: ByteString): bigint | undefined {
  // The length of the digits is not limited by the format, only their value; BigInt() of a megabyte of digits is slow.
  if (!/^\+?[0-9]+$/.test(text)) return undefined;
  const digits = text.replace(/^\+?0*(?=[0-9])/, "");
  if (digits.length > 20) return undefined;
  const value = BigInt(digits);
  return value <= U64 ? value : undefined;
}

/** The first nine digits of a fraction, padded on the right; 0 for none or for anything but digits. */
function nanoseconds(fraction: ByteString): number {
  const digits = fraction.slice(0, 9);
  return /^[0-9]+$/.test(digits) ? Number(digits.padEnd(9, "0")) : 0;
}
