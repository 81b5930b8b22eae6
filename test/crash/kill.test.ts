// kill -9 at random moments of a pull, many times: after each the repository is sound, and the next pull completes it.
//
//   COMPOSEFS_CRASH_SEED     repeat a run (printed at its start)
//   COMPOSEFS_CRASH_LOOPS    how many kills, 200
//   COMPOSEFS_CRASH_MINUTES  stop after that time, 20; too few kills by then fail the test

import { cpSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setImmediate, setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startComposefs } from "../fixtures/composefs.ts";
import type { WrittenLayout } from "../fixtures/layout.ts";
import { seededRandom } from "../fixtures/random.ts";
import { type KnownObjects, auditRepository } from "../fixtures/repository-audit.ts";
import { findPeer, runPeer } from "../peer.ts";
import { type CrashSetup, crashSetup, imageId, newRepository, pullArguments, pullImage } from "./setup.ts";

const seed = Number(process.env["COMPOSEFS_CRASH_SEED"] ?? Date.now() % 1_000_000);
const loops = Number(process.env["COMPOSEFS_CRASH_LOOPS"] ?? 200);
const minutes = Number(process.env["COMPOSEFS_CRASH_MINUTES"] ?? 20);

/** When to kill: after a time, or a time after the first change of the links, so that publishing is hit often enough. */
interface Moment {
  milliseconds: number;
  afterFirstLink: boolean;
}

function linkState(repository: string): string {
  const names = (folder: string) => {
    try {
      return readdirSync(join(repository, folder));
    } catch {
      return [];
    }
  };
  const temporary = names(".").filter((name) => name.startsWith(".symlink-"));
  return [names("images"), names("streams"), temporary].map((list) => list.toSorted().join()).join("|");
}

/** Starts a pull and kills it at a moment; answers whether the kill came before its end. */
async function pullAndKill(repository: string, image: WrittenLayout, moment: Moment): Promise<boolean> {
  const before = linkState(repository);
  const { child, ended } = startComposefs(pullArguments(repository, image, "image"));
  const isRunning = () => child.exitCode === null && child.signalCode === null;
  if (moment.afterFirstLink) {
    while (isRunning() && linkState(repository) === before) await setImmediate();
  }
  const until = performance.now() + moment.milliseconds;
  while (isRunning() && performance.now() < until) {
    // Timers are only good to a millisecond; the last one is spent turning.
    if (until - performance.now() > 2) await setTimeout(1);
    else await setImmediate();
  }
  child.kill("SIGKILL");
  const { status, signal, stderr } = await ended;
  if (signal === "SIGKILL") return true;
  expect(status, `a pull that nobody killed failed: ${stderr}`).toBe(0);
  return false;
}

describe("kill -9 during a pull", () => {
  let setup: CrashSetup;
  /** A repository that holds the first image already, to be copied. */
  let withFirst: string;
  let empty: string;

  beforeAll(() => {
    setup = crashSetup();
    empty = newRepository(join(setup.folder, "empty"));
    withFirst = newRepository(join(setup.folder, "with-first"));
    pullImage(withFirst, setup.first, "other");
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
      else cpSync(empty, repository, { recursive: true });
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
        const afterFirstLink = random() < 0.4;
        const milliseconds = afterFirstLink ? random() ** 2 * 15 : random() * expected.milliseconds * 1.05;
        const moment = { milliseconds, afterFirstLink };
        if (!(await pullAndKill(repository, image, moment))) {
          complete++;
          break;
        }
        kills++;
        const audit = check(
          `killed ${milliseconds.toFixed(1)} ms after ${afterFirstLink ? "the first link" : "the start"}`,
        );
        if (audit.temporary.length > 0) withTemporary++;
        if (audit.tags.includes("image")) withTag++;
        published.set(audit.streams.length, (published.get(audit.streams.length) ?? 0) + 1);
        if (findPeer("cfsctl") !== undefined && kills % 10 === 0) {
          const fsck = runPeer("cfsctl", ["--insecure", "--repo", repository, "fsck"]);
          expect(fsck, `seed ${seed}, round ${round}: ${fsck.stdout}${fsck.stderr}`).toMatchObject({ status: 0 });
        }
      }

      expect(pullImage(repository, image, "image"), `seed ${seed}, round ${round}`).toBe(expected.id);
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
