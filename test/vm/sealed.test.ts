// Linux 6.12: what a repository with fs-verity promises, kept by the kernel (docs/spec/vm-testing.md, sections 7, 9 and 10). Two
// boots: the first makes repositories and uses them, then bits are changed on the disk, and the second finds that.

import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { referenceFsverity } from "../fixtures/fsverity.ts";
import { diskFaults, flipBit, makeDisk } from "./disks.ts";
import { digestsBelow, EXAMPLE_ID, goldenDigests, goldenImageId } from "./layouts.ts";
import { LARGE_FILES, LAYOUTS, largeDigests, largeObject, objectFile } from "./layouts.ts";
import { boot, type Run } from "./machine.ts";
import { describeMachine } from "./programs.ts";
import { expectNamedByKernel, lines, MEASURE, reportedObjects, SHOW_OVERLAYS, UNREADABLE } from "./steps.ts";
import { makeSystemDisk } from "./system-disk.ts";

const IN_512 = "composefs --repo /disks/data/512";
const IN_256 = "composefs --repo /disks/data/256";
const COMMANDS = "export COMPOSEFS_SYSCALLS=commands;";
/** Makes $image the path of the object of the only image. */
const FIND_IMAGE = 'cd /disks/data/256 && image=objects/$(basename images/?????* | sed "s,^..,&/,")';
const [ONE, OTHER, THIRD] = ["usr/one", "usr/other", "usr/third"].map((path) => largeObject("sha256", path));

const WHOLE = {
  // SHA-512, system calls by koffi.
  "512-init": "composefs init /disks/data/512",
  "512-example": `${IN_512} oci pull ${LAYOUTS.example} example --quiet`,
  "512-golden": `${IN_512} oci pull ${LAYOUTS.golden} golden --quiet`,
  "512-measure": `cd /disks/data/512 && ${MEASURE}`,
  "512-meta": "cd /disks/data/512 && cat meta.json",
  "512-fsck": `${IN_512} fsck --json`,
  "512-mount": `${IN_512} mount ${goldenImageId("sha512")} /mnt --require-verity`,
  "512-mounted": SHOW_OVERLAYS,
  "512-digests": digestsBelow("/mnt", "sha512"),
  "512-write": "touch /mnt/new",
  "512-unmount": `umount /mnt && ${SHOW_OVERLAYS}; losetup -a`,

  // SHA-256, by the commands that stand in for koffi.
  "256-init": `${COMMANDS} composefs init --algorithm fsverity-sha256-12 /disks/data/256`,
  "256-large": `${COMMANDS} ${IN_256} oci pull ${LAYOUTS.large} large --quiet`,
  "256-measure": `cd /disks/data/256 && ${MEASURE}`,
  "256-mount": `${COMMANDS} ${IN_256} oci mount large /mnt --require-verity`,
  "256-mounted": SHOW_OVERLAYS,
  "256-digests": digestsBelow("/mnt", "sha256"),
  "256-unmount": `umount /mnt && ${SHOW_OVERLAYS}; losetup -a`,

  // Where there is no fs-verity.
  "tmpfs-init": "composefs init /tmp/repository",
  "tmpfs-left": "find /tmp -name 'repository*' -o -name '.composefs*'",
  "tmpfs-insecure": "composefs init --insecure /tmp/repository",
  "tmpfs-pull": `composefs --repo /tmp/repository oci pull ${LAYOUTS.golden} golden --quiet`,
  "tmpfs-mount": "composefs --repo /tmp/repository oci mount golden /mnt",
  "tmpfs-mounted": SHOW_OVERLAYS,
  "tmpfs-digests": `${digestsBelow("/mnt", "sha512")}; cd /; umount /mnt`,
  "plain-init": "composefs init /disks/plain/repository",
  "plain-left": "ls -A /disks/plain",

  // Files exchanged behind the repository's back; the names are new, so nothing is in the page cache.
  exchange: [
    "cd /disks/data/256",
    `mv ${ONE} /disks/data/one && ln ${OTHER} ${ONE}`,
    `cp ${THIRD} /disks/data/third && mv -f /disks/data/third ${THIRD}`,
  ].join(" && "),
  "exchange-mount": `${IN_256} oci mount large /mnt`,
  "exchange-unreadable": `${UNREADABLE}; cd /; umount /mnt`,
  "exchange-control": [
    FIND_IMAGE,
    'mkdir /tmp/erofs && mount -t erofs -o ro,loop "$image" /tmp/erofs',
    "mount -t overlay -o ro,metacopy=on,redirect_dir=on,lowerdir=/tmp/erofs::/disks/data/256/objects control /mnt",
    digestsBelow("/mnt", "sha256"),
    "cd / && umount /mnt /tmp/erofs",
  ].join(" && "),
  "exchange-image": [
    `${FIND_IMAGE} && cp "$image" image && printf X | dd of=image bs=1 seek=2000 conv=notrunc 2>/dev/null`,
    'fsverity enable image && mv -f image "$image"',
    `${IN_256} oci mount large /mnt`,
  ].join(" && "),
  "exchange-repair": `${IN_256} fsck --repair --json`,
  "exchange-pull": `${IN_256} oci pull ${LAYOUTS.large} large --quiet`,
  "exchange-healed": `cd /disks/data/256 && ${MEASURE}`,
};

