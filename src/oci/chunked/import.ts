// Imports a layer without fetching the files that the repository has (docs/spec/oci.md, section 4.7). The result is that of a whole
// fetch, as the diff_id says; on any doubt there is none, and the caller fetches the layer whole.

import { blobHasher } from "../../core/blob-digest.ts";
import { ComposefsError, throwIfAborted } from "../../error.ts";
import type { ProgressListener } from "../../progress.ts";
import type { Repository } from "../../repository/repository.ts";
import { zstdDecompress, zstdDecompressFrames } from "../../runtime/zstd.ts";
import { decompress } from "../decompress.ts";
import { verifyDigest, contentDigest, type Digest } from "../digest.ts";
import { importLayer, type ImportedLayer, type ImportLayerOptions } from "../layer/import.ts";
import type { Descriptor } from "../manifest.ts";
import type { ImageSource } from "../source/source.ts";
import { TarReader } from "../tar.ts";
import { announcedToc, MAX_TABLE, type AnnouncedToc, type BlobPart } from "./announced.ts";
import { BlobRanges, type ReadRange } from "./blob-ranges.ts";
import type { ContentFinder, KnownContent } from "./known-content.ts";
import { isWorthIt, rangesLength, rangesToFetch, regionsToSkip, REQUEST_COST, type BlobRange } from "./plan.ts";
import { behindContent, piecesAround, rebuildAround, rebuildFromSplit, type LayerParts } from "./rebuild.ts";
import { splitParts } from "./tar-split.ts";
import { parseToc, type TableOfContents } from "./toc.ts";

/** A layer that was put together. */
export interface RebuiltLayer {
  readonly imported: ImportedLayer;
  /** Bytes of the blob that were not fetched. */
  readonly spared: number;
}

/** What {@link importInParts} works with. */
export interface PartialImport {
  readonly repository: Repository;
  readonly source: ImageSource;
  /** Finds what is there; undefined where all shall be fetched. */
  readonly finder: ContentFinder | undefined;
  readonly blob: Descriptor;
  readonly diffId: Digest;
  readonly onProgress?: ProgressListener | undefined;
}

/** Blobs that are fetched whole however much of them is there. */
const SMALL_BLOB = 512 << 10;

/**
 * Imports a layer from what the repository has of it and the rest of its blob.
 *
 * @returns undefined when the layer has no table of contents, when too little of it is there, or when anything about it is wrong, which
 *   is told as a note
 * @throws ComposefsError `aborted`
 */
export async function importInParts(
  { repository, source, finder, blob, diffId, onProgress }: PartialImport,
  options: Pick<ImportLayerOptions, "name" | "pool" | "keepEntries" | "signal" | "onProgress">,
): Promise<RebuiltLayer | undefined> {
  if (finder === undefined || source.blobRange === undefined || blob.size < SMALL_BLOB) return undefined;
  const announced = announcedToc(blob);
  if (announced === undefined) return undefined;
  const { signal } = options;
  const readRange = source.blobRange.bind(source, blob);
  const meter = { fetched: 0 };
  const read: ReadRange = async function* (range) {
    for await (const bytes of readRange(range, signal === undefined ? {} : { signal })) {
      meter.fetched += bytes.length;
      yield bytes;
    }
  };
  try {
    const archive = await planArchive({ announced, blob, read, repository, finder, signal });
    if (archive === undefined) return undefined;
    const report = options.onProgress;
    const imported = await importLayer(repository, archive, {
      name: options.name,
      diffId,
      isPlain: true,
      ...(options.pool === undefined ? {} : { pool: options.pool }),
      ...(options.keepEntries === undefined ? {} : { keepEntries: options.keepEntries }),
      ...(signal === undefined ? {} : { signal }),
      ...(report === undefined ? {} : { onProgress: () => report(Math.min(meter.fetched, blob.size)) }),
    });
    return { imported, spared: Math.max(0, blob.size - meter.fetched) };
  } catch (error) {
    throwIfAborted(signal);
    if (!(error instanceof ComposefsError) || error.code === "internal") throw error;
    onProgress?.({
      type: "note",
      message: `${options.name} is fetched whole: its parts do not do (${error.message})`,
    });
    return undefined;
  }
}

