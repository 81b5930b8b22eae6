// Puts the archive of a layer together again from its recipe and its files (docs/spec/containers-storage.md, section 7.1). Every content
// has the recorded size and checksum, or fails; that the whole is right is proved by its digest, which the importer computes.

import { closeSync, readSync } from "node:fs";

import { type ByteString, displayBytes } from "../../../bytes/byte-string.ts";
import { ComposefsError, systemError, throwIfAborted } from "../../../error.ts";
import type { ContentCheck, FileContent } from "../source.ts";
import { Crc64 } from "./crc64.ts";
import { DiffFiles, nameParts } from "./diff-files.ts";
import { storageError } from "./fault.ts";
import type { RecipeLine } from "./tar-split.ts";

/** The content of a file that this process may not open; undefined when it is not to be had at all. */
export type UnreadableFile = (parts: readonly ByteString[], refusal: ComposefsError) => Promise<RemoteFile>;

/** A file that another process reads. */
export interface RemoteFile {
  readonly size: number;
  /** Its bytes; to be taken to the end. */
  read(): AsyncIterable<Uint8Array>;
}

/** Options of {@link rebuildArchive}. */
export interface RebuildOptions {
  /** What the recipe is called in messages. */
  readonly name: string;
  /** Reads what this process may not. */
  readonly unreadable?: UnreadableFile | undefined;
  readonly signal?: AbortSignal | undefined;
}

type FileLine = Extract<RecipeLine, { kind: "file" }>;

/** The checksum of no bytes: entries that have a size and no content. */
const EMPTY = "0".repeat(16);

const PIECE = 1 << 20;

/**
 * The archive, piece by piece.
 *
 * @param directory the layer's `diff`
 * @throws ComposefsError with the classes of section 15; the message names the line of the recipe and the file
 */
export async function* rebuildArchive(
  lines: AsyncIterable<RecipeLine>,
  directory: string,
  options: RebuildOptions,
): AsyncGenerator<Uint8Array | FileContent, void, undefined> {
  using files = new DiffFiles(directory);
  const buffer = new Uint8Array(PIECE);
  for await (const line of lines) {
    throwIfAborted(options.signal);
    if (line.kind === "segment") {
      if (line.bytes.length > 0) yield line.bytes;
      continue;
    }
    const parts = nameParts(line.name);
    if (parts === undefined) {
      throw about(
        line,
        options,
        storageError("name", `${JSON.stringify(displayBytes(line.name))} names no file of a layer`),
      );
    }
    try {
      yield* content(files, parts, line, options, buffer);
    } catch (error) {
      throw about(line, options, error);
    }
  }
}

async function* content(
  files: DiffFiles,
  parts: readonly ByteString[],
  line: FileLine,
  options: RebuildOptions,
  buffer: Uint8Array,
): AsyncGenerator<FileContent, void, undefined> {
  const name = displayBytes(parts.join("/"));
  const check = () => new ChecksumCheck(name, line, options);
  let file: ReturnType<DiffFiles["open"]>;
  try {
    file = files.open(parts);
  } catch (error) {
    const refused = error instanceof ComposefsError && error.reason === "permission";
    if (!refused || options.unreadable === undefined) {
      // A kind of entry that has no content may have a size all the same.
      if (line.checksum === EMPTY && error instanceof ComposefsError) return;
      throw error;
    }
    const remote = await options.unreadable(parts, error);
    if (remote.size !== line.size) throw wrongSize(name, line, options, remote.size);
    const read = () => checked(remote.read(), check());
    yield { name, size: line.size, file: undefined, check, read };
    return;
  }
  try {
    const read = () => readFile(file.fd, buffer, check());
    if (line.checksum === EMPTY && !isWhole(read, file.size === line.size)) return;
    if (file.size !== line.size) throw wrongSize(name, line, options, file.size);
    yield { name, size: line.size, file, check, read };
  } finally {
    closeSync(file.fd);
  }
}

/** Whether the content passes its check. */
function isWhole(read: () => Iterable<Uint8Array>, sizeFits: boolean): boolean {
  if (!sizeFits) return false;
  try {
    for (const _ of read());
    return true;
  } catch (error) {
    if (error instanceof ComposefsError && (error.reason === "checksum" || error.reason === "size")) return false;
    throw error;
  }
}

class ChecksumCheck implements ContentCheck {
  readonly #crc = new Crc64();
  readonly #name: string;
  readonly #line: FileLine;
  readonly #options: RebuildOptions;
  #size = 0;

  constructor(name: string, line: FileLine, options: RebuildOptions) {
    this.#name = name;
    this.#line = line;
    this.#options = options;
  }

  update(bytes: Uint8Array): void {
    this.#size += bytes.length;
    if (this.#size > this.#line.size) throw wrongSize(this.#name, this.#line, this.#options, this.#size);
    this.#crc.update(bytes);
  }

  finish(): void {
    const { size, checksum } = this.#line;
    if (this.#size !== size) throw wrongSize(this.#name, this.#line, this.#options, this.#size);
    if (this.#crc.hex !== checksum) {
      const problem = `the file "${this.#name}" has changed: its checksum is ${this.#crc.hex}, not ${checksum}`;
      throw about(this.#line, this.#options, storageError("checksum", problem));
    }
  }
}

function* readFile(fd: number, buffer: Uint8Array, check: ContentCheck): Generator<Uint8Array, void, undefined> {
  for (let at = 0; ; ) {
    const count = readSync(fd, buffer, 0, buffer.length, at);
    if (count === 0) break;
    at += count;
    const bytes = buffer.subarray(0, count);
    check.update(bytes);
    yield bytes;
  }
  check.finish();
}

async function* checked(
  source: AsyncIterable<Uint8Array>,
  check: ContentCheck,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const bytes of source) {
    check.update(bytes);
    yield bytes;
  }
  check.finish();
}

function wrongSize(name: string, line: FileLine, options: RebuildOptions, found: number): ComposefsError {
  return about(line, options, storageError("size", `the file "${name}" has ${found} bytes instead of ${line.size}`));
}

/** An error with the place in the recipe before it, unless it has one already. */
function about({ line }: FileLine, { name }: RebuildOptions, error: unknown): ComposefsError {
  if (error instanceof ComposefsError && error.line !== undefined) return error;
  const { code, message, reason, hint, path } = systemError(error, "reading a file of the layer");
  return new ComposefsError(code, `${name}, line ${line}: ${message}`, {
    cause: error,
    line,
    path: path ?? name,
    ...(reason === undefined ? {} : { reason }),
    ...(hint === undefined ? {} : { hint }),
  });
}
