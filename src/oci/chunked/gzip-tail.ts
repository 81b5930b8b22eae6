// Finds where in the end of an eStargz region the members begin that follow its content: the table does not say it (docs/spec/oci.md,
// section 4.7; RFC 1952).

import { crc32, inflateRawSync } from "node:zlib";
import { ComposefsError } from "../../error.ts";

/** Headers between two contents: much more than any archive has, and less than hurts. */
const MAX_OUTPUT = 16 << 20;

/**
 * The position of the first member from which on whole members lead exactly to the end.
 *
 * @param bytes the end of the content's members and what follows them
 * @param padding bytes that follow the content in the archive before the next block of 512
 * @throws ComposefsError `invalid` when there is none
 */
export function firstMember(bytes: Uint8Array, padding: number): number {
  const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  // Members of eStargz have no names, so their flags are 0.
  for (let at = data.indexOf(MEMBER); at >= 0; at = data.indexOf(MEMBER, at + 1)) {
    if ((membersLength(data, at) ?? -1) % 512 === padding) return at;
  }
  // Nothing follows.
  if (padding === 0) return bytes.length;
  throw new ComposefsError("invalid", "nothing tells where a content ends in the blob");
}

const MEMBER = Buffer.from([0x1f, 0x8b, 8, 0]);
const HEADER = 10;
const TRAILER = 8;

/** Bytes that the members from `at` to the end decompress to; undefined when it is not members all the way. */
function membersLength(data: Buffer, at: number): number | undefined {
  let length = 0;
  let from = at;
  while (from < data.length) {
    if (data.length - from < HEADER + TRAILER || !data.subarray(from, from + 4).equals(MEMBER)) return undefined;
    try {
      const { buffer, engine } = inflateRawSync(data.subarray(from + HEADER), {
        info: true,
        maxOutputLength: MAX_OUTPUT,
      }) as unknown as { buffer: Uint8Array; engine: { bytesWritten: number } };
      const trailer = from + HEADER + engine.bytesWritten;
      if (trailer + TRAILER > data.length || data.readUInt32LE(trailer) !== crc32(buffer)) return undefined;
      length += buffer.length;
      from = trailer + TRAILER;
    } catch {
      return undefined;
    }
  }
  return length;
}