interface Planning {
  readonly announced: AnnouncedToc;
  readonly blob: Descriptor;
  readonly read: ReadRange;
  readonly repository: Repository;
  readonly finder: ContentFinder;
  readonly signal: AbortSignal | undefined;
}

/** Bytes that may be hashed in vain for a layer, by its size: hashing is faster than fetching. */
const HASHING = 4;

async function planArchive(planning: Planning): Promise<AsyncIterable<Uint8Array> | undefined> {
  const { announced, blob, read, repository, finder, signal } = planning;
  if (!(await finder.hasObjects(signal))) return undefined;
  const table =
    announced.kind === "eStargz" ? await stargzTable(planning, announced) : await zstdTable(planning, announced);
  const { regions } = table;
  const split = await usableSplit(table);
  // Where the headers lie between the contents only large ones are worth skipping.
  const candidates = split === undefined ? regions.filter(({ start, end }) => end - start >= REQUEST_COST) : regions;
  const found = await finder.find(candidates, HASHING * blob.size, signal);
  const known = (i: number): KnownContent | undefined => {
    const region = regions[i];
    const content = region === undefined ? undefined : found.get(region.digest);
    return content !== undefined && sizeOf(content) === region?.size ? content : undefined;
  };
  const isKnown = (i: number): boolean => known(i) !== undefined;
  const parts = (ranges: readonly BlobRange[]): LayerParts => ({
    repository,
    regions,
    known,
    blob: new BlobRanges(read, ranges),
    signal,
  });
  if (split !== undefined) {
    const ranges = rangesToFetch(regions, isKnown);
    if (!isWorthIt(table.fetched + rangesLength(ranges), blob.size)) return undefined;
    const from = parts(ranges);
    return closing(rebuildFromSplit(from, splitParts(split.bytes, split.decoded)), from.blob);
  }
  const skipped = regionsToSkip(regions, isKnown);
  const pieces = piecesAround(regions, skipped, table.end, announced.kind === "eStargz");
  const gaps = pieces.filter((piece) => piece.kind === "gap");
  const ranges = gaps.map(({ range }) => range);
  if (!isWorthIt(table.fetched + rangesLength(ranges), blob.size)) return undefined;
  const from = parts(ranges);
  const gap = async function* ({ range, after }: (typeof gaps)[number]): AsyncGenerator<Uint8Array, void, undefined> {
    const bytes = from.blob.take(range);
    yield* after === undefined ? bytes : behindContent(bytes, range.start, after);
    // The members with the table are a part of the archive, and here already.
    if (range.end === table.end && table.rest !== undefined) yield table.rest;
  };
  return closing(rebuildAround(from, pieces, gap), from.blob);
}

function sizeOf(content: KnownContent): number {
  return content.kind === "object" ? content.size : content.bytes.length;
}

async function* closing(
  archive: AsyncIterable<Uint8Array>,
  blob: BlobRanges,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* archive;
  } finally {
    await blob.close();
  }
}

/** A table of contents that was fetched. */
interface FetchedTable extends TableOfContents {
  /** Where contents and headers end in the blob. */
  readonly end: number;
  /** Bytes that were fetched for it. */
  readonly fetched: number;
  /** eStargz: what follows, from `end` on. */
  readonly rest?: Uint8Array;
  readonly split?: { readonly bytes: Uint8Array; readonly decoded: number } | undefined;
}

async function zstdTable(
  { read }: Planning,
  { toc, tarSplit, digest }: Extract<AnnouncedToc, { kind: "zstd:chunked" }>,
): Promise<FetchedTable> {
  const wanted = tarSplit === undefined ? [toc] : [toc, tarSplit];
  const ranges = wanted.map(({ offset, length }) => ({ start: offset, end: offset + length }));
  ranges.sort((a, b) => a.start - b.start);
  const start = Math.min(...ranges.map((range) => range.start));
  const end = Math.max(...ranges.map((range) => range.end));
  // They lie side by side, so one request does for both.
  const isOne = end - start <= rangesLength(ranges) + REQUEST_COST;
  const joined = isOne ? await readAll(read({ start, end })) : undefined;
  const bytesOf = async ({ offset, length }: BlobPart): Promise<Uint8Array> =>
    joined?.subarray(offset - start, offset - start + length) ??
    (await readAll(read({ start: offset, end: offset + length })));
  const compressed = await bytesOf(toc);
  verifyDigest(compressed, digest, `the table of contents ${digest}`);
  const text = await zstdDecompress(compressed, toc.decoded, { what: "the table of contents" });
  // Before it lies the head of its skippable frame.
  const contentsEnd = toc.offset - SKIPPABLE_HEAD;
  const table = parseToc(text, "zstd:chunked", contentsEnd);
  const split =
    tarSplit === undefined || table.tarSplitDigest === undefined
      ? undefined
      : { bytes: await bytesOf(tarSplit), decoded: tarSplit.decoded };
  return { ...table, end: contentsEnd, fetched: isOne ? end - start : rangesLength(ranges), split };
}

