// What the operating system refuses: errors of single calls, an unreadable object, a full, read-only or foreign file system, a clock
// that went back. Each time one clear sentence with a hint and exit status 1, nothing lost, and afterwards the same command
// works. A file system that runs full during a pull is in disk-full.test.ts.
//
//   COMPOSEFS_CRASH_FAULTS  how many calls of each job fail, evenly spread, 12

import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readlinkSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { collectGarbage } from "../../src/repository/gc/collect.ts";
import { Repository } from "../../src/repository/repository.ts";
import { COMPOSEFS_MAIN, type ComposefsResult, composefs, composefsOutput } from "../fixtures/composefs.ts";
import { auditRepository } from "../fixtures/repository-audit.ts";
import { describeWithPeers, skipOrFail } from "../peer.ts";
import { type Job, type JobName, type Jobs, JOB_NAMES, copyFolder, crashJobs } from "./jobs.ts";
import { expectRecovery, expectSound, listing } from "./soundness.ts";
import { isMutation, recordCalls, runWithError, runWithUnreadable } from "./strace.ts";

const FAULTS = Number(process.env["COMPOSEFS_CRASH_FAULTS"] ?? 12);
const isRoot = process.platform === "linux" && process.getuid?.() === 0;

function expectClearFailure(result: ComposefsResult, reason: RegExp, where: string): void {
  expect(result, `${where}: ${result.stderr}`).toMatchObject({ status: 1, signal: null });
  const lines = result.stderr.split("\n").filter((line) => line.startsWith("composefs: "));
  expect(lines, `${where}: one sentence`).toHaveLength(1);
  expect(lines[0], where).toMatch(reason);
  expect(result.stderr, `${where}: a hint`).toMatch(/^hint: ./m);
  expect(result.stderr, `${where}: a stack trace is no message`).not.toMatch(/^\s+at .*:\d+:\d+/m);
}

