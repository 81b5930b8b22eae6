// kill -9 at random moments of a pull, many times: after each the repository is sound, and the next pull completes it.
//
//   COMPOSEFS_CRASH_SEED     repeat a run (printed at its start)
//   COMPOSEFS_CRASH_LOOPS    how many kills, 200
//   COMPOSEFS_CRASH_MINUTES  stop after that time, 20; too few kills by then fail the test

import { cpSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { composefsOutput, startComposefs } from "../fixtures/composefs.ts";
import type { WrittenLayout } from "../fixtures/layout.ts";
import { seededRandom } from "../fixtures/random.ts";
import { type KnownObjects, auditRepository } from "../fixtures/repository-audit.ts";
import { findPeer, runPeer } from "../peer.ts";
import { type CrashSetup, crashSetup, imageId, newRepository, pullArguments } from "./setup.ts";

const seed = Number(process.env["COMPOSEFS_CRASH_SEED"] ?? Date.now() % 1_000_000);
const loops = Number(process.env["COMPOSEFS_CRASH_LOOPS"] ?? 200);
const minutes = Number(process.env["COMPOSEFS_CRASH_MINUTES"] ?? 20);

/** Starts a pull and kills it after a time; answers whether the kill came before its end. */
async function pullAndKill(repository: string, image: WrittenLayout, milliseconds: number): Promise<boolean> {
  const { child, ended } = startComposefs(pullArguments(repository, image, "image"));
  const timer = setTimeout(() => child.kill("SIGKILL"), milliseconds);
  const result = await ended;
  clearTimeout(timer);
  if (result.signal === "SIGKILL") return true;
  expect(result, `a pull that nobody killed failed: ${result.stderr}`).toMatchObject({ status: 0 });
  return false;
}

describe("kill -9 during a pull", () => {
  let setup: CrashSetup;
  /** A repository that holds the first image already, to be copied. */
  let withFirst: string;

  beforeAll(() => {
    setup = crashSetup();
    withFirst = newRepository(join(setup.folder, "with-first"));
    composefsOutput(pullArguments(withFirst, setup.first, "other"));
  });
  afterAll(() => setup?.[Symbol.dispose]());

  it(`leaves a sound repository ${loops} times`, async () => {
    const random = seededRandom(seed);
    const repository = join(setup.folder, "repository");
    const until = performance.now() + minutes * 60_000;
    const { first, second } = setup.undisturbed;
    console.log(
      `seed ${seed}; undisturbed pulls take ${first.milliseconds.toFixed(0)} and ${second.milliseconds.toFixed(0)} ms`,
    );
    let kills = 0;
    let complete = 0;
    let withTemporary = 0;
    let withTag = 0;
    const published = new Map<number, number>();

    for (let round = 0; kills < loops; round++) {
      if (performance.now() > until) break;
      // Half of the rounds pull the second image into a repository that shares two layers with it.
      const shared = random() < 0.5;
      const [image, expected] = shared ? [setup.second, second] : [setup.first, first];
      if (shared) cpSync(withFirst, repository, { recursive: true, verbatimSymlinks: true });
      else newRepository(repository);
      const known: KnownObjects = new Set();
      const check = (when: string) => {
        const audit = auditRepository(repository, known);
        const where = `seed ${seed}, round ${round}, ${when}`;
        expect(audit.problems, where).toEqual([]);
        if (shared) expect(audit.tags, where).toContain("other");
        return audit;
      };

      // One to three kills in a row, each on what the one before left.
      const inARow = 1 + Math.floor(random() * 3);
      for (let i = 0; i < inARow; i++) {
        const moment = random() * expected.milliseconds * 1.05;
        if (!(await pullAndKill(repository, image, moment))) {
          complete++;
          break;
        }
        kills++;
        const audit = check(`killed after ${moment.toFixed(0)} ms`);
        if (audit.temporary.length > 0) withTemporary++;
        if (audit.tags.includes("image")) withTag++;
        published.set(audit.streams.length, (published.get(audit.streams.length) ?? 0) + 1);
        if (findPeer("cfsctl") !== undefined && kills % 10 === 0) {
          const fsck = runPeer("cfsctl", ["--insecure", "--repo", repository, "fsck"]);
          expect(fsck, `seed ${seed}, round ${round}: ${fsck.stdout}${fsck.stderr}`).toMatchObject({ status: 0 });
        }
      }

      composefsOutput(pullArguments(repository, image, "image"));
      expect(imageId(repository, "image"), `seed ${seed}, round ${round}`).toBe(expected.id);
      const audit = check("after the next pull");
      expect(audit.tags).toContain("image");
      if (shared) expect(imageId(repository, "other")).toBe(first.id);
      rmSync(repository, { recursive: true });
    }
    const streams = [...published].toSorted(([a], [b]) => a - b).map(([n, times]) => `${n}: ${times}`);
    console.log(
      `${kills} kills (${complete} pulls ended first); ${withTemporary} left temporary files, ${withTag} came after the tag; ` +
        `streams present after a kill: ${streams.join(", ")}`,
    );
    expect(kills, `only ${kills} kills in ${minutes} minutes (seed ${seed})`).toBeGreaterThanOrEqual(loops);
  });
});
