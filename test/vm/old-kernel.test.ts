// Linux 6.1: EROFS wants a loop device, overlayfs has neither data-only layers nor fs-verity, and SHA-512 is a module
// (docs/spec/vm-testing.md, sections 3 and 9). What works there works, what does not is refused with a remedy.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { diskFaults, makeDisk } from "./disks.ts";
import { digestsBelow, EXAMPLE_ID, goldenDigests, goldenImageId, LAYOUTS } from "./layouts.ts";
import { boot, type Run } from "./machine.ts";
import { describeMachine } from "./programs.ts";
import { expectNamedByKernel, lines, MEASURE, SHOW_OVERLAYS } from "./steps.ts";
import { makeSystemDisk } from "./system-disk.ts";

const IN_512 = "composefs --repo /disks/data/512";
const OPEN = "composefs --repo /disks/data/open";
const COMMANDS = "export COMPOSEFS_SYSCALLS=commands;";
/** What a mount leaves after umount(8), the device of which the kernel frees a moment later. */
const LEFT = `umount /mnt; ${SHOW_OVERLAYS}; sleep 1; losetup -a; ls -d /tmp/composefs-* 2>/dev/null || true`;

const STEPS = {
  "module-missing": "composefs init /disks/data/512",
  "module-missing-commands": `${COMMANDS} composefs init /disks/data/512`,
  "module-missing-left": "ls -A /disks/data",
  module: "insmod /run/late/*sha512_generic.ko",

  "512-init": "composefs init /disks/data/512",
  "512-pull": `${IN_512} oci pull ${LAYOUTS.example} example --quiet`,
  "512-measure": `cd /disks/data/512 && ${MEASURE}`,
  "512-fsck": `${IN_512} fsck --json`,
  "512-mount": `${IN_512} oci mount example /mnt --require-verity`,
  "512-left": LEFT,

  "open-init": "composefs init --insecure --algorithm fsverity-sha256-12 /disks/data/open",
  "open-pull": `${OPEN} oci pull ${LAYOUTS.golden} golden --quiet`,
  "open-measure": `cd /disks/data/open && ${MEASURE}`,
  "open-mount": `${OPEN} oci mount golden /mnt`,
  "open-mounted": `${SHOW_OVERLAYS}; losetup -a`,
  "open-digests": digestsBelow("/mnt", "sha256"),
  "open-names": "ls -A /mnt",
  "open-left": LEFT,
  "open-mount-8": `${COMMANDS} ${OPEN} mount ${goldenImageId("sha256")} /mnt`,
  "open-digests-8": digestsBelow("/mnt", "sha256"),
  "open-left-8": LEFT,
};

describeMachine("6.1", "fs-verity and mounts on Linux 6.1", () => {
  const folder = mkdtempSync(join(tmpdir(), "composefs-vm-disks-"));
  const [system, data] = ["system", "data"].map((name) => join(folder, name)) as [string, string];
  let run: Run<keyof typeof STEPS>;
  let unloaded: Run<"open">;
  const succeeded = (name: keyof typeof STEPS) => {
    const { status, stdout, stderr } = run.steps[name];
    expect(status, `${name}: ${stderr}`).toBe(0);
    return stdout;
  };
  const refused = (name: keyof typeof STEPS) => {
    const { status, stdout, stderr } = run.steps[name];
    expect([status, stdout], `${name}: ${stderr}`).toEqual([1, ""]);
    return stderr;
  };
  const NO_SHA512 =
    /the kernel lacks the hash algorithm that fs-verity needs there\nhint: .*modprobe sha512_generic.*sha256/;

  beforeAll(async () => {
    makeSystemDisk(system);
    makeDisk(data, "data", "256M");
    run = await boot({ kernel: "6.1", disks: [system, data], steps: STEPS });
    // As a machine whose initramfs forgot the module.
    unloaded = await boot({ kernel: "6.1", disks: [system, data], steps: { open: `${IN_512} oci images` } });
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it("a hash that the kernel lacks is named, with its module, and nothing is left", () => {
    expect(refused("module-missing")).toMatch(NO_SHA512);
    expect(refused("module-missing-commands")).toMatch(NO_SHA512);
    expect(lines(succeeded("module-missing-left"))).toEqual(["lost+found"]);
  });

  it("a repository that was sealed with it cannot be opened without it, and the error says so", () => {
    expect(unloaded.steps.open.status).toBe(1);
    expect(unloaded.steps.open.stderr).toMatch(NO_SHA512);
  });

  it("with the module the kernel's digest of every object is its name", () => {
    succeeded("module");
    expect(succeeded("512-init")).toContain("verity:    required");
    expect(succeeded("512-pull")).toContain(`image    ${EXAMPLE_ID}`);
    expectNamedByKernel(succeeded("512-measure"), "sha512");
    expect(succeeded("512-measure")).toMatch(/^sha512:[0-9a-f]{128} meta\.json$/m);
  });

  it("fsck is content", () => {
    expect(JSON.parse(succeeded("512-fsck"))).toMatchObject({ ok: true, objects_corrupted: 0 });
  });

  it("a mount that the kernel cannot verify is refused, with a remedy, before anything is mounted", () => {
    expect(refused("512-mount")).toMatch(
      /^composefs: checking fs-verity through overlayfs needs Linux 6\.6; this is 6\.1\nhint: .*6\.6 or later.*--insecure/,
    );
    expect(succeeded("512-left")).toBe("");
  });

  it("objects of an insecure repository are sealed where that is possible", () => {
    expect(succeeded("open-pull")).toContain(`image    ${goldenImageId("sha256")}`);
    expectNamedByKernel(run.steps["open-measure"].stdout, "sha256");
  });

  it("a mount without verification goes through a loop device", () => {
    expect(succeeded("open-mount")).toBe("");
    const mounted = succeeded("open-mounted");
    expect(mounted).toMatch(new RegExp(` /mnt ro,.* - overlay composefs:${goldenImageId("sha256")} `));
    expect(mounted.match(/^\/dev\/loop\d+:/gm)).toHaveLength(1);
  });

  it("shows the right content, and no directories of objects", () => {
    expect(lines(succeeded("open-digests"))).toEqual(goldenDigests("sha256"));
    expect(lines(succeeded("open-names")).filter((name) => /^[0-9a-f]{2}$/.test(name))).toEqual([]);
  });

  it("umount takes the loop device along", () => {
    expect(succeeded("open-left")).toBe("");
  });

  it("mount(8) does the same", () => {
    expect(succeeded("open-mount-8")).toBe("");
    expect(lines(succeeded("open-digests-8"))).toEqual(goldenDigests("sha256"));
    expect(succeeded("open-left-8")).toBe("");
  });

  it("leaves the disk in order", () => {
    expect(diskFaults(data)).toBeUndefined();
  });
});
