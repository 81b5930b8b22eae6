// kill -9 between every two system calls that change a sysroot: of install, upgrade, switch, finalize, rollback, delete, gc and of the
// migration of an old one. After each cut everything in the boot menu boots, the images of applications are whole, and the same command
// again and a collection end where an undisturbed run does.
//
//   COMPOSEFS_CRASH_CUTS  how many cuts of one job at most, evenly spread; 30 when left out, `all` are some 900

import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { describeWithPeers } from "../peer.ts";
import {
  collectAll,
  contents,
  DEPLOY_JOBS,
  deployJobs,
  type DeployJobs,
  expectBootable,
  expectContents,
  expectSoundRepository,
  type Loader,
} from "./deploy-jobs.ts";
import { copyFolder } from "./jobs.ts";
import { isMutation, recordCalls, runUntil } from "./strace.ts";

const wanted = process.env["COMPOSEFS_CRASH_CUTS"] ?? "30";
const most = wanted === "all" ? Number.POSITIVE_INFINITY : Number(wanted);
// With entries in the ESP the same steps lead to other paths: a part of the moments is enough.
const LOADERS: readonly (Loader & { limit: number })[] = [
  { bootloader: "grub", limit: most },
  { bootloader: "systemd", esp: "esp", limit: Math.ceil(Math.min(most, 30) / 4) },
];

function spread<T>(all: readonly T[], limit: number): T[] {
  if (all.length <= limit) return [...all];
  return Array.from({ length: limit }, (_, i) => all[Math.floor((i * all.length) / limit)] as T);
}

for (const loader of LOADERS)
  describeWithPeers(["strace"], `kill -9 before every call that changes a sysroot, ${loader.bootloader}`, () => {
    const { limit } = loader;
    let setup: DeployJobs;
    beforeAll(async () => {
      setup = await deployJobs(loader);
    });
    afterAll(() => setup?.[Symbol.dispose]());

    it.each(DEPLOY_JOBS)("of %s", async (name) => {
      const job = setup.jobs.get(name);
      if (job === undefined) throw new Error(`there is no job ${name}`);
      const undisturbed = join(setup.folder, "undisturbed");
      rmSync(undisturbed, { recursive: true, force: true });
      copyFolder(job.from, undisturbed);
      const calls = (await recordCalls(undisturbed, job.args(undisturbed))).filter(isMutation);
      await expectBootable(undisturbed, loader, "undisturbed", false);
      await collectAll(undisturbed, loader, "undisturbed");
      const goal = contents(undisturbed);
      rmSync(undisturbed, { recursive: true });
      const cuts = spread(
        calls.filter(({ thread }) => thread === 0),
        limit,
      );
      expect(cuts.length).toBeGreaterThan(Math.min(limit, 10) - 1);
      let stopped = 0;
      for (const [index, { name: call, count, args }] of cuts.entries()) {
        const where = `${name} killed before ${call} number ${count} (recorded as ${args.slice(0, 200)})`;
        const place = join(setup.folder, `${name}-${index}`);
        copyFolder(job.from, place);
        if (await runUntil({ name: call, count, threads: "main" }, job.args(place))) stopped++;
        await expectBootable(place, loader, where, name === "install");
        await expectSoundRepository(place, where);
        await job.again(place);
        await expectBootable(place, loader, `${where}, and again`, false);
        await collectAll(place, loader, `${where}, and again`);
        expectContents(place, goal, `${where}, and again`);
        rmSync(place, { recursive: true });
      }
      console.log(`${name}: ${stopped} cuts of ${calls.length} calls`);
      // A cut counts calls, and the runtime wakes its threads by writes: some numbers do not come.
      expect(stopped).toBeGreaterThanOrEqual(Math.floor(0.6 * cuts.length));
    });
  });