const DAMAGED = {
  mount: `${IN_256} oci mount large /mnt --require-verity`,
  "good-page": "dd if=/mnt/usr/large bs=4096 count=1 skip=4 2>/dev/null | sha256sum",
  "bad-page": "dd if=/mnt/usr/large of=/dev/null bs=4096 count=1 skip=3",
  unreadable: `${UNREADABLE}; cd /; umount /mnt`,
  repair: `${IN_256} fsck --repair --json`,
  pull: `${IN_256} oci pull ${LAYOUTS.large} large --quiet`,
  healed: `cd /disks/data/256 && find objects -type f -exec cat {} + >/dev/null && ${MEASURE}`,
  fsck: `${IN_512} fsck --json`,
  image: `${IN_512} mount ${EXAMPLE_ID} /mnt`,
  "image-left": `${SHOW_OVERLAYS}; losetup -a; ls -d /tmp/composefs-* 2>/dev/null`,
  unsealed: "cd /disks/data/256 && cp meta.json /tmp/meta && cp /tmp/meta meta.new && mv meta.new meta.json",
  "unsealed-require": `${IN_256} oci mount large /mnt --require-verity`,
};

describeMachine("6.12", "fs-verity on Linux 6.12", () => {
  const folder = mkdtempSync(join(tmpdir(), "composefs-vm-disks-"));
  const [system, data, plain] = ["system", "data", "plain"].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  let whole: Run<keyof typeof WHOLE>;
  const succeeded = (name: keyof typeof WHOLE) => {
    const { status, stdout, stderr } = whole.steps[name];
    expect(status, `${name}: ${stderr}`).toBe(0);
    return stdout;
  };
  const refused = (name: keyof typeof WHOLE) => {
    const { status, stderr } = whole.steps[name];
    expect(status, name).toBe(1);
    expect(stderr).not.toContain("internal");
    return stderr;
  };

  /** The image of the large layout, as the pull named it. */
  const largeId = () => {
    const [, id] = /^image +([0-9a-f]{64})$/m.exec(succeeded("256-large")) ?? [];
    return id ?? expect.fail("the pull printed no image id");
  };

  beforeAll(async () => {
    makeSystemDisk(system);
    makeDisk(data, "data", "256M");
    makeDisk(plain, "plain", "32M");
    whole = await boot({ kernel: "6.12", disks: [system, data, plain], steps: WHOLE });
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  describe.each([
    ["512", "512-golden"],
    ["256", "256-large"],
  ] as const)("a repository with SHA-%s", (bits, pull) => {
    it("is made without --insecure and requires fs-verity", () => {
      expect(succeeded(`${bits}-init`)).toContain("verity:    required");
      expect(succeeded(`${bits}-measure`)).toMatch(new RegExp(`^sha${bits}:[0-9a-f]+ meta.json$`, "m"));
    });

    it("has objects from a pull, and the kernel's digest of each is its name", () => {
      succeeded(pull);
      expectNamedByKernel(succeeded(`${bits}-measure`), `sha${bits}`);
    });
  });

  it("seals meta.json by its content", () => {
    const digest = referenceFsverity("sha512", Buffer.from(succeeded("512-meta")));
    expect(lines(succeeded("512-measure"))).toContain(`sha512:${digest} meta.json`);
  });

  it("pulls the images that are known", () => {
    expect(succeeded("512-example")).toContain(`image    ${EXAMPLE_ID}`);
    expect(succeeded("512-golden")).toContain(`image    ${goldenImageId("sha512")}`);
  });

  it("finds nothing wrong", () => {
    const report = JSON.parse(succeeded("512-fsck")) as { status?: unknown };
    expect(report).toMatchObject({ ok: true });
  });

  it.each([
    ["mount", "512-mount", "512-mounted", goldenImageId("sha512")],
    ["mount(8)", "256-mount", "256-mounted", ""],
  ] as const)("mounts with verity=require through %s", (_, step, mounted, id) => {
    expect(succeeded(step)).toBe("");
    const [line = "", ...others] = lines(succeeded(mounted));
    expect(others).toEqual([]);
    expect(line).toMatch(new RegExp(` /mnt ro,.* - overlay composefs:${id}.* ro,.*verity=require`));
  });

  it("shows the right content of every file", () => {
    expect(lines(succeeded("512-digests"))).toEqual(goldenDigests("sha512"));
    expect(lines(succeeded("256-digests"))).toEqual(largeDigests("sha256"));
  });

  it("lets nobody write, and leaves neither mounts nor loop devices", () => {
    expect(whole.steps["512-write"].stderr).toContain("Read-only file system");
    for (const step of ["512-unmount", "256-unmount"] as const) expect(succeeded(step)).toBe("");
  });

  describe("where there is no fs-verity", () => {
    it("names the file system, says what helps, and leaves nothing", () => {
      expect(refused("tmpfs-init")).toMatch(/\/tmp \(tmpfs\) does not support fs-verity\nhint: .*--insecure/);
      expect(succeeded("tmpfs-left")).toBe("");
      expect(refused("plain-init")).toMatch(
        /\/disks\/plain \(ext4 without the verity feature\) does not support fs-verity/,
      );
      expect(lines(succeeded("plain-left"))).toEqual(["lost+found"]);
    });

    it("works with --insecure", () => {
      expect(succeeded("tmpfs-insecure")).toContain("not required (insecure)");
      expect(succeeded("tmpfs-pull")).toContain(goldenImageId("sha512"));
      succeeded("tmpfs-mount");
      expect(succeeded("tmpfs-mounted")).not.toContain("verity");
      expect(lines(succeeded("tmpfs-digests"))).toEqual(goldenDigests("sha512"));
    });
  });

  describe("after files were exchanged", () => {
    it("an object with other content or without fs-verity cannot be read, all others can", () => {
      expect(whole.steps.exchange).toMatchObject({ status: 0, stderr: "" });
      succeeded("exchange-mount");
      expect(lines(succeeded("exchange-unreadable"))).toEqual([
        "usr/one: Input/output error",
        "usr/third: Input/output error",
      ]);
    });

    it("it is verity=require that refuses them", () => {
      const other = LARGE_FILES.get("usr/other") as Buffer;
      const expected = largeDigests("sha256").filter((line) => !line.endsWith("/usr/one"));
      expected.push(`sha256:${referenceFsverity("sha256", other)} ./usr/one`);
      expect(lines(succeeded("exchange-control"))).toEqual(expected.toSorted());
    });

    it("a changed image is not mounted", () => {
      expect(refused("exchange-image")).toMatch(
        new RegExp(`^composefs: object ${largeId()} is damaged: .*\nhint: .*fsck --repair`),
      );
    });

    it("fsck names every exchanged object", () => {
      const other = referenceFsverity("sha256", LARGE_FILES.get("usr/other") as Buffer);
      expect(reportedObjects(whole.steps["exchange-repair"].stdout)).toEqual(
        new Map([
          [ONE, `object-digest-mismatch: measured ${other}`],
          [THIRD, "object-verity-missing"],
          [objectFile(largeId()), expect.stringMatching(/^object-digest-mismatch: measured [0-9a-f]{64}$/) as string],
        ]),
      );
    });

    it("repair and a pull heal it", () => {
      succeeded("exchange-pull");
      const objects = expectNamedByKernel(succeeded("exchange-healed"), "sha256");
      expect(objects).toEqual(expect.arrayContaining([ONE, THIRD, objectFile(largeId())]));
    });
  });

  it("leaves the disk in order", () => {
    expect(diskFaults(data)).toBeUndefined();
    expect(diskFaults(plain)).toBeUndefined();
  });

  describe("after bits were changed on the disk", () => {
    const large = largeObject("sha256", "usr/large");
    const deep = largeObject("sha256", "usr/deep");
    let damaged: Run<keyof typeof DAMAGED>;

    beforeAll(async () => {
      flipBit(data, `/256/${large}`, 3 * 4096 + 17);
      // Behind the data, at a multiple of 64 KiB, lies the tree of hashes: its top block, then the leaves.
      flipBit(data, `/256/${deep}`, Math.ceil(700_000 / 65536) * 65536 + 4096);
      flipBit(data, `/512/${objectFile(EXAMPLE_ID)}`, 1024);
      damaged = await boot({ kernel: "6.12", disks: [system, data], steps: DAMAGED });
    });

    it("the image still mounts, and pages that are whole are read", () => {
      expect(damaged.steps.mount).toMatchObject({ status: 0, stderr: "" });
      const page = (LARGE_FILES.get("usr/large") as Buffer).subarray(4 * 4096, 5 * 4096);
      expect(damaged.steps["good-page"].stdout).toContain(createHash("sha256").update(page).digest("hex"));
    });

    it("the damaged page is not read, and the kernel says why", () => {
      expect(damaged.steps["bad-page"].stderr).toContain("Input/output error");
      expect(damaged.kernelLog).toMatch(/fs-verity \(vdb, inode \d+\): FILE CORRUPTED! pos=12288, level=-1/);
    });

    it("exactly the names that share the damaged objects are unreadable", () => {
      const unreadable = ["deep", "large", "large-again"].map((name) => `usr/${name}: Input/output error`);
      expect(lines(damaged.steps.unreadable.stdout)).toEqual(unreadable);
    });

    it("fsck names the damaged objects", () => {
      expect(reportedObjects(damaged.steps.repair.stdout)).toEqual(
        new Map([deep, large].map((path) => [path, "object-verity-failed: EIO"])),
      );
      expect(damaged.steps.fsck.status).toBe(1);
      expect(reportedObjects(damaged.steps.fsck.stdout)).toEqual(
        new Map([[objectFile(EXAMPLE_ID), "object-verity-failed: EIO"]]),
      );
    });

    it("repair and a pull heal them", () => {
      expect(damaged.steps.pull).toMatchObject({ status: 0 });
      expect(damaged.steps.healed).toMatchObject({ status: 0, stderr: "" });
      expect(expectNamedByKernel(damaged.steps.healed.stdout, "sha256")).toEqual(expect.arrayContaining([deep, large]));
    });

    it("an image with a damaged superblock is refused by its id, although its digest measures right", () => {
      const { status, stderr } = damaged.steps.image;
      expect(status).toBe(1);
      expect(stderr).toMatch(new RegExp(`^composefs: .*${EXAMPLE_ID}.*\nhint: `));
      expect(stderr).not.toContain("internal");
      expect(damaged.steps["image-left"].stdout).toBe("");
    });

    it("a repository whose meta.json lost its seal is refused by --require-verity", () => {
      expect(damaged.steps.unsealed).toMatchObject({ status: 0 });
      expect(damaged.steps["unsealed-require"].status).toBe(1);
      expect(damaged.steps["unsealed-require"].stderr).toContain("does not require fs-verity");
    });
  });
});
