// Disk images made without a kernel, judged by one (docs/spec/vm-testing.md, sections 6, 8 and 10): Linux 6.12 mounts what `deploy disk`
// wrote and finds every object sealed as if it had done it. One boot, with three images: whole, damaged, and with partitions.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createDiskImage, type DiskImage } from "../../src/deploy/disk/disk-image.ts";
import { DISK_OBJECTS, type DiskSysroot, makeDiskSysroot } from "../fixtures/disk-sysroot.ts";
import { referenceFsverity } from "../fixtures/fsverity.ts";
import { diskFaults, flipBit } from "./disks.ts";
import { objectFile } from "./layouts.ts";
import { boot, type Run } from "./machine.ts";
import { describeMachine } from "./programs.ts";
import { expectNamedByKernel, lines, MEASURE, SHOW_OVERLAYS, UNREADABLE } from "./steps.ts";
import { makeSystemDisk } from "./system-disk.ts";

const WHOLE = "composefs --repo /disks/data/composefs";
const DAMAGED = "composefs --repo /disks/plain/composefs";
const ALGORITHM = "sha512";

const STEPS = {
  measure: `cd /disks/data/composefs && ${MEASURE}`,
  read: "cd /disks/data && find composefs state -type f ! -name sparse -exec cat {} + >/dev/null",
  mount: `${WHOLE} oci mount os /mnt --require-verity`,
  mounted: SHOW_OVERLAYS,
  sums: "cd /mnt/usr && sha256sum file*",
  unmount: "cd / && umount /mnt",
  fsck: `${WHOLE} fsck --json`,
  write:
    "cd /disks/data && echo new >state/new && mkdir state/directory && for i in $(seq 2000); do : >state/directory/$i; done",
  state:
    "cd /disks/data/state/deploy/* && cat etc/shadow && stat -c '%u %g %a %h %Y' etc/shadow etc/hosts && readlink var && readlink etc/long-link",
  sparse:
    "stat -c '%s %b' /disks/data/state/os/default/var/sparse && head -c 5 /disks/data/state/os/default/var/sparse",
  "damaged-mount": `${DAMAGED} oci mount os /mnt --require-verity`,
  "damaged-measure": `cd /disks/plain/composefs && ${MEASURE}`,
  "damaged-unreadable": `${UNREADABLE}; cd /; umount /mnt`,
  partitions: [
    "for i in 1 2; do cat /sys/class/block/vdd$i/start /sys/class/block/vdd$i/size; grep PARTNAME /sys/class/block/vdd$i/uevent; done",
    "for module in /run/late/*.ko; do insmod $module 2>/dev/null; done",
    "mkdir /tmp/esp /tmp/root && mount -t vfat -o ro /dev/vdd1 /tmp/esp && mount -t ext4 -o ro /dev/vdd2 /tmp/root",
    "find /tmp/esp -type f | sort && sha256sum /tmp/esp/EFI/Linux/bootc_composefs-x/vmlinuz && ls /tmp/root",
    "fsverity measure /tmp/root/composefs/meta.json && umount /tmp/esp /tmp/root",
  ].join(" && "),
};

