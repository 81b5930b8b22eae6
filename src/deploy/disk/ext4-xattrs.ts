// Extended attributes in ext4: in the inode where they fit, else in one block; ACLs in the file system's own form.

import { type ByteString, compareBytes, displayBytes, fromByteString } from "../../bytes/byte-string.ts";
import { ComposefsError } from "../../error.ts";
import { BLOCK } from "./sparse-output.ts";

const MAGIC = 0xea020000;
const PREFIXES: readonly (readonly [string, number])[] = [
  ["system.posix_acl_access", 2],
  ["system.posix_acl_default", 3],
  ["user.", 1],
  ["trusted.", 4],
  ["security.", 6],
];
const ACLS: ReadonlySet<number> = new Set([2, 3]);
const BLOCK_HEADER = 32;

interface Attribute {
  readonly index: number;
  readonly name: ByteString;
  readonly value: Uint8Array;
}

/** Attributes as they lie on the disk. */
export interface EncodedXattrs {
  /** What goes into the inode's own room; empty when there is nothing. */
  readonly inline: Uint8Array;
  /** What goes into a block, without its checksum. */
  readonly block: Buffer | undefined;
}

/** Where a block of attributes has its checksum. */
export const XATTR_CHECKSUM = 16;

/**
 * Encodes attributes.
 *
 * @param xattrs names and values in turns
 * @param room bytes that the inode has for them
 * @param path of the file, for messages
 * @throws ComposefsError `limit` when they are more than a block holds, `unsupported` for namespaces that ext4 does not have
 */
export function encodeXattrs(xattrs: readonly ByteString[], room: number, path: string): EncodedXattrs {
  const attributes: Attribute[] = [];
  for (let i = 0; i < xattrs.length; i += 2)
    attributes.push(attribute(xattrs[i] as ByteString, fromByteString(xattrs[i + 1] as ByteString), path));
  if (attributes.length === 0) return { inline: Buffer.alloc(0), block: undefined };
  // The order in which the kernel looks them up in a block.
  attributes.sort((a, b) => a.index - b.index || a.name.length - b.name.length || compareBytes(a.name, b.name));
  const inline = inlineArea(attributes, room);
  if (inline !== undefined) return { inline, block: undefined };
  return { inline: Buffer.alloc(0), block: blockArea(attributes, path) };
}

function attribute(name: ByteString, value: Uint8Array, path: string): Attribute {
  const found = PREFIXES.find(([prefix, index]) => (ACLS.has(index) ? name === prefix : name.startsWith(prefix)));
  if (found === undefined)
    throw new ComposefsError("unsupported", `${path}: ext4 has no place for the attribute ${displayBytes(name)}`, {
      path,
      hint: "remove it with `setfattr -x`",
    });
  const [prefix, index] = found;
  return { index, name: name.slice(prefix.length), value: ACLS.has(index) ? encodeAcl(value, path) : value };
}

const NAMED_ENTRIES: ReadonlySet<number> = new Set([2, 8]);

// The kernel hands out version 2, where each entry has an id; ext4 keeps version 1, where only users and groups with a name have one.
function encodeAcl(value: Uint8Array, path: string): Uint8Array {
  const input = Buffer.from(value);
  if (input.length < 4 || input.length % 8 !== 4 || input.readUInt32LE(0) !== 2)
    throw new ComposefsError("invalid", `${path}: its access control list cannot be read`, { path });
  const output: Buffer[] = [Buffer.from([1, 0, 0, 0])];
  for (let at = 4; at < input.length; at += 8)
    output.push(input.subarray(at, at + (NAMED_ENTRIES.has(input.readUInt16LE(at)) ? 8 : 4)));
  return Buffer.concat(output);
}

function padded(length: number): number {
  return Math.ceil(length / 4) * 4;
}

function entriesSize(attributes: readonly Attribute[]): { entries: number; values: number } {
  let [entries, values] = [4, 0];
  for (const { name, value } of attributes) {
    entries += 16 + padded(name.length);
    values += padded(value.length);
  }
  return { entries, values };
}

function inlineArea(attributes: readonly Attribute[], room: number): Buffer | undefined {
  const { entries, values } = entriesSize(attributes);
  if (4 + entries + values > room) return undefined;
  const area = Buffer.alloc(room);
  area.writeUInt32LE(MAGIC, 0);
  // Values are counted from the first entry.
  writeEntries(attributes, area.subarray(4), 0, room - 4);
  return area;
}

function blockArea(attributes: readonly Attribute[], path: string): Buffer {
  const { entries, values } = entriesSize(attributes);
  if (BLOCK_HEADER + entries + values > BLOCK)
    throw new ComposefsError("limit", `${path}: its extended attributes do not fit into a block of ext4`, {
      path,
      hint: "remove some with `setfattr -x`",
    });
  const block = Buffer.alloc(BLOCK);
  block.writeUInt32LE(MAGIC, 0);
  block.writeUInt32LE(1, 4);
  block.writeUInt32LE(1, 8);
  block.writeUInt32LE(writeEntries(attributes, block, BLOCK_HEADER, BLOCK), 12);
  return block;
}

/** Answers the hash of all entries. */
function writeEntries(attributes: readonly Attribute[], area: Buffer, start: number, end: number): number {
  let at = start;
  let valueAt = end;
  let all = 0;
  for (const { index, name, value } of attributes) {
    valueAt -= padded(value.length);
    const hash = entryHash(name, value);
    area[at] = name.length;
    area[at + 1] = index;
    area.writeUInt16LE(value.length === 0 ? 0 : valueAt, at + 2);
    area.writeUInt32LE(value.length, at + 8);
    area.writeUInt32LE(hash, at + 12);
    area.write(name, at + 16, "latin1");
    area.set(value, valueAt);
    at += 16 + padded(name.length);
    all = ((all << 16) ^ (all >>> 16) ^ hash) >>> 0;
  }
  return all;
}

function entryHash(name: ByteString, value: Uint8Array): number {
  let hash = 0;
  for (let i = 0; i < name.length; i++) hash = ((hash << 5) ^ (hash >>> 27) ^ name.charCodeAt(i)) >>> 0;
  const words = Buffer.alloc(padded(value.length));
  words.set(value);
  for (let at = 0; at < words.length; at += 4) hash = ((hash << 16) ^ (hash >>> 16) ^ words.readUInt32LE(at)) >>> 0;
  return hash;
}
