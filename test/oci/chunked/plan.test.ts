// What of a layer is fetched (docs/spec/oci.md, section 4.7): every missing byte, few requests, never more than the bound.

import { describe, expect, it } from "vitest";

import {
  isWorthIt,
  rangesLength,
  rangesToFetch,
  regionsToSkip,
  type BlobRange,
} from "../../../src/oci/chunked/plan.ts";
import { seededRandom } from "../../fixtures/random.ts";

const region = (start: number, end: number): BlobRange => ({ start, end });
const REGIONS = [region(10, 20), region(25, 125), region(130, 140), region(140, 150), region(300, 310)];
const missing =
  (...indexes: number[]): ((i: number) => boolean) =>
  (i) =>
    !indexes.includes(i);

describe("ranges to fetch", () => {
  it.each<[number[], number, number, BlobRange[]]>([
    [[], 1, 9, []],
    [[2], 1, 9, [region(130, 140)]],
    [[2, 3], 1, 9, [region(130, 150)]],
    [[0, 1], 5, 9, [region(10, 20), region(25, 125)]],
    [[0, 1], 6, 9, [region(10, 125)]],
    [[0, 2, 4], 100, 9, [region(10, 20), region(130, 140), region(300, 310)]],
    // The widest gap is the one that stays.
    [[0, 2, 4], 100, 2, [region(10, 140), region(300, 310)]],
    [[0, 2, 4], 1, 1, [region(10, 310)]],
  ])("for the missing %j with a cost of %i and at most %i requests", (indexes, cost, most, expected) => {
    expect(rangesToFetch(REGIONS, missing(...indexes), { cost, most })).toEqual(expected);
  });

  it("cover what is missing, ascending, apart, and within the bound", () => {
    const random = seededRandom(5);
    for (let round = 0; round < 300; round++) {
      const regions: BlobRange[] = [];
      let at = 1;
      for (let i = 0; i < 40; i++) {
        const start = at + Math.floor(random() * 50);
        at = start + 1 + Math.floor(random() * 100);
        regions.push(region(start, at));
      }
      const known = regions.map(() => random() < 0.5);
      const most = 1 + Math.floor(random() * 12);
      const ranges = rangesToFetch(regions, (i) => known[i] === true, { cost: Math.floor(random() * 200), most });
      expect(ranges.length).toBeLessThanOrEqual(most);
      for (const [i, { start, end }] of regions.entries()) {
        if (known[i] === true) continue;
        expect(ranges.filter((range) => range.start <= start && end <= range.end)).toHaveLength(1);
      }
      for (const [i, range] of ranges.entries()) expect(range.start).toBeGreaterThan(ranges[i - 1]?.end ?? 0);
    }
  });
});

describe("regions to skip", () => {
  it("are the largest that are there, in their order", () => {
    expect(regionsToSkip(REGIONS, missing(), { cost: 10, most: 3 })).toEqual([0, 1]);
    expect(regionsToSkip(REGIONS, missing(1), { cost: 10, most: 9 })).toEqual([0, 2, 3, 4]);
    expect(regionsToSkip(REGIONS, missing(), { cost: 11, most: 9 })).toEqual([1]);
    expect(regionsToSkip(REGIONS, missing(), { cost: 1, most: 1 })).toEqual([]);
  });
});

it("is worth it from a tenth on", () => {
  expect(rangesLength(REGIONS)).toBe(140);
  expect(isWorthIt(90, 100)).toBe(true);
  expect(isWorthIt(91, 100)).toBe(false);
});
