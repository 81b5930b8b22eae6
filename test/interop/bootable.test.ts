// Boot images of a Debian root with a kernel and a policy of 5 600 rules, both ways (docs/spec/boot.md, section 2): ids, dumps, kernel
// arguments and the repository that cfsctl makes are ours, as images and as a directory.

import { mkdirSync, mkdtempSync, rmSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { composefsBytes, composefsOutput } from "../fixtures/composefs.ts";
import { type BootableDebian, bootableDebian, type BootableKind } from "../fixtures/debian.ts";
import { auditRepository } from "../fixtures/repository-audit.ts";
import { describeWithPeers, peerBytes, peerOutput, runPeer } from "../peer.ts";

type Run = (...args: string[]) => string;

const KINDS: readonly BootableKind[] = ["dracut", "mkosi"];
const MODES = ["allowlist-only", "keep-user-xattrs"];
const bootLine = (output: string) => output.split("\n").filter((line) => line.startsWith("Boot image: "))[0];
const ours: Run = (...args) => composefsOutput(["--quiet", ...args]);
const theirs: Run = (...args) => peerOutput("cfsctl", args);

describeWithPeers(["cfsctl", "mmdebstrap", "zstd"], "a bootable Debian root", () => {
  let debian: BootableDebian;
  let work: string;
  beforeAll(() => {
    debian = bootableDebian();
    work = mkdtempSync(join(tmpdir(), "composefs-bootable-"));
  }, 900_000);
  afterAll(() => {
    if (work) rmSync(work, { recursive: true, force: true });
  });

  describe.each(["sha256", "sha512"])("as images, %s", (algorithm) => {
    const repositories = { ours: "", theirs: "" };
    const pulled: Record<string, string> = {};

    beforeAll(() => {
      for (const [name, run] of [
        ["ours", ours],
        ["theirs", theirs],
      ] as const) {
        const path = join(work, `${name}-${algorithm}`);
        repositories[name] = path;
        run("init", "--insecure", "--algorithm", `fsverity-${algorithm}-12`, path);
        for (const kind of KINDS)
          pulled[`${name} ${kind}`] = run(
            "--repo",
            path,
            "oci",
            "pull",
            "--bootable",
            debian.layouts[kind].reference,
            kind,
          );
      }
    }, 600_000);

    const everywhere = (...args: string[]) => [
      ours("--repo", repositories.ours, ...args),
      ours("--repo", repositories.theirs, ...args),
      theirs("--repo", repositories.ours, ...args),
      theirs("--repo", repositories.theirs, ...args),
    ];
    const agreed = (...args: string[]) => {
      const [first = "", ...others] = everywhere(...args);
      for (const other of others) expect(other).toBe(first);
      return first.trim();
    };

    describe.each(KINDS)("laid out like %s", (kind) => {
      it("pull prints the boot image that cfsctl prints, which compute-id and inspect know", () => {
        const line = bootLine(pulled[`theirs ${kind}`] ?? "");
        expect(line).toMatch(/^Boot image: [0-9a-f]{64,128}$/);
        expect(bootLine(pulled[`ours ${kind}`] ?? "")).toBe(line);
        expect(`Boot image: ${agreed("oci", "compute-id", "--bootable", kind)}`).toBe(line);
        for (const text of everywhere("oci", "inspect", kind))
          expect(`Boot image: ${(JSON.parse(text) as { composefs_boot_erofs: string }).composefs_boot_erofs}`).toBe(
            line,
          );
      });

      it.each(MODES.flatMap((mode) => ["1", "2"].map((version) => [mode, version] as const)))(
        "has the id of cfsctl with %s in format %s, and is found by it",
        (mode, version) => {
          const id = agreed("--erofs-version", version, "oci", "compute-id", "--bootable", "--xattrs", mode, kind);
          const { reference } = debian.layouts[kind];
          const find = ["oci", "pull", "--bootable", "--expected-digest", id, reference, kind];
          const line = bootLine(theirs("--repo", repositories.theirs, ...find));
          expect(line).toContain(id);
          expect(bootLine(ours("--repo", repositories.ours, ...find))).toBe(line);
          // What one has found, the other one has.
          expect(bootLine(ours("--repo", repositories.theirs, ...find))).toBe(line);
          expect(bootLine(theirs("--repo", repositories.ours, ...find))).toBe(line);
        },
      );

      it("dumps the tree that cfsctl dumps", () => {
        const dump = ["oci", "dump", "--bootable", kind];
        const text = peerBytes("cfsctl", ["--repo", repositories.theirs, ...dump]);
        expect(text.length).toBeGreaterThan(1_000_000);
        expect(text.includes("security.selinux=system_u:object_r:shell_exec_t:s0")).toBe(true);
        expect(Buffer.compare(composefsBytes(["--repo", repositories.ours, ...dump]), text)).toBe(0);
      });
    });

    it("an expected digest that nothing has is told alike", () => {
      const digest = "ab".repeat(algorithm === "sha256" ? 32 : 64);
      const { reference } = debian.layouts.dracut;
      const args = [
        "--repo",
        repositories.theirs,
        "oci",
        "pull",
        "--bootable",
        "--expected-digest",
        digest,
        reference,
        "dracut",
      ];
      const { status, stderr } = runPeer("cfsctl", args);
      const [, told = ""] = /(o boot image configuration matched.*combinations\))/.exec(stderr) ?? [];
      expect({ status, told }).toMatchObject({ status: 1, told: expect.stringContaining("tried 4") as string });
      expect(() => ours(...args)).toThrow(told);
    });

    it("what we made passes cfsctl's checks and its garbage collection, and the reverse", () => {
      expect(theirs("--repo", repositories.ours, "fsck")).toContain("status: ok");
      expect(theirs("--repo", repositories.ours, "oci", "fsck")).toContain("oci images: 2/2 ok");
      theirs("--repo", repositories.ours, "gc");
      expect(auditRepository(repositories.ours)).toMatchObject({ problems: [], temporary: [], tags: [...KINDS] });
      ours("--repo", repositories.theirs, "gc");
      expect(ours("--repo", repositories.theirs, "fsck")).toContain("ok");
      for (const kind of KINDS) expect(agreed("oci", "inspect", kind)).toContain("composefs_boot_erofs");
    });
  });

  it("a repository that keeps both formats gets both boot images from either", () => {
    const { reference } = debian.layouts.dracut;
    const lines = [ours, theirs].map((run, i) => {
      const path = join(work, `both-${i}`);
      run("init", "--insecure", "--algorithm", "fsverity-sha256-12", path);
      run("--repo", path, "oci", "pull", "--bootable", reference, "os");
      run("--repo", path, "--erofs-version", "2", "oci", "pull", "--bootable", reference, "os");
      return ["1", "2"].map((version) => {
        const text = ours("--repo", path, "--erofs-version", version, "oci", "inspect", "os");
        return (JSON.parse(text) as { composefs_boot_erofs: string | null }).composefs_boot_erofs;
      });
    });
    expect(lines[0]).toEqual(lines[1]);
    expect(lines[0]).not.toContain(null);
  });

  describe("as a directory", () => {
    const options = ["sha256", "sha512"].flatMap((hash) =>
      ["0", "1", "2"].map((version) => ["--no-repo", "--hash", hash, "--erofs-version", version]),
    );

    it.each(options)("%s %s %s %s %s", (...global) => {
      const id = theirs(...global, "compute-id", "--bootable", debian.directory);
      expect(ours(...global, "compute-id", "--bootable", debian.directory)).toBe(id);
      expect(ours(...global, "compute-karg", debian.directory)).toContain(id);
    });

    it.each(["1", "2"])("with the other options, in format %s", (version) => {
      for (const args of [
        ["compute-id", "--bootable", "--xattrs", "keep-user-xattrs"],
        ["compute-id", "--bootable", "--no-propagate-usr-to-root"],
        ["compute-karg"],
        ["compute-karg", "--no-propagate-usr-to-root"],
      ]) {
        const words = ["--no-repo", "--hash", "sha256", "--erofs-version", version, ...args, debian.directory];
        expect(ours(...words)).toBe(theirs(...words));
      }
    });

    it("dumps alike", () => {
      const args = ["--no-repo", "create-dumpfile", "--bootable", debian.directory];
      expect(Buffer.compare(composefsBytes(["--quiet", ...args]), peerBytes("cfsctl", args))).toBe(0);
    });

    it("with times of a live file system dumps as cfsctl 0.9.4 does when it is told to, and otherwise as recorded", () => {
      const live = join(work, "live");
      for (const name of ["usr", "boot", "sysroot"]) mkdirSync(join(live, name), { recursive: true });
      utimesSync(join(live, "boot"), 1600000000, 1600000000.125);
      utimesSync(join(live, "usr"), 1700000000, 1700000000.5);
      const dump = ["--no-repo", "create-dumpfile", "--bootable"];
      expect(ours(...dump, "--boot-mtimes", "nanoseconds", live)).toBe(theirs(...dump, live));
      expect(ours(...dump, live)).toContain("\n/boot 0 40755 2 0 0 0 1700000000.125000000 ");
    });

    it("is stored alike, and kept by its name", () => {
      const [first, second] = [ours, theirs].map((run, i) => {
        const path = join(work, `directory-${i}`);
        run("init", "--insecure", path);
        const stored = run("--repo", path, "create-image", "--bootable", debian.directory, "os");
        expect(theirs("--repo", path, "fsck")).toContain("status: ok");
        return stored;
      });
      expect(first).toBe(second);
    });
  });
});
