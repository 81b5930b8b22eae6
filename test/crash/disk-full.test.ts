// A file system that runs full during a pull, at several sizes and by inodes: a clear error with exit status 1, nothing
// published by halves, and once there is room the same pull completes. Needs root for its tmpfs.

import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { composefs } from "../fixtures/composefs.ts";
import { auditRepository } from "../fixtures/repository-audit.ts";
import { skipOrFail } from "../peer.ts";
import { type CrashSetup, crashSetup, newRepository, pullArguments, pullImage } from "./setup.ts";

const canMount = process.platform === "linux" && process.getuid?.() === 0;

describe("a full file system", () => {
  if (!canMount) {
    skipOrFail("a small tmpfs needs Linux and root: run the suite with sudo");
    return;
  }

  let setup: CrashSetup;
  let mountPoint: string;
  beforeAll(() => {
    setup = crashSetup();
    mountPoint = join(setup.folder, "small");
    mkdirSync(mountPoint);
  });
  afterAll(() => setup?.[Symbol.dispose]());

  // The image needs about 25 MB in about 1 200 objects.
  it.each([
    "size=64k",
    "size=512k",
    "size=2m",
    "size=8m",
    "size=14m",
    "size=20m",
    "size=100m,nr_inodes=20",
    "size=100m,nr_inodes=300",
    "size=100m,nr_inodes=700",
    "size=100m,nr_inodes=1000",
  ])("%s", (limits) => {
    execFileSync("mount", ["-t", "tmpfs", "-o", limits, "composefs-crash", mountPoint]);
    try {
      const repository = newRepository(join(mountPoint, "repository"));
      const full = composefs(pullArguments(repository, setup.first, "image"));
      expect(full, full.stderr).toMatchObject({ status: 1, signal: null });
      expect(full.stderr).toMatch(/no space|space left/i);
      expect(full.stderr, "a stack trace is no message").not.toMatch(/^\s+at .*:\d+:\d+/m);
      const audit = auditRepository(repository);
      expect(audit.problems).toEqual([]);
      expect(audit.temporary).toEqual([]);
      expect(audit.tags).toEqual([]);
      expect(audit.streams).toEqual([]);
      expect(audit.images).toEqual([]);

      execFileSync("mount", ["-o", "remount,size=100m,nr_inodes=20000", mountPoint]);
      expect(pullImage(repository, setup.first, "image")).toBe(setup.undisturbed.first.id);
      expect(auditRepository(repository).problems).toEqual([]);
    } finally {
      execFileSync("umount", [mountPoint]);
    }
  });
});
