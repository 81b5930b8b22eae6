// Images damaged at random: see ../fixtures/image-campaign.ts. Longer runs, or other ones:
//   COMPOSEFS_FUZZ_CASES=1000000 COMPOSEFS_FUZZ_SEED=2 npx vitest run --project unit test/image/mutations.test.ts

import { describe, expect, it } from "vitest";
import { campaignBases, runCampaign } from "../fixtures/image-campaign.ts";
import { goldensDir } from "../goldens-dir.ts";

const cases = Number(process.env["COMPOSEFS_FUZZ_CASES"] ?? 4000);
const seed = Number(process.env["COMPOSEFS_FUZZ_SEED"] ?? 1);
/** Cases of one test. Each has a seed of its own, so that any can be repeated. */
const BLOCK = 4000;
const blocks = Array.from({ length: Math.ceil(cases / BLOCK) }, (_, i) => seed + i);

const bases = await campaignBases(goldensDir("erofs"));

describe(`damaged images, ${cases} in all`, () => {
  it.each(blocks)("seed %i", { timeout: 300_000 }, (blockSeed) => {
    const count = Math.min(BLOCK, cases - BLOCK * (blockSeed - seed));
    const { accepted, refused } = runCampaign(bases, count, blockSeed);
    expect(accepted + refused).toBe(count);
    expect(accepted).toBeGreaterThan(count / 10);
    expect(refused).toBeGreaterThan(count / 10);
  });
});
