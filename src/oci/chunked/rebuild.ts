// Puts the archive of a layer together from contents that are there and parts of the blob (docs/spec/oci.md, section 4.7). What comes out
// is believed by no one before it has the layer's diff_id.

import { ComposefsError, throwIfAborted } from "../../error.ts";
import type { Repository } from "../../repository/repository.ts";
import { zstdDecompressFrames } from "../../runtime/zstd.ts";
import { decompress } from "../decompress.ts";
import { digestHasher, parseDigest } from "../digest.ts";
import type { BlobRanges } from "./blob-ranges.ts";
import { firstMember } from "./gzip-tail.ts";
import { objectPieces, type KnownContent } from "./known-content.ts";
import type { BlobRange } from "./plan.ts";
import type { SplitPart } from "./tar-split.ts";
import type { ContentRegion } from "./toc.ts";

/** What is there of a layer, and the rest of it. */
export interface LayerParts {
  readonly repository: Repository;
  readonly regions: readonly ContentRegion[];
  /** The contents of regions that are there. */
  readonly known: (i: number) => KnownContent | undefined;
  readonly blob: BlobRanges;
  readonly signal?: AbortSignal | undefined;
}

/** The archive, with everything but the contents out of tar-split data. */
export async function* rebuildFromSplit(
  { repository, regions, known, blob, signal }: LayerParts,
  parts: AsyncIterable<SplitPart>,
): AsyncGenerator<Uint8Array, void, undefined> {
  let index = 0;
  for await (const part of parts) {
    throwIfAborted(signal);
    if (part.kind === "bytes") {
      yield part.bytes;
      continue;
    }
    const region = regions[index];
    const content = known(index++);
    if (region === undefined) throw new ComposefsError("invalid", "the tar-split data has more files than the table");
    if (content !== undefined) yield* contentBytes(repository, content);
    else yield* fetchedContent(blob, region);
  }
}

/** The archive, with the blob around the contents of some regions. */
export async function* rebuildAround(
  { repository, known, signal }: LayerParts,
  pieces: readonly AroundPiece[],
  gap: (piece: AroundGap) => AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  for (const piece of pieces) {
    throwIfAborted(signal);
    if (piece.kind === "region") yield* contentBytes(repository, known(piece.index) as KnownContent);
    else yield* decompress(gap(piece), { name: "a part of the blob" });
  }
}

/** What {@link rebuildAround} puts together: a content that is there, or what is between two of them. */
export type AroundPiece = { readonly kind: "region"; readonly index: number } | AroundGap;

/** A stretch of the blob that is fetched. */
export interface AroundGap {
  readonly kind: "gap";
  readonly range: BlobRange;
  /** eStargz: the region before, whose content ends somewhere in the stretch. */
  readonly after: ContentRegion | undefined;
}

/** Bytes at the end of a region of an eStargz layer in which its content has to end: headers of what follows fit many times. */
const TAIL = 16 << 10;

/**
 * The pieces of a layer around the regions that are skipped.
 *
 * @param skipped indexes of regions, ascending
 * @param end where the contents and headers end
 * @param hasTails whether the headers that follow a content lie in its region (eStargz)
 */
export function piecesAround(
  regions: readonly ContentRegion[],
  skipped: readonly number[],
  end: number,
  hasTails: boolean,
): AroundPiece[] {
  const pieces: AroundPiece[] = [];
  let at = 0;
  let after: ContentRegion | undefined;
  const close = (to: number): void => {
    if (to > at) pieces.push({ kind: "gap", range: { start: at, end: to }, after });
  };
  for (const index of skipped) {
    const region = regions[index] as ContentRegion;
    close(region.start);
    pieces.push({ kind: "region", index });
    // The search begins behind the first byte of the last part, which begins a member itself.
    at = hasTails ? Math.max(region.lastPart + 1, region.end - TAIL) : region.end;
    after = hasTails ? region : undefined;
  }
  close(end);
  return pieces;
}

/** A stretch that begins inside the last members of a content: from the first member on that does not belong to it. */
export async function* behindContent(
  source: AsyncIterable<Uint8Array>,
  start: number,
  { end, size }: ContentRegion,
): AsyncGenerator<Uint8Array, void, undefined> {
  const length = end - start;
  const head: Uint8Array[] = [];
  let held = 0;
  for await (const chunk of source) {
    if (held >= length) {
      yield chunk;
      continue;
    }
    head.push(chunk.slice());
    held += chunk.length;
    if (held < length) continue;
    const bytes = Buffer.concat(head);
    yield bytes.subarray(firstMember(bytes.subarray(0, length), (512 - (size % 512)) % 512));
  }
}

async function* contentBytes(
  repository: Repository,
  content: KnownContent,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (content.kind === "inline") yield content.bytes;
  else yield* objectPieces(repository, content.id);
}

/** The content of a region; its size and digest must be what the table says. */
async function* fetchedContent(blob: BlobRanges, region: ContentRegion): AsyncGenerator<Uint8Array, void, undefined> {
  const hasher = await digestHasher(region.digest);
  let left = region.size;
  for await (const bytes of zstdDecompressFrames(blob.take(region), { what: "a file of the blob" })) {
    left -= bytes.length;
    if (left < 0) break;
    hasher.update(bytes);
    yield bytes;
  }
  const digest = `${parseDigest(region.digest).algorithm}:${hasher.digest("hex")}`;
  if (left !== 0 || digest !== region.digest) {
    throw new ComposefsError("invalid", "a file is not what the table of contents says", { digest: region.digest });
  }
}
