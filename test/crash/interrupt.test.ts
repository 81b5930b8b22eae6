// Ctrl-C during a pull: exit status 130, a last line that says how to go on, a sound repository, and a next pull that completes.

import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startComposefs } from "../fixtures/composefs.ts";
import { seededRandom } from "../fixtures/random.ts";
import { auditRepository } from "../fixtures/repository-audit.ts";
import { type CrashSetup, crashSetup, newRepository, pullArguments, pullImage } from "./setup.ts";

const seed = Number(process.env["COMPOSEFS_CRASH_SEED"] ?? Date.now() % 1_000_000);

const INTERRUPTS = 12;

describe("SIGINT during a pull", () => {
  let setup: CrashSetup;
  beforeAll(() => {
    setup = crashSetup();
  });
  afterAll(() => setup?.[Symbol.dispose]());

  it(`ends it cleanly ${INTERRUPTS} times`, async () => {
    const random = seededRandom(seed);
    console.log(`seed ${seed}`);
    let interrupted = 0;
    for (let round = 0; interrupted < INTERRUPTS; round++) {
      expect(round, `only ${interrupted} of ${round} pulls were interrupted in time (seed ${seed})`).toBeLessThan(100);
      const repository = newRepository(join(setup.folder, "repository"));
      const { child, ended } = startComposefs(pullArguments(repository, setup.first, "image"));
      // The first object proves that the program is past its start and listens to signals.
      while (
        child.exitCode === null &&
        !(existsSync(join(repository, "objects")) && readdirSync(join(repository, "objects")).length > 0)
      ) {
        await sleep(2);
      }
      await sleep(random() ** 2 * setup.undisturbed.first.milliseconds);
      const sent = performance.now();
      child.kill("SIGINT");
      const result = await ended;
      const where = `seed ${seed}, round ${round}: ${result.stderr}`;
      if (result.status !== 0) {
        interrupted++;
        expect(result, where).toMatchObject({ status: 130, signal: null });
        expect(performance.now() - sent, `time to stop, ${where}`).toBeLessThan(5_000);
        const lastLine = result.stderr.trimEnd().split("\n").at(-1) ?? "";
        expect(lastLine, where).toMatch(/interrupted/i);
        expect(lastLine, where).toMatch(/again/i);
        const audit = auditRepository(repository);
        expect(audit.problems, where).toEqual([]);
        expect(audit.temporary, where).toEqual([]);
      }
      expect(pullImage(repository, setup.first, "image"), where).toBe(setup.undisturbed.first.id);
      expect(auditRepository(repository).problems, where).toEqual([]);
      rmSync(repository, { recursive: true });
    }
  });
});