describeMachine("6.12", "a disk image that no kernel has sealed, on Linux 6.12", () => {
  const folder = mkdtempSync(join(tmpdir(), "composefs-vm-image-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const path = (name: string) => join(folder, name);
  let source: DiskSysroot;
  let partitioned: DiskImage;
  let run: Run<keyof typeof STEPS>;
  const [, ONE_LEVEL = Buffer.alloc(0), LARGE = Buffer.alloc(0)] = DISK_OBJECTS;
  const object = (content: Buffer) => `/composefs/${objectFile(referenceFsverity(ALGORITHM, content))}`;
  const succeeded = (name: keyof typeof STEPS) => {
    const { status, stdout, stderr } = run.steps[name];
    expect(status, `${name}: ${stderr}`).toBe(0);
    return stdout;
  };

  beforeAll(async () => {
    makeSystemDisk(path("system"));
    source = await makeDiskSysroot(folder, { algorithm: ALGORITHM, root: "" });
    await createDiskImage(source.sysroot, path("data"), { label: "data" });
    await createDiskImage(source.sysroot, path("plain"), { label: "plain" });
    partitioned = await createDiskImage(source.sysroot, path("disk"), { esp: source.esp, label: "partitioned" });
    // A page of the data of one, a block in the tree of hashes of the other.
    flipBit(path("plain"), object(ONE_LEVEL), 5000);
    flipBit(path("plain"), object(LARGE), Math.ceil(LARGE.length / 65_536) * 65_536 + 4096 + 10);
    expect(diskFaults(path("data"))).toBeUndefined();
    run = await boot({
      kernel: "6.12",
      disks: [path("system"), path("data"), path("plain"), path("disk")],
      steps: STEPS,
    });
  }, 500_000);

  it("has the digest of every object for its name, and of meta.json too", () => {
    const measured = expectNamedByKernel(succeeded("measure"), ALGORITHM);
    expect(measured).toEqual(
      expect.arrayContaining(DISK_OBJECTS.map((content) => object(content).slice("/composefs/".length))),
    );
    expect(run.steps.measure.stdout).toMatch(/^sha512:[0-9a-f]{128} meta\.json$/m);
  });

  it("can be read to its end, with verification", () => {
    succeeded("read");
    succeeded("mount");
    expect(succeeded("mounted")).toContain("verity=require");
    const sums = execFileSync("sha256sum", { input: LARGE, encoding: "utf8" }).split(" ")[0];
    expect(lines(succeeded("sums"))).toContain(`${sums}  file2`);
    succeeded("unmount");
    expect(JSON.parse(succeeded("fsck"))).toMatchObject({ findings: [] });
    expect(run.kernelLog).not.toMatch(/EXT4-fs error|EXT4-fs \(vdb\): (?!mounted|re-mounted)/);
  });

  it("is an ordinary file system to those who write", () => {
    succeeded("write");
    expect(diskFaults(path("data"))).toBeUndefined();
  });

  it("has owners, modes, links and holes of the sysroot", () => {
    const [shadow, of, hosts, link, long] = lines(succeeded("state"));
    expect(shadow).toBe("root:*::::::");
    expect(of).toMatch(/^0 0 0 1 /);
    expect(hosts).toBe("0 0 644 2 1600000000");
    expect(link).toBe("../../os/default/var");
    expect(long).toBe(`/${"long/".repeat(30)}target`);
    expect(lines(succeeded("sparse"))).toEqual(["50000000 8", "start"]);
  });

  it("does not read where it was changed, by data or by tree", () => {
    succeeded("damaged-mount");
    // The kernel keeps the digest, whatever became of the data.
    expectNamedByKernel(succeeded("damaged-measure"), ALGORITHM);
    expect(lines(run.steps["damaged-unreadable"].stdout)).toEqual([
      "usr/file1: Input/output error",
      "usr/file2: Input/output error",
    ]);
    expect(run.kernelLog).toContain("FILE CORRUPTED");
  });

  it("has partitions that the kernel finds, both with what is to be in them", () => {
    const [start, size, name, rootStart, rootSize, rootName, ...rest] = lines(succeeded("partitions"));
    const [esp, root] = partitioned.partitions;
    expect([start, size].map((text) => Number(text) * 512)).toEqual([esp?.start, esp?.size]);
    expect([rootStart, rootSize].map((text) => Number(text) * 512)).toEqual([root?.start, root?.size]);
    expect([name, rootName]).toEqual(["PARTNAME=EFI system partition", "PARTNAME=root"]);
    expect(rest).toContain("/tmp/esp/loader/entries/bootc_vm-1.conf");
    const kernel = execFileSync("sha256sum", { input: Buffer.alloc(700_000, "kernel"), encoding: "utf8" }).split(
      " ",
    )[0];
    expect(rest).toContain(`${kernel}  /tmp/esp/EFI/Linux/bootc_composefs-x/vmlinuz`);
    expect(rest).toEqual(expect.arrayContaining(["composefs", "lost+found", "state"]));
    expect(rest.at(-1)).toMatch(/^sha512:[0-9a-f]{128} .*meta\.json$/);
  });
});
