// Random access to the files of a tar archive (docs/spec/oci.md, section 2.3): its headers are walked once, its data is skipped.
// The dialects are those of section 5.1. Compressed archives are unpacked into a nameless temporary file first.

import { constants } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { tmpdir } from "node:os";
import { posix } from "node:path";

import type { ByteString } from "../../bytes/byte-string.ts";
import { ComposefsError, systemError, throwIfAborted } from "../../error.ts";
import { namelessFile } from "../../runtime/nameless-file.ts";
import { decompress, sniffCompression } from "../decompress.ts";
import { METADATA_LIMIT, withoutNul } from "../tar-entry.ts";
import {
  HeaderFault,
  headerLink,
  headerPath,
  headerSize,
  isZeroBlock,
  magic,
  TAR_BLOCK,
  typeFlag,
  verifyChecksum,
} from "../tar-header.ts";
import { parsePax, type PaxFields } from "../tar-pax.ts";
import { readRange, type FileRange } from "./read-range.ts";

/** Headers that are read, extension headers too: an image archive has a few per layer. */
const MAX_HEADERS = 200_000;

/** All names that are kept, in bytes. */
const MAX_NAMES = 16 << 20;

/** Links that are followed from one name to its file. */
const MAX_LINKS = 16;

/** What a compressed archive may grow to: this, or so many times its size when that is more. */
const UNPACKED_FLOOR = 1 << 30;
const UNPACKED_RATIO = 200;

/** Bytes read at once while headers are walked: small files come with their headers. */
const WINDOW = 64 << 10;

/** A regular file of the archive. */
export interface TarMember extends FileRange {
  /** Whether the archive has several files of that name; the last one counts. */
  readonly repeated: boolean;
}

type Entry = TarMember | { readonly target: ByteString };

/** An opened archive: the names in it and where their data is. */
export class TarIndex implements AsyncDisposable {
  /** The archive, as the caller named it. */
  readonly path: string;
  readonly #file: FileHandle;
  readonly #entries: ReadonlyMap<ByteString, Entry>;

  private constructor(path: string, file: FileHandle, entries: ReadonlyMap<ByteString, Entry>) {
    this.path = path;
    this.#file = file;
    this.#entries = entries;
  }

  /**
   * Opens an archive and reads its headers.
   *
   * @param unpackedFloor bytes that a compressed archive may grow to however small it is
   * @throws ComposefsError `not-found`, `invalid` when it is no tar archive or is cut off, `limit` for more headers than an image
   *   archive has, `io`
   */
  static async open(path: string, signal?: AbortSignal, unpackedFloor = UNPACKED_FLOOR): Promise<TarIndex> {
    let file = await openArchive(path);
    try {
      const packed = await file.stat();
      if (!packed.isFile()) throw notAnArchive(path, packed.isDirectory());
      const first = Buffer.alloc(4);
      const { bytesRead } = await file.read(first, 0, 4, 0);
      if (sniffCompression(first.subarray(0, bytesRead)) !== "none") {
        const unpacked = await unpack(
          file,
          packed.size,
          path,
          Math.max(unpackedFloor, packed.size * UNPACKED_RATIO),
          signal,
        );
        await file.close();
        file = unpacked;
      }
      const { size } = await file.stat();
      return new TarIndex(path, file, await walkHeaders(file, size, path, signal));
    } catch (error) {
      await file.close();
      throw systemError(error, `reading ${path}`, path);
    }
  }

  /**
   * Reads an archive that comes as a stream: it is kept in a nameless temporary file.
   *
   * @param name what the archive is called in messages, in place of its path
   * @throws ComposefsError as {@link TarIndex.open}, and what the stream throws
   */
  static async ofStream(stream: AsyncIterable<Uint8Array>, name: string, signal?: AbortSignal): Promise<TarIndex> {
    const file = await spool(stream, name, Number.POSITIVE_INFINITY, signal);
    try {
      const { size } = await file.stat();
      return new TarIndex(name, file, await walkHeaders(file, size, name, signal));
    } catch (error) {
      await file.close();
      throw systemError(error, `reading ${name}`, name);
    }
  }

  /** A file by its name in the archive, with symbolic and hard links followed; undefined when there is none. */
  find(name: string): TarMember | undefined {
    let key: ByteString | undefined = normalize(Buffer.from(name, "utf8").toString("latin1"));
    for (let links = 0; key !== undefined && links <= MAX_LINKS; links++) {
      const entry: Entry | undefined = this.#entries.get(key);
      if (entry === undefined || !("target" in entry)) return entry;
      key = normalize(entry.target);
    }
    return undefined;
  }

