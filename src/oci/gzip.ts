// gzip, every member to the end (docs/spec/oci.md, section 4.2; RFC 1952).
// Members are delimited here and only their deflate data goes to the runtime's zlib: its own gzip decoder loses the
// output of the last member when other bytes follow it, which must be ignored instead.

import { createInflateRaw, crc32, inflateRawSync } from "node:zlib";
import { ComposefsError } from "../error.ts";
import type { ChunkReader } from "./chunk-reader.ts";

/** Output buffer of the inflater: 16 KiB, the default, halves the speed (355 against 666 MB/s on Node 20). */
const CHUNK = 1 << 20;

/** Members with less compressed data than this are inflated at once when the one before was that small too. */
const SMALL_MEMBER = 64 << 10;

/** Longest member header (names and comments are unlimited in the format). */
const HEADER_LIMIT = 1 << 20;

const FHCRC = 2;
const FEXTRA = 4;
const FNAME = 8;
const FCOMMENT = 16;

/**
 * Decompresses a gzip stream: any number of members, empty ones too; whatever follows the last member is ignored.
 * CRC and length of every member are checked. The stream must begin with a member.
 *
 * @param reader positioned at the first member; read to its end
 * @param name what the stream is called in messages
 */
export async function* gunzip(reader: ChunkReader, name: string): AsyncGenerator<Uint8Array, void, undefined> {
  let small = false;
  do {
    await skipHeader(reader, name);
    const check = { crc: 0, size: 0 };
    const whole = small ? await inflateSmall(reader) : undefined;
    if (whole === undefined) {
      small = (yield* inflate(reader, check, name)) < SMALL_MEMBER;
    } else {
      add(check, whole);
      if (whole.length > 0) yield whole;
    }
    await checkTrailer(reader, check, name);
  } while (startsMember(await reader.peek(2)));
  await reader.drain();
}

/** Whether the bytes begin like a gzip member. */
export function startsMember(bytes: Uint8Array): boolean {
  return bytes[0] === 0x1f && bytes[1] === 0x8b;
}

interface Check {
  crc: number;
  /** Modulo 2^32, as in the trailer. */
  size: number;
}

function add(check: Check, output: Uint8Array): void {
  check.crc = crc32(output, check.crc);
  check.size = (check.size + output.length) % 0x1_0000_0000;
}

/** Inflates one member through a stream, whose work runs on the thread pool; returns the bytes of its deflate data. */
async function* inflate(
  reader: ChunkReader,
  check: Check,
  name: string,
): AsyncGenerator<Uint8Array, number, undefined> {
  // With room for two buffers the next one is inflated while the consumer works on this one.
  const stream = createInflateRaw({ chunkSize: CHUNK, readableHighWaterMark: 2 * CHUNK } as object);
  let fed = 0;
  // Chunks that were written and not taken whole: the member ends inside them.
  let beyond: Uint8Array[] = [];
  let sourceError: unknown;
  const closed = new Promise<void>((resolve) => {
    const settle = (): void => resolve();
    stream.once("end", settle).once("close", settle).once("error", settle);
  });
  const feed = async (): Promise<void> => {
    for (;;) {
      const chunk = await reader.next();
      if (chunk === undefined) {
        stream.end();
        return;
      }
      fed += chunk.length;
      beyond.push(chunk);
      // When the deflate data ends inside the chunk the callback may never come, but the end of the output does.
      await Promise.race([new Promise<void>((resolve) => stream.write(chunk, () => resolve())), closed]);
      if (stream.bytesWritten < fed) return;
      beyond = [];
    }
  };
  const feeding = feed().catch((error: unknown) => {
    sourceError = error;
    stream.destroy();
  });
  try {
    for await (const output of stream) {
      add(check, output as Uint8Array);
      yield output as Uint8Array;
    }
  } catch (error) {
    throw sourceError ?? inflateError(error, name);
  } finally {
    stream.destroy();
  }
  await feeding;
  if (sourceError !== undefined) throw sourceError;
  const left = Buffer.concat(beyond);
  reader.unread(left.subarray(left.length - (fed - stream.bytesWritten)));
  return stream.bytesWritten;
}

/**
 * Inflates a member that lies within what is buffered, without the cost of a stream: images made for lazy loading
 * have one member per file. Gives `undefined`, and takes nothing, when the member is not that small.
 */
async function inflateSmall(reader: ChunkReader): Promise<Uint8Array | undefined> {
  const input = (await reader.peek(SMALL_MEMBER)).subarray(0, SMALL_MEMBER);
  try {
    const options = { info: true, chunkSize: SMALL_MEMBER, maxOutputLength: CHUNK };
    const { buffer, engine } = inflateRawSync(input, options) as unknown as {
      buffer: Uint8Array;
      engine: { bytesWritten: number };
    };
    reader.skip(engine.bytesWritten);
    return buffer;
  } catch {
    // Longer than the window, larger than a chunk, or broken: the stream tells which.
    return undefined;
  }
}

async function skipHeader(reader: ChunkReader, name: string): Promise<void> {
  const need = async (count: number): Promise<Uint8Array> => {
    if (count > HEADER_LIMIT) throw new ComposefsError("limit", `${name}: gzip header of more than 1 MiB`);
    const bytes = await reader.peek(count);
    if (bytes.length < count) throw truncated(name);
    return bytes;
  };
  let bytes = await need(10);
  if (!startsMember(bytes)) throw invalid(name, "no gzip member where one is expected");
  if (bytes[2] !== 8) throw invalid(name, `unknown gzip compression method ${bytes[2]}`);
  const flags = bytes[3] as number;
  if ((flags & 0xe0) !== 0) throw invalid(name, "unknown gzip header flags");
  let at = 10;
  if ((flags & FEXTRA) !== 0) {
    bytes = await need(at + 2);
    at += 2 + ((bytes[at] as number) | ((bytes[at + 1] as number) << 8));
  }
  for (const flag of [FNAME, FCOMMENT]) {
    if ((flags & flag) === 0) continue;
    for (;;) {
      bytes = await need(at + 1);
      const nul = bytes.indexOf(0, at);
      at = nul < 0 ? bytes.length : nul + 1;
      if (nul >= 0) break;
    }
  }
  if ((flags & FHCRC) !== 0) {
    bytes = await need(at + 2);
    const stored = (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
    if ((crc32(bytes.subarray(0, at)) & 0xffff) !== stored) throw invalid(name, "gzip header checksum does not match");
    at += 2;
  }
  await need(at);
  reader.skip(at);
}

async function checkTrailer(reader: ChunkReader, check: Check, name: string): Promise<void> {
  const bytes = await reader.peek(8);
  if (bytes.length < 8) throw truncated(name);
  const view = new DataView(bytes.buffer, bytes.byteOffset, 8);
  if (view.getUint32(0, true) !== check.crc) throw invalid(name, "gzip checksum (CRC-32) does not match the content");
  if (view.getUint32(4, true) !== check.size) throw invalid(name, "gzip length field does not match the content");
  reader.skip(8);
}

function inflateError(error: unknown, name: string): unknown {
  const { code, message } = error as { code?: unknown; message?: string };
  if (code === "Z_BUF_ERROR") return truncated(name, error);
  if (typeof code === "string" && code.startsWith("Z_")) return invalid(name, `gzip data: ${message}`, error);
  return error;
}

function truncated(name: string, cause?: unknown): ComposefsError {
  return invalid(name, "unexpected end of gzip data", cause);
}

function invalid(name: string, message: string, cause?: unknown): ComposefsError {
  return new ComposefsError("invalid", `${name}: ${message}`, { path: name, cause });
}
