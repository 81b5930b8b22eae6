// The C tools' commands on Linux 6.1 (docs/spec/tools-c.md, section 4.2; docs/spec/vm-testing.md, section 9): mkcomposefs of a
// directory there, and mount.composefs by its way for kernels that mount EROFS from block devices only and whose overlayfs has
// neither data-only layers nor fs-verity.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { diskFaults, makeDisk } from "./disks.ts";
import { boot, type Run } from "./machine.ts";
import { describeMachine } from "./programs.ts";
import { lines, SHOW_OVERLAYS } from "./steps.ts";
import { makeSystemDisk } from "./system-disk.ts";

const PLACE = "/disks/data/files";
const MOUNT = "composefs mount.composefs -o";
const IMAGE = `${PLACE}/tree.img /mnt`;
const BASE = `basedir=${PLACE}/store`;
const COMMANDS = "export COMPOSEFS_SYSCALLS=commands;";
const WRONG = "0".repeat(64);
/** What is left, also after the moment that the kernel takes to free a loop device. */
const LEFT = `${SHOW_OVERLAYS}; sleep 1; losetup -a; ls -d /tmp/composefs-* /tmp/.composefs* 2>/dev/null || true`;

const STEPS = {
  tree: `mkdir -p ${PLACE}/tree/d ${PLACE}/upper ${PLACE}/work; cd ${PLACE}/tree
    cp /app/node_modules/composefs/docs/*.md . && echo small >d/small && ln cli.md d/linked && ln -s ../cli.md d/symlink && mkfifo d/fifo
    chown 1000:1001 cli.md && chmod 4750 cli.md`,
  make: `composefs mkcomposefs --hardlinks --min-version=1 --digest-store=${PLACE}/store --print-digest ${PLACE}/tree ${PLACE}/tree.img`,

  mount: `${MOUNT} ${BASE} ${IMAGE}`,
  mounted: `${SHOW_OVERLAYS}; losetup -a; ls -d /tmp/composefs-* 2>/dev/null || true`,
  compare: `rm /mnt/d/fifo 2>&1; stat -c "%F %a %u %g %h" /mnt/d/fifo /mnt/d/linked /mnt/d/symlink`,
  content: `cd ${PLACE}/tree && for file in *.md d/small; do cmp "$file" "/mnt/$file" || exit 1; done; readlink /mnt/d/symlink; ls -A /mnt | wc -l`,
  unmounted: `umount /mnt; ${LEFT}`,

  changes: `${MOUNT} ${BASE},upperdir=${PLACE}/upper,workdir=${PLACE}/work ${IMAGE} && echo more >>/mnt/cli.md && rm -r /mnt/d && ls -A ${PLACE}/upper; umount /mnt; ${LEFT}`,
  "by-commands": `${COMMANDS} ${MOUNT} ${BASE} ${IMAGE} && cmp ${PLACE}/tree/cli.md /mnt/cli.md && losetup -a | wc -l; umount /mnt; ${LEFT}`,
  "if-possible": `${MOUNT} ${BASE},tryverity ${IMAGE} && cmp ${PLACE}/tree/cli.md /mnt/cli.md && echo same; umount /mnt; ${LEFT}`,

  unsealed: `${MOUNT} ${BASE},digest=${WRONG} ${IMAGE}`,
  other: `fsverity enable ${PLACE}/tree.img && ${MOUNT} ${BASE},digest=${WRONG} ${IMAGE}`,
  sealed: `digest=$(fsverity measure ${PLACE}/tree.img); digest=\${digest#sha256:}; ${MOUNT} ${BASE},digest=\${digest%% *} ${IMAGE}`,
  verity: `${MOUNT} ${BASE},verity ${IMAGE}`,
  idmap: `${MOUNT} ${BASE},idmap=/proc/self/ns/user ${IMAGE}`,
  "no-image": `${MOUNT} ${BASE} ${PLACE}/tree/cli.md /mnt`,
  left: LEFT,
};

describeMachine("6.1", "mkcomposefs and mount.composefs on Linux 6.1", () => {
  const folder = mkdtempSync(join(tmpdir(), "composefs-vm-disks-"));
  const [system, data] = ["system", "data"].map((name) => join(folder, name)) as [string, string];
  let run: Run<keyof typeof STEPS>;
  const succeeded = (name: keyof typeof STEPS) => {
    const { status, stdout, stderr } = run.steps[name];
    expect([status, stderr], `${name}: ${stdout}`).toEqual([0, ""]);
    return stdout;
  };
  const refused = (name: keyof typeof STEPS) => {
    const { status, stdout, stderr } = run.steps[name];
    expect([status, stdout], `${name}: ${stderr}`).toEqual([1, ""]);
    return stderr;
  };

  beforeAll(async () => {
    makeSystemDisk(system);
    makeDisk(data, "data", "64M");
    run = await boot({ kernel: "6.1", disks: [system, data], steps: STEPS });
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it("an image of a directory is made", () => {
    succeeded("tree");
    expect(run.steps.make).toMatchObject({ status: 0, stdout: expect.stringMatching(/^[0-9a-f]{64}\n$/) as string });
  });

  it("is mounted through one loop device, and nothing else stays", () => {
    expect(succeeded("mount")).toBe("");
    const mounted = succeeded("mounted");
    expect(mounted).toMatch(/ \/mnt ro,.* - overlay composefs ro,.*redirect_dir=on,.*metacopy=on/);
    expect(mounted.match(/^\/dev\/loop\d+:/gm)).toHaveLength(1);
    expect(lines(mounted)).toHaveLength(2);
  });

  it("shows what the directory has, and takes no changes", () => {
    expect(lines(run.steps.compare.stdout)).toEqual([
      expect.stringContaining("Read-only file system"),
      "fifo 644 0 0 1",
      "regular file 4750 1000 1001 2",
      "symbolic link 777 0 0 1",
    ]);
    const [target, names] = lines(succeeded("content"));
    expect(target).toBe("../cli.md");
    // Without the directories of the store, which an ordinary layer would show.
    expect(Number(names)).toBeLessThan(20);
  });

  it("umount takes the loop device along", () => {
    expect(succeeded("unmounted")).toBe("");
  });

  it("changes go to the upperdir", () => {
    expect(lines(succeeded("changes"))).toEqual(["cli.md", "d"]);
  });

  it("mount(8) does the same", () => {
    expect(lines(succeeded("by-commands"))).toEqual(["1"]);
  });

  it("tryverity does without what this kernel cannot", () => {
    expect(succeeded("if-possible")).toBe("same\n");
  });

  it("digest= refuses an image that the kernel does not vouch for", () => {
    expect(refused("unsealed")).toMatch(/Failed to mount composefs .*: Image has no fs-verity\n.*fsverity enable/);
    expect(refused("other")).toMatch(/Failed to mount composefs .*: Image has wrong fs-verity: [0-9a-f]{64}\n/);
  });

  it("what this kernel cannot check or show is refused, with the version that can", () => {
    for (const name of ["sealed", "verity"] as const)
      expect(refused(name)).toMatch(
        /checking fs-verity through overlayfs needs Linux 6\.6; this is 6\.1\n.*6\.6 or later.*without verity and digest/,
      );
    expect(refused("idmap")).toMatch(/needs Linux 6\.12/);
    expect(refused("no-image")).toMatch(/cli\.md is not a composefs image/);
  });

  it("refusals leave neither mounts nor loop devices nor directories", () => {
    expect(succeeded("left")).toBe("");
  });

  it("leaves the disk in order", () => {
    expect(diskFaults(data)).toBeUndefined();
  });
});