describe("faults of the operating system", () => {
  let setup: Jobs;
  let number = 0;
  beforeAll(() => {
    setup = crashJobs();
  });
  afterAll(() => setup?.[Symbol.dispose]());

  const jobOf = (name: JobName): Job => {
    const job = setup.jobs.get(name);
    if (job === undefined) throw new Error(`there is no job ${name}`);
    return job;
  };
  const copyOf = (name: JobName): { place: string; repository: string } => {
    const place = join(setup.folder, `fault-${number++}`);
    copyFolder(jobOf(name).from, place);
    return { place, repository: join(place, "repository") };
  };

  describeWithPeers(["strace"], "a call that fails", () => {
    it.each(JOB_NAMES)("in %s", async (name) => {
      const job = jobOf(name);
      const { place, repository } = copyOf(name);
      const calls = (await recordCalls(place, job.args(repository), job.input)).filter(isMutation);
      const goal = listing(repository);
      rmSync(place, { recursive: true });
      // Where an error is no obstacle: fs-verity is optional here, and what is tried first may be missing.
      const step = Math.max(1, calls.length / FAULTS);
      let refused = 0;
      for (let at = 0; at < calls.length; at += step) {
        const call = calls[Math.floor(at)];
        if (call === undefined) break;
        for (const error of ["EIO", "ENOSPC"]) {
          if (error === "ENOSPC" && /unlink|rmdir|ioctl|sync/.test(call.name)) continue;
          const where = `${name}, ${error} of ${call.name} number ${call.count} (recorded as ${call.args.slice(0, 200)})`;
          const { place: damaged, repository: target } = copyOf(name);
          const { result, hit } = await runWithError(call, error, damaged, job.args(target), job.input);
          if (!hit) {
            // Some other file of the process: what it makes of that is not the matter here.
          } else if (result.status === 0) {
            expect(call.name, `${where}: a barrier must not fail in silence`).not.toBe("syncfs");
            const kept = listing(target).filter((line) => !/\.(tmp|symlink)-/.test(line));
            expect(kept, `${where} had no effect`).toEqual(goal);
          } else {
            refused++;
            expectClearFailure(result, error === "EIO" ? /input\/output error/i : /no space/i, where);
          }
          await expectRecovery(damaged, job.again, goal, where);
          rmSync(damaged, { recursive: true });
        }
      }
      expect(refused, "commands that an error stopped").toBeGreaterThan(0);
    });

    describe("an object that cannot be read", () => {
      const objectOf = (repository: string, prefix: string): string => {
        const link = listing(repository).find((line) => line.startsWith(prefix)) ?? "";
        return join(repository, "streams", readlinkSync(join(repository, link.split(" -> ")[0] ?? "")));
      };

      it.each([
        ["oci-config-", ["oci", "inspect", "one"]],
        ["oci-manifest-", ["gc"]],
        ["oci-layer-", ["gc"]],
        ["oci-layer-", ["oci", "dump", "one"]],
      ])("the stream %s, for %j", async (prefix, args) => {
        // All that is in it is in use.
        const { place, repository } = copyOf("untag");
        const before = listing(repository);
        const file = objectOf(repository, `streams/${prefix}`);
        const result = await runWithUnreadable(file, ["--repo", repository, ...args]);
        expectClearFailure(result, /input\/output error/i, args.join(" "));
        expect(listing(repository)).toEqual(before);
        const check = await runWithUnreadable(file, ["--repo", repository, "fsck"]);
        expect(check).toMatchObject({ status: 1 });
        expect(check.stdout).toMatch(/input\/output error/i);
        await expectSound(repository, args.join(" "));
        rmSync(place, { recursive: true });
      });
    });
  });

  describe("a read-only mount", () => {
    if (!isRoot) {
      skipOrFail("a read-only mount needs Linux and root: run the suite with sudo");
      return;
    }
    it("refuses what writes and allows what reads", async () => {
      const { place, repository } = copyOf("untag");
      const before = listing(repository);
      execFileSync("mount", ["--bind", place, place]);
      try {
        execFileSync("mount", ["-o", "remount,bind,ro", place]);
        for (const name of ["second pull", "tag", "untag", "gc"] as const)
          expectClearFailure(composefs(jobOf(name).args(repository)), /read-only file system/i, name);
        expectClearFailure(composefs(["init", "--insecure", join(place, "new")]), /read-only file system/i, "init");
        for (const args of [["fsck"], ["gc", "--dry-run"], ["oci", "images"], ["oci", "inspect", "one"]])
          composefsOutput(["--repo", repository, ...args]);
        expect(listing(repository)).toEqual(before);
      } finally {
        execFileSync("umount", [place]);
      }
      await expectSound(repository, "writable again");
      rmSync(place, { recursive: true });
    });
  });

  describe("an unprivileged user", () => {
    if (!isRoot || spawnSync("setpriv", ["--version"]).status !== 0) {
      skipOrFail("another user needs Linux, root and setpriv: run the suite with sudo, apt-get install util-linux");
      return;
    }
    const asNobody = (args: readonly string[]): ComposefsResult => {
      const nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
      const run = spawnSync("setpriv", [...nobody, process.execPath, COMPOSEFS_MAIN, ...args], { encoding: "utf8" });
      if (run.error) throw run.error;
      return { status: run.status, signal: run.signal, stdout: run.stdout, stderr: run.stderr };
    };
    it("is told that it may not read, or may not write", async () => {
      if (asNobody(["--version"]).status !== 0) {
        // A checkout below a home directory of mode 0700.
        expect(process.env["CI"], "the program can be read by other users").not.toBe("true");
        return;
      }
      const { place, repository } = copyOf("untag");
      const before = listing(repository);
      chmodSync(setup.folder, 0o755);
      expectClearFailure(asNobody(["--repo", repository, "oci", "images"]), /permission denied/i, "no reading");
      chmodSync(repository, 0o755);
      for (const name of ["second pull", "tag", "untag", "gc"] as const)
        expectClearFailure(asNobody(jobOf(name).args(repository)), /permission denied/i, name);
      expectClearFailure(asNobody(["init", "--insecure", join(place, "new")]), /permission denied/i, "init");
      expect(asNobody(["--repo", repository, "fsck"])).toMatchObject({ status: 0 });
      expect(asNobody(["--repo", repository, "gc", "--dry-run"])).toMatchObject({ status: 0 });
      expect(listing(repository)).toEqual(before);
      await expectSound(repository, "after all refusals");
      rmSync(place, { recursive: true });
    });
  });

  describe("a full file system", () => {
    if (!isRoot) {
      skipOrFail("a small tmpfs needs Linux and root: run the suite with sudo");
      return;
    }
    it.each(["bytes", "inodes"])("without %s stops tag and init, not gc and untag", async (what) => {
      const mountPoint = join(setup.folder, "small");
      mkdirSync(mountPoint);
      const count = what === "inodes" ? 200 : 10_000;
      execFileSync("mount", ["-t", "tmpfs", "-o", `size=4m,nr_inodes=${count}`, "composefs-crash", mountPoint]);
      try {
        const place = join(mountPoint, "place");
        const repository = join(place, "repository");
        copyFolder(jobOf("gc").from, place);
        composefsOutput(jobOf("tag").args(repository));
        const wide = "a-long-name-".repeat(20);
        const fill = join(mountPoint, "fill");
        mkdirSync(fill);
        try {
          for (let i = 0; i < 20_000; i++)
            writeFileSync(join(fill, String(i)), what === "bytes" ? Buffer.alloc(i < 4 ? 1 << 20 : 4096) : "");
        } catch (error) {
          expect((error as { code?: string }).code).toBe("ENOSPC");
        }
        const before = listing(repository);
        const tag = composefs([...jobOf("tag").args(repository).slice(0, -1), wide]);
        // A short link needs an inode but no block.
        if (what === "inodes" || tag.status !== 0) expectClearFailure(tag, /no space/i, "tag");
        const init = composefs(["init", "--insecure", join(mountPoint, "new")]);
        expectClearFailure(init, /no space/i, "init");
        expect(existsSync(join(mountPoint, "new")), "init leaves nothing").toBe(false);
        if (tag.status !== 0) expect(listing(repository)).toEqual(before);
        await expectSound(repository, "full");
        composefsOutput(["--repo", repository, "oci", "untag", "another/name:v1"]);
        composefsOutput(jobOf("gc").args(repository));
        const audit = auditRepository(repository);
        expect(audit.problems).toEqual([]);
        expect(audit.temporary).toEqual([]);
        expect(audit.objects, "gc made room").toBeLessThan(before.filter((line) => line.startsWith("objects/")).length);
        rmSync(fill, { recursive: true });
        await jobOf("second pull").again(repository);
      } finally {
        execFileSync("umount", [mountPoint]);
        rmSync(mountPoint, { recursive: true });
      }
    });
  });

  describe("a clock that went back", () => {
    it("keeps nothing alive that a crash left, and removes nothing else", async () => {
      const { place, repository } = copyOf("gc");
      const leftovers = ["objects/.tmp-object-0123456789ab-0", ".symlink-AbCdEfGhIjKl", ".tmp-meta-1-abc"];
      const tomorrow = new Date(Date.now() + 86_400_000);
      for (const name of leftovers) {
        writeFileSync(join(repository, name), "partial");
        utimesSync(join(repository, name), tomorrow, tomorrow);
      }
      // Another process may be writing this one: such files are made without a lock.
      writeFileSync(join(repository, ".tmp-meta-2-abc"), "partial");
      for (const line of listing(repository)) {
        const path = join(repository, line.split(" -> ")[0] ?? "");
        if (!line.includes(" -> ") && !line.includes("tmp-")) utimesSync(path, tomorrow, tomorrow);
      }
      {
        await using opened = await Repository.open(repository, { write: true });
        await collectGarbage(opened);
      }
      for (const name of leftovers) expect(existsSync(join(repository, name)), name).toBe(false);
      expect(statSync(join(repository, ".tmp-meta-2-abc")).size).toBe("partial".length);
      rmSync(join(repository, ".tmp-meta-2-abc"));
      await expectSound(repository, "with times in the future");
      await jobOf("second pull").again(repository);
      await expectSound(repository, "after a pull over it");
      rmSync(place, { recursive: true });
    });
  });
});