const SKIPPABLE_HEAD = 8;

/** The last member of an eStargz blob: empty, with the place of the table in its extra field. */
const STARGZ_FOOTER = 51;
/** Where that field begins in it. */
const STARGZ_EXTRA = 12;

async function stargzTable({ blob, read }: Planning, { digest }: { digest: Digest }): Promise<FetchedTable> {
  const footerStart = blob.size - STARGZ_FOOTER;
  const footer = Buffer.from(await readAll(read({ start: footerStart, end: blob.size })));
  const [, hex] = /^SG..([0-9a-f]{16})STARGZ/s.exec(footer.toString("latin1", STARGZ_EXTRA)) ?? [];
  const start = hex === undefined ? Number.NaN : Number.parseInt(hex, 16);
  if (!(start > 0 && start < footerStart && footerStart - start <= MAX_TABLE)) {
    throw new ComposefsError("invalid", "the end of the blob does not say where its table of contents is");
  }
  const rest = await readAll(read({ start, end: footerStart }));
  const text = await lastFile(rest);
  verifyDigest(text, digest, `the table of contents ${digest}`);
  return { ...parseToc(text, "eStargz", start), end: start, fetched: blob.size - start, rest };
}

/** The content of the file in these members, which are a part of an archive. */
async function lastFile(members: Uint8Array): Promise<Uint8Array> {
  const found: Uint8Array[] = [];
  let size = 0;
  const take = (bytes: Uint8Array): void => {
    size += bytes.length;
    found.push(bytes.slice());
  };
  const reader = new TarReader("the table of contents", {
    entry: (_, content) => (content === undefined ? undefined : take(content)),
    content: take,
  });
  for await (const bytes of decompress(only(members), { name: "the table of contents" })) {
    if (size + bytes.length > 2 * MAX_TABLE) throw new ComposefsError("limit", "the table of contents is too long");
    reader.push(bytes);
  }
  return Buffer.concat(found);
}

async function* only(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}

/** The tar-split data, if it is what the table says and speaks of the same files. */
async function usableSplit({ split, tarSplitDigest, regions }: FetchedTable): Promise<FetchedTable["split"]> {
  if (split === undefined || tarSplitDigest === undefined) return undefined;
  try {
    if (contentDigest(split.bytes) !== tarSplitDigest && (await decodedDigest(split)) !== tarSplitDigest)
      return undefined;
    let index = 0;
    for await (const part of splitParts(split.bytes, split.decoded)) {
      if (part.kind === "content" && part.size !== regions[index++]?.size) return undefined;
    }
    return index === regions.length ? split : undefined;
  } catch (error) {
    if (error instanceof ComposefsError) return undefined;
    throw error;
  }
}

/** The digest of the data when it is decompressed: it is not said of which form the table speaks. */
async function decodedDigest({ bytes, decoded }: NonNullable<FetchedTable["split"]>): Promise<Digest> {
  const hasher = await blobHasher("sha256");
  let left = decoded;
  for await (const piece of zstdDecompressFrames([bytes], { what: "the tar-split data" })) {
    left -= piece.length;
    if (left < 0) throw new ComposefsError("limit", "the tar-split data is longer than it should be");
    hasher.update(piece);
  }
  return `sha256:${hasher.digest("hex")}`;
}

async function readAll(source: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const bytes of source) chunks.push(bytes);
  return Buffer.concat(chunks);
}
