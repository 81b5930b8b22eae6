// The power fails in the middle of a command on a sysroot: what follows the last barrier is lost, or some of it. Whatever is in the boot
// menu then boots, the images of applications are whole, and the same command again ends where an undisturbed one does. The model of the
// storage is in lost-writes.ts; an exchange of two names is one change of it.
//
//   COMPOSEFS_CRASH_CUTS  how many moments of one job at most, evenly spread; 12 when left out
//   COMPOSEFS_CRASH_SEED  repeat a run (printed at its start)

import { createHash } from "node:crypto";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, it } from "vitest";
import { seededRandom } from "../fixtures/random.ts";
import { describeWithPeers } from "../peer.ts";
import {
  collectAll,
  contents,
  DEPLOY_JOBS,
  deployJobs,
  type DeployJobs,
  expectBootable,
  expectContents,
  type Loader,
} from "./deploy-jobs.ts";
import { copyFolder } from "./jobs.ts";
import { changesOf, type Loss, loseWrites, stepCount } from "./lost-writes.ts";
import { isMutation, recordCalls } from "./strace.ts";

const seed = Number(process.env["COMPOSEFS_CRASH_SEED"] ?? Date.now() % 1_000_000);
const limit = Number(process.env["COMPOSEFS_CRASH_CUTS"] ?? 12);
const LOSSES: readonly Loss[] = ["nothing", "ordered", "directories", "any"];
const GRUB: Loader = { bootloader: "grub" };

describeWithPeers(["strace"], "writes to a sysroot lost after the last barrier", () => {
  let setup: DeployJobs;
  beforeAll(async () => {
    setup = await deployJobs(GRUB);
    console.log(`seed ${seed}`);
  });
  afterAll(() => setup?.[Symbol.dispose]());

  it.each(DEPLOY_JOBS)("of %s", async (name) => {
    const job = setup.jobs.get(name);
    if (job === undefined) throw new Error(`there is no job ${name}`);
    const random = seededRandom(seed);
    const recorded = join(setup.folder, "recorded");
    rmSync(recorded, { recursive: true, force: true });
    copyFolder(job.from, recorded);
    const calls = await recordCalls(recorded, job.args(recorded));
    const history = changesOf(calls.filter(isMutation));
    await collectAll(recorded, GRUB, "undisturbed");
    const goal = contents(recorded);
    rmSync(recorded, { recursive: true });
    const target = join(setup.folder, "remains");
    const steps = stepCount(history);
    const moments = Array.from({ length: Math.min(limit, steps + 1) }, (_, i) =>
      Math.floor((i * (steps + 1)) / Math.min(limit, steps + 1)),
    );
    const judged = new Set<string>();
    for (const cut of moments) {
      for (const loss of LOSSES) {
        const where = `seed ${seed}: ${name}, power failure after step ${cut} of ${steps}, ${loss} survives`;
        rmSync(target, { recursive: true, force: true });
        loseWrites(history, { origin: job.from, recorded, target }, cut, loss, random);
        // Many failures leave the same: each remains is judged once.
        const remains = createHash("sha256").update(contents(target).join("\n")).digest("hex");
        if (judged.has(remains)) continue;
        judged.add(remains);
        await expectBootable(target, GRUB, where, name === "install");
        await job.again(target);
        await expectBootable(target, GRUB, `${where}, and again`, false);
        await collectAll(target, GRUB, `${where}, and again`);
        expectContents(target, goal, `${where}, and again`);
      }
    }
    console.log(`${name}: ${moments.length} of ${steps} steps, ${judged.size} different sysroots`);
  });
});
