// The power fails: everything after the last barrier is lost, or some of it. For every moment of `init`, a pull, `tag`, `untag` and
// `gc` the repository that is left must open, have no reachable damage, let itself be collected, and take the same command
// again. What a command has finished stays finished. The model of the storage is in lost-writes.ts.
//
//   COMPOSEFS_CRASH_SEED    repeat a run (printed at its start)
//   COMPOSEFS_CRASH_LOSSES  how many failures for each moment and kind of loss, 1

import { createHash } from "node:crypto";
import { lstatSync, readFileSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { join } from "node:path";

import { afterAll, beforeAll, expect, it } from "vitest";
import { seededRandom } from "../fixtures/random.ts";
import { describeWithPeers } from "../peer.ts";
import { type Jobs, JOB_NAMES, copyFolder, crashJobs } from "./jobs.ts";
import { type Loss, changesOf, loseWrites, stepCount } from "./lost-writes.ts";
import { expectRecovery, expectSound, listing } from "./soundness.ts";
import { isMutation, recordCalls } from "./strace.ts";

const seed = Number(process.env["COMPOSEFS_CRASH_SEED"] ?? Date.now() % 1_000_000);
const repetitions = Number(process.env["COMPOSEFS_CRASH_LOSSES"] ?? 1);
const LOSSES: readonly Loss[] = ["nothing", "ordered", "directories", "any"];

/** What is in a folder: names, link targets, contents. */
function fingerprint(folder: string): string {
  const hash = createHash("sha256");
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" }).toSorted()) {
    const path = join(folder, name);
    const stat = lstatSync(path);
    hash.update(`${name}\0${stat.isSymbolicLink() ? readlinkSync(path) : stat.size}\0`);
    if (stat.isFile()) hash.update(readFileSync(path));
  }
  return hash.digest("hex");
}

describeWithPeers(["strace"], "writes lost after the last barrier", () => {
  let setup: Jobs;
  beforeAll(() => {
    setup = crashJobs();
    console.log(`seed ${seed}`);
  });
  afterAll(() => setup?.[Symbol.dispose]());

  it.each(JOB_NAMES)("of %s", async (name) => {
    const job = setup.jobs.get(name);
    if (job === undefined) throw new Error(`there is no job ${name}`);
    const random = seededRandom(seed);
    const recorded = join(setup.folder, "recorded");
    copyFolder(job.from, recorded);
    const calls = await recordCalls(recorded, job.args(join(recorded, "repository")), job.input);
    const history = changesOf(calls.filter(isMutation));
    const goal = listing(join(recorded, "repository"));
    rmSync(recorded, { recursive: true });

    const target = join(setup.folder, "remains");
    const places = { origin: job.from, recorded, target };
    const steps = stepCount(history);
    // Many failures leave the same: each remains is judged once.
    const judged = new Set<string>();
    let failures = 0;
    for (let cut = 0; cut <= steps; cut++) {
      for (const loss of LOSSES) {
        for (let i = 0; i < (loss === "nothing" ? 1 : repetitions); i++) {
          const where = `seed ${seed}: ${name}, power failure after step ${cut} of ${steps}, ${loss} survives (${i})`;
          rmSync(target, { recursive: true, force: true });
          loseWrites(history, places, cut, loss, random);
          if (cut === steps && job.durable) {
            await expectSound(join(target, "repository"), where);
            expect(listing(join(target, "repository")), `${where}: what was finished`).toEqual(goal);
          }
          const remains = fingerprint(target);
          if (!judged.has(remains)) await expectRecovery(target, job.again, goal, where, true);
          judged.add(remains);
          failures++;
        }
      }
    }
    console.log(`${name}: ${failures} power failures in ${steps} steps left ${judged.size} different repositories`);
  });
});
