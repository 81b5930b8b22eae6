// Reads a table of contents: where in the blob the content of each file lies, and its digest (docs/spec/oci.md, section 4.7). Nothing of
// it is believed; what is checked here is only that using it ends.

import { ComposefsError } from "../../error.ts";
import { isDigest, type Digest } from "../digest.ts";

/** The content of a file, in frames or members of its own. */
export interface ContentRegion {
  /** Where it begins in the blob, in bytes. */
  readonly start: number;
  /**
   * Where what follows it begins. In an eStargz layer the content ends somewhere before, with the headers of what follows in the last
   * members: its table does not say where.
   */
  readonly end: number;
  /** eStargz: where the last part of the content begins. The same as `start` when it has only one. */
  readonly lastPart: number;
  /** Bytes of the content, more than 0. */
  readonly size: number;
  readonly digest: Digest;
}

/** Most files of a table that is used. */
const MAX_FILES = 1_000_000;

/** What a byte of compressed data can become at most: a block of 128 KiB takes four bytes in zstd, deflate reaches 1032. */
const MAX_RATIO = { "zstd:chunked": 32768, eStargz: 1032 };

/** What is used of a table. */
export interface TableOfContents {
  /** The contents in the order of the blob. */
  readonly regions: readonly ContentRegion[];
  /** Digest of the tar-split data, if it names any. */
  readonly tarSplitDigest: Digest | undefined;
}

/**
 * Reads a table of contents.
 *
 * @param text the table, JSON
 * @param end where the contents must end: the table's own place in the blob
 * @throws ComposefsError `invalid` when it contradicts itself or the blob, `limit`, `unsupported`
 */
export function parseToc(text: Uint8Array, kind: "zstd:chunked" | "eStargz", end: number): TableOfContents {
  const { entries, tarSplitDigest } = readTable(text);
  const regions: { start: number; end: number; lastPart: number; size: number; digest: Digest }[] = [];
  for (const entry of entries) {
    const { type, size = 0, offset, endOffset, digest, innerOffset } = (entry ?? {}) as Record<string, unknown>;
    if (innerOffset !== undefined && innerOffset !== 0) {
      throw new ComposefsError("unsupported", "files share members of the blob");
    }
    const last = regions.at(-1);
    if (type === "chunk") {
      // Parts of the file before it. Only eStargz needs to know them: zstd:chunked says where a file ends.
      if (last === undefined || !isOffset(offset) || offset < last.lastPart) throw bad("a part that is of no file");
      if (kind === "eStargz") last.lastPart = offset;
      continue;
    }
    if (type !== "reg" || size === 0) continue;
    if (regions.length === MAX_FILES) throw new ComposefsError("limit", `it has more than ${MAX_FILES} files`);
    if (!isOffset(size) || !isOffset(offset)) throw bad("a file without size or offset");
    if (typeof digest !== "string" || !isDigest(digest)) throw bad("a file without digest");
    const region = { start: offset, end: offset, lastPart: offset, size, digest };
    if (kind === "zstd:chunked") {
      if (!isOffset(endOffset)) throw bad("a file without end");
      region.end = endOffset;
    }
    regions.push(region);
  }
  if (kind === "eStargz") {
    regions.forEach((region, i) => (region.end = regions[i + 1]?.start ?? end));
  }
  let before = 0;
  for (const { start, end: to, lastPart, size } of regions) {
    if (start < before || to <= start || lastPart >= to || to > end) throw bad("contents that overlap or lie outside");
    if (size > (to - start) * MAX_RATIO[kind]) throw bad("a file that is larger than its data can become");
    before = to;
  }
  return { regions, tarSplitDigest };
}

function readTable(text: Uint8Array): { entries: readonly unknown[]; tarSplitDigest: Digest | undefined } {
  let table: unknown;
  try {
    table = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(text));
  } catch (error) {
    throw bad("text that is no JSON", error);
  }
  const { version, entries, tarSplitDigest: digest } = (table ?? {}) as Record<string, unknown>;
  if (version !== 1) throw new ComposefsError("unsupported", "it is of another version than 1");
  if (!Array.isArray(entries)) throw bad("no entries");
  return { entries, tarSplitDigest: typeof digest === "string" && isDigest(digest) ? digest : undefined };
}

function isOffset(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function bad(what: string, cause?: unknown): ComposefsError {
  return new ComposefsError("invalid", `the table of contents has ${what}`, { cause });
}