  /**
   * A small file, whole. One that is there twice is refused: readers disagree on which of the two counts.
   *
   * @param limit bytes that it may have
   * @throws ComposefsError `not-found`, `limit`, `invalid`
   */
  async read(name: string, limit: number): Promise<Uint8Array> {
    const what = `${name} in ${this.path}`;
    const member = this.find(name);
    if (member === undefined) {
      throw new ComposefsError("not-found", `${this.path} has no file ${name}`, { path: this.path });
    }
    if (member.repeated) throw new ComposefsError("invalid", `${this.path} has ${name} twice`, { path: this.path });
    if (member.size > limit) {
      throw new ComposefsError("limit", `${what} is ${member.size} bytes; ${limit} is the limit`, { path: this.path });
    }
    const chunks: Uint8Array[] = [];
    for await (const chunk of this.stream(member, what)) chunks.push(chunk);
    return Buffer.concat(chunks);
  }

  /** The data of a file as chunks; `what` names it in errors. */
  stream(member: FileRange, what: string, signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    return readRange(this.#file, member, { what, path: this.path }, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }
}

async function openArchive(path: string): Promise<FileHandle> {
  try {
    // O_NONBLOCK: a fifo must not hang the program.
    return await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw systemError(error, `opening ${path}`, path);
    throw new ComposefsError("not-found", `there is no file ${path}`, {
      cause: error,
      path,
      hint: "name a tar archive, as in oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME:TAG]",
    });
  }
}

function notAnArchive(path: string, isDirectory: boolean): ComposefsError {
  return new ComposefsError("invalid", `${path} is ${isDirectory ? "a directory" : "not a regular file"}`, {
    path,
    hint: isDirectory ? `for a layout write oci:${path}` : "copy it into a file first: archives are read at random",
  });
}

/** The archive uncompressed. */
function unpack(
  packed: FileHandle,
  size: number,
  path: string,
  limit: number,
  signal?: AbortSignal,
): Promise<FileHandle> {
  const source = readRange(packed, { offset: 0, size }, { what: "the archive", path }, signal);
  return spool(decompress(source, { name: path }), path, limit, signal);
}

/** The bytes in a file that has no name any more and is gone when it is closed. */
async function spool(
  source: AsyncIterable<Uint8Array>,
  path: string,
  limit: number,
  signal?: AbortSignal,
): Promise<FileHandle> {
  const file = await namelessFile("composefs-archive-");
  try {
    let written = 0;
    for await (const bytes of source) {
      throwIfAborted(signal);
      if (written + bytes.length > limit) {
        throw new ComposefsError("limit", `${path} unpacks to more than ${limit} bytes`, {
          path,
          hint: "if that is what you expect, decompress it yourself and name the tar archive",
        });
      }
      for (let at = 0; at < bytes.length; ) {
        const { bytesWritten } = await file.write(bytes, at, bytes.length - at, written);
        at += bytesWritten;
        written += bytesWritten;
      }
    }
    return file;
  } catch (error) {
    await file.close();
    throw systemError(error, `unpacking ${path} into ${tmpdir()}`, path);
  }
}

/** The name without `.`, empty components and a leading `/`; undefined when it leads out of the archive. */
function normalize(name: ByteString): ByteString | undefined {
  const path = posix.normalize(name.replace(/^\/+/, "")).replace(/\/$/, "");
  return path === "." || path === ".." || path.startsWith("../") ? undefined : path;
}

/** Extension headers that wait for their entry. */
interface Pending {
  pax?: PaxFields;
  name?: ByteString;
  link?: ByteString;
}

async function walkHeaders(
  file: FileHandle,
  size: number,
  path: string,
  signal: AbortSignal | undefined,
): Promise<Map<ByteString, Entry>> {
  const entries = new Map<ByteString, Entry>();
  const window = new Window(file, size);
  let pending: Pending = {};
  let names = 0;
  let wasZero = false;
  let at = 0;
  for (let headers = 0; at < size; headers++) {
    throwIfAborted(signal);
    if (headers >= MAX_HEADERS) {
      throw new ComposefsError("limit", `${path} has more than ${MAX_HEADERS} entries: it is no image archive`, {
        path,
      });
    }
    const offset = at;
    try {
      const block = await window.bytes(at, TAR_BLOCK);
      if (isZeroBlock(block, 0)) {
        if (wasZero) break;
        wasZero = true;
        at += TAR_BLOCK;
        continue;
      }
      wasZero = false;
      verifyChecksum(block, 0);
      const dialect = magic(block, 0);
      const flag = String.fromCharCode(typeFlag(block, 0));
      const start = at + TAR_BLOCK;
      const isExtension = flag === "g" || (dialect !== "v7" && "xLK".includes(flag));
      const length = Number(isExtension ? headerSize(block, 0) : (pending.pax?.size ?? headerSize(block, 0)));
      if (length > size - start) throw new HeaderFault(`its data ends behind the end of the file (${length} bytes)`);
      at = start + Math.ceil(length / TAR_BLOCK) * TAR_BLOCK;
      if (isExtension) {
        if (length > METADATA_LIMIT) throw new HeaderFault(`extension header of ${length} bytes`);
        if (flag !== "g") addExtension(pending, flag, await window.bytes(start, length));
        continue;
      }
      if (flag === "S" && dialect !== "v7") throw new HeaderFault("sparse entries are not supported");
      const name = pending.pax?.path ?? pending.name ?? headerPath(block, 0, dialect);
      const target = pending.pax?.linkpath ?? pending.link ?? headerLink(block, 0);
      pending = {};
      const key = normalize(name);
      if (key === undefined) continue;
      const entry = entryOf(flag, key, { offset: start, size: length }, target, entries.has(key));
      // `tar` writes a file that it is given twice as a link to itself: the file stays.
      if (entry === undefined || (flag === "1" && normalize(target) === key)) continue;
      names += key.length + target.length;
      if (names > MAX_NAMES) throw new ComposefsError("limit", `${path} has more than 16 MiB of names`, { path });
      entries.set(key, entry);
    } catch (error) {
      if (!(error instanceof HeaderFault)) throw error;
      throw headerError(error, path, offset, headers === 0);
    }
  }
  return entries;
}

function addExtension(pending: Pending, flag: string, data: Uint8Array): void {
  if (flag === "x") {
    pending.pax = parsePax(data);
    return;
  }
  pending[flag === "L" ? "name" : "link"] = withoutNul(data);
}

function entryOf(
  flag: string,
  key: ByteString,
  range: FileRange,
  target: ByteString,
  repeated: boolean,
): Entry | undefined {
  if (flag === "0" || flag === "7" || flag === "\0") return { ...range, repeated };
  // Hard links name a path of the archive, symbolic ones a path from where they are.
  if (flag === "1") return { target };
  if (flag === "2") return { target: target.startsWith("/") ? target : posix.join(posix.dirname(key), target) };
  return undefined;
}

function headerError(fault: HeaderFault, path: string, offset: number, isFirst: boolean): ComposefsError {
  if (isFirst) {
    return new ComposefsError("invalid", `${path} is no tar archive: ${fault.message}`, {
      cause: fault,
      path,
      hint: "name an archive that `skopeo copy`, `podman save` or `docker save` wrote",
    });
  }
  return new ComposefsError("invalid", `${path}: damaged tar archive at byte ${offset}: ${fault.message}`, {
    cause: fault,
    path,
    hint: "the archive is cut off or damaged; copy or save it again",
  });
}

/** Reads near what was read before from memory. */
class Window {
  readonly #file: FileHandle;
  readonly #size: number;
  #start = 0;
  #held: Buffer = Buffer.alloc(0);

  constructor(file: FileHandle, size: number) {
    this.#file = file;
    this.#size = size;
  }

  /** Exactly those bytes; a {@link HeaderFault} when the file ends before. */
  async bytes(offset: number, length: number): Promise<Uint8Array> {
    if (offset + length > this.#size) throw new HeaderFault("the file ends inside a header");
    if (offset < this.#start || offset + length > this.#start + this.#held.length) {
      const buffer = Buffer.alloc(Math.min(Math.max(WINDOW, length), this.#size - offset));
      let filled = 0;
      while (filled < buffer.length) {
        const { bytesRead } = await this.#file.read(buffer, filled, buffer.length - filled, offset + filled);
        if (bytesRead === 0) throw new HeaderFault("the file ends inside a header");
        filled += bytesRead;
      }
      this.#start = offset;
      this.#held = buffer;
    }
    return this.#held.subarray(offset - this.#start, offset - this.#start + length);
  }
}
