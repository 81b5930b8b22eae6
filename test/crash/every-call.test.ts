// kill -9 between every two system calls that change the repository: of `init`, a pull, `tag`, `untag`, `gc`, `create-image` and
// `import-image` on small images.
// After each cut the repository opens, nothing reachable is damaged, gc works, and the same command again ends where an
// undisturbed one does. Of a larger pull with several threads random cuts are tried.
//
//   COMPOSEFS_CRASH_CUTS  how many cuts of one job at most, evenly spread; all when left out
//   COMPOSEFS_CRASH_SEED  repeat the random cuts (printed at the start)

import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { seededRandom } from "../fixtures/random.ts";
import { describeWithPeers } from "../peer.ts";
import { crashImages } from "./images.ts";
import { type Jobs, JOB_NAMES, copyFolder, crashJobs } from "./jobs.ts";
import { pullArguments } from "./setup.ts";
import { expectRecovery, expectSound, expectSoundForPeer, listing, pullHere } from "./soundness.ts";
import { type Cut, isMutation, recordCalls, runUntil } from "./strace.ts";

const seed = Number(process.env["COMPOSEFS_CRASH_SEED"] ?? Date.now() % 1_000_000);
const limit = Number(process.env["COMPOSEFS_CRASH_CUTS"] ?? Number.POSITIVE_INFINITY);
const RANDOM_CUTS = Math.min(limit, 10);

function spread<T>(all: readonly T[]): T[] {
  if (all.length <= limit) return [...all];
  return Array.from({ length: limit }, (_, i) => all[Math.floor((i * all.length) / limit)] as T);
}

/** Two at a time: each mostly waits for the start of a process. */
async function inTwoLanes<T>(items: readonly T[], action: (item: T, index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async () => {
    for (let index = next++; index < items.length; index = next++) await action(items[index] as T, index);
  };
  await Promise.all([lane(), lane()]);
}

describeWithPeers(["strace"], "kill -9 before every call that changes the repository", () => {
  let setup: Jobs;
  beforeAll(() => {
    setup = crashJobs();
  });
  afterAll(() => setup?.[Symbol.dispose]());

  it.each(JOB_NAMES)("of %s", async (name) => {
    const job = setup.jobs.get(name);
    if (job === undefined) throw new Error(`there is no job ${name}`);
    const undisturbed = join(setup.folder, "undisturbed");
    copyFolder(job.from, undisturbed);
    const calls = (await recordCalls(undisturbed, job.args(join(undisturbed, "repository")), job.input)).filter(
      isMutation,
    );
    const goal = listing(join(undisturbed, "repository"));
    await expectSound(join(undisturbed, "repository"), "undisturbed");
    rmSync(undisturbed, { recursive: true });
    expect(calls.length, "calls that change the repository").toBeGreaterThan(0);
    const others = calls.filter(({ thread }) => thread !== 0);
    expect(others, "calls of other threads, which cuts of the main thread miss").toEqual([]);

    let stopped = 0;
    const states = new Set<string>();
    const cuts = spread(calls);
    await inTwoLanes(cuts, async ({ name: call, count, args }, index) => {
      const where = `${name} killed before ${call} number ${count} (recorded as ${args.slice(0, 200)})`;
      const place = join(setup.folder, `${name}-${index}`);
      const repository = join(place, "repository");
      copyFolder(job.from, place);
      if (await runUntil({ name: call, count, threads: "main" }, job.args(repository), job.input)) {
        stopped++;
        states.add(
          listing(repository)
            .join()
            .replaceAll(/\.(tmp-\w+|symlink)-[\w-]+/g, ".$1-"),
        );
        if (index % 10 === 0 && existsSync(join(repository, "meta.json"))) expectSoundForPeer(repository, where);
        await expectRecovery(place, job.again, goal, where);
      } else {
        expect(listing(repository), `${where}, which did not come`).toEqual(goal);
      }
      rmSync(place, { recursive: true });
    });
    console.log(`${name}: ${stopped} cuts, ${states.size} different states`);
    // A cut counts calls; a thread of the runtime may shift the number by a few.
    expect(stopped).toBeGreaterThanOrEqual(Math.floor(0.9 * cuts.length));
    expect(states.size, "different states, the first included").toBeGreaterThan(Math.min(cuts.length, 10) / 4);
  });

  it(`of a large pull, ${RANDOM_CUTS} of its calls`, async () => {
    console.log(`seed ${seed}`);
    const random = seededRandom(seed);
    const { first } = crashImages(setup.folder);
    const undisturbed = join(setup.folder, "undisturbed");
    copyFolder(setup.empty, undisturbed);
    const args = (place: string) => pullArguments(join(place, "repository"), first, "first");
    const calls = (await recordCalls(undisturbed, args(undisturbed))).filter(isMutation);
    const goal = listing(join(undisturbed, "repository"));
    rmSync(undisturbed, { recursive: true });
    // Threads wake each other by writes that are no writes of files; the other calls are made for the repository only.
    const candidates = calls.filter(({ name }) => !/^(write|openat|ioctl)$/.test(name));
    const cuts = Array.from({ length: RANDOM_CUTS }, (): Cut => {
      const { name, count } = candidates[Math.floor(random() * candidates.length)] ?? { name: "syncfs", count: 1 };
      return { name, count, threads: "each" };
    });
    let stopped = 0;
    await inTwoLanes(cuts, async (cut, index) => {
      const where = `seed ${seed}: pull killed before ${cut.name} number ${cut.count}`;
      const place = join(setup.folder, `large-${index}`);
      copyFolder(setup.empty, place);
      if (await runUntil(cut, args(place))) {
        stopped++;
        const again = async (repository: string) => void (await pullHere(repository, first, "first"));
        await expectRecovery(place, again, goal, where);
      } else {
        expect(listing(join(place, "repository")), where).toEqual(goal);
      }
      rmSync(place, { recursive: true });
    });
    console.log(`${stopped} of ${RANDOM_CUTS} cuts of a pull with ${calls.length} calls`);
    expect(stopped).toBeGreaterThan(RANDOM_CUTS / 2);
  });
});
