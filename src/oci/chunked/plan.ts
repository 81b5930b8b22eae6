// Decides what of a layer is fetched and what comes out of the repository (docs/spec/oci.md, section 4.7). Pure: regions and what is
// known of them in, ranges out.

/** Bytes that are rather fetched than another request made: at 10 MB/s they take as long as one takes to be answered. */
export const REQUEST_COST = 128 << 10;

/** Most requests for a layer. */
export const MAX_REQUESTS = 128;

/** A part of a blob, in bytes: from `start` to before `end`. */
export interface BlobRange {
  readonly start: number;
  readonly end: number;
}

/**
 * The ranges to fetch where headers are known: those of the missing contents, joined where little lies between.
 *
 * @param regions in the order of the blob
 * @param isKnown whether the content of region `i` is there
 */
export function rangesToFetch(
  regions: readonly BlobRange[],
  isKnown: (i: number) => boolean,
  { cost = REQUEST_COST, most = MAX_REQUESTS }: { cost?: number; most?: number } = {},
): BlobRange[] {
  const missing = regions.filter((_, i) => !isKnown(i));
  const gaps = missing.slice(1).map(({ start }, i) => start - (missing[i] as BlobRange).end);
  // Only the widest gaps are worth a request.
  const widest = gaps.filter((gap) => gap >= cost).sort((a, b) => b - a);
  const least = widest[most - 1] === undefined ? cost : (widest[most - 2] as number);
  let splits = Math.max(0, most - 1);
  const ranges: { start: number; end: number }[] = [];
  for (const [i, { start, end }] of missing.entries()) {
    const last = ranges.at(-1);
    if (last === undefined || ((gaps[i - 1] as number) >= least && splits-- > 0)) ranges.push({ start, end });
    else last.end = end;
  }
  return ranges;
}

/**
 * The regions that are not fetched where the headers lie between them: the largest known ones, as each costs a request.
 *
 * @returns their indexes, ascending
 */
export function regionsToSkip(
  regions: readonly BlobRange[],
  isKnown: (i: number) => boolean,
  { cost = REQUEST_COST, most = MAX_REQUESTS }: { cost?: number; most?: number } = {},
): number[] {
  const length = (i: number): number => (regions[i] as BlobRange).end - (regions[i] as BlobRange).start;
  return regions
    .map((_, i) => i)
    .filter((i) => length(i) >= cost && isKnown(i))
    .sort((a, b) => length(b) - length(a))
    .slice(0, Math.max(0, most - 1))
    .sort((a, b) => a - b);
}

/** Whether it pays: a tenth of the blob is spared at least. */
export function isWorthIt(fetched: number, size: number): boolean {
  return fetched <= size * 0.9;
}

/** Bytes of ranges. */
export function rangesLength(ranges: readonly BlobRange[]): number {
  return ranges.reduce((sum, { start, end }) => sum + end - start, 0);
}
