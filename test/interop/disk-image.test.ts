// Disk images against e2fsprogs, dosfstools and mtools (docs/spec/vm-testing.md, section 6): what they find wrong is nothing, and what
// they read is what was there. A kernel says its part in test/vm/disk-image.test.ts.

import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  closeSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createDiskImage } from "../../src/deploy/disk/disk-image.ts";
import { type DiskSysroot, makeDiskSysroot } from "../fixtures/disk-sysroot.ts";
import { describeWithPeers, peer, peerBytes, peerOutput, runPeer } from "../peer.ts";

const MIB = 1 << 20;
const MAIN = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
const IS_ROOT = process.geteuid?.() === 0;

describeWithPeers(
  ["e2fsck", "debugfs", "dumpe2fs", "resize2fs", "setfattr"],
  "the root file system and e2fsprogs",
  () => {
    const work = mkdtempSync(join(tmpdir(), "composefs-disk-peers-"));
    afterAll(() => rmSync(work, { recursive: true, force: true }));
    let source: DiskSysroot;
    const image = join(work, "root.img");
    const faults = (path = image) => {
      const { status, stdout, stderr } = runPeer("e2fsck", ["-fn", path]);
      return status === 0 ? "" : stdout + stderr;
    };
    const ask = (request: string, path = image) => {
      const { stdout, stderr } = runPeer("debugfs", ["-R", request, path]);
      // debugfs fails with words only, after its banner.
      expect(stderr.split("\n").slice(1).join("\n").trim(), request).toBe("");
      return stdout;
    };

    beforeAll(async () => {
      source = await makeDiskSysroot(work);
      const etc = join(source.sysroot, "state/deploy", source.image, "etc");
      for (const [name, value] of [
        ["user.small", "x"],
        ["user.large", "y".repeat(300)],
      ] as const)
        execFileSync(peer("setfattr"), ["-n", name, "-v", value, join(etc, "hosts")]);
      execFileSync(peer("setfattr"), ["-n", "user.inline", "-v", "in the inode", join(etc, "many")]);
      writeFileSync(Buffer.concat([Buffer.from(`${etc}/odd`), Buffer.from([0x0a, 0xff, 0x20])]), "odd name");
      await createDiskImage(source.sysroot, image);
    });

    it("has no faults", () => expect(faults()).toBe(""));

    it("has the features that fs-verity and upgrades need", () => {
      const said = peerOutput("dumpe2fs", ["-h", image]);
      expect(said).toMatch(/Filesystem features: .*has_journal.*extent.*metadata_csum.*verity/);
      expect(said).toMatch(/Block size: +4096/);
      expect(said).toMatch(/Filesystem volume name: +root/);
      expect(said).toMatch(/Filesystem state: +clean/);
    });

    it("reads back as it was: every file, link and attribute", () => {
      const out = join(work, "out");
      mkdirSync(out);
      ask(`rdump / ${out}`);
      rmSync(join(out, "lost+found"), { recursive: true });
      const { status, stdout } = spawnSync("diff", ["-r", "--no-dereference", source.sysroot, out], {
        encoding: "utf8",
      });
      expect(stdout).toBe("");
      expect(status).toBe(0);
      const etc = `/state/deploy/${source.image}/etc`;
      expect(ask(`ea_get "${etc}/hosts" user.large`)).toContain("y".repeat(300));
      expect(ask(`ea_list "${etc}/hosts"`)).toMatch(/user\.small \(1\) = "x"/);
      expect(ask(`ea_get "${etc}/many" user.inline`)).toContain("in the inode");
      expect(ask(`stat "${etc}/hosts again"`)).toMatch(/Links: 2/);
      expect(ask(`stat "${etc}/shadow"`)).toMatch(/Mode: +0000/);
    });

    it("marks objects and meta.json as sealed, and nothing else", () => {
      const flags = (path: string) => /Flags: (0x[0-9a-f]+)/.exec(ask(`stat "${path}"`))?.[1];
      expect(flags("/composefs/meta.json")).toBe("0x180000");
      const objects = join(source.sysroot, "composefs/objects");
      for (const name of readdirSync(objects, { recursive: true, encoding: "utf8" }).filter((path) => path.length > 10))
        expect(flags(`/composefs/objects/${name}`), name).toBe("0x180000");
      expect(flags("/composefs")).toBe("0x80000");
      expect(flags(`/state/deploy/${source.image}/etc/hosts`)).toBe("0x80000");
    });

    it("is found wrong when a byte of its metadata changes, so that a clean check means something", () => {
      const damaged = join(work, "damaged.img");
      copyFileSync(image, damaged);
      const [, block = ""] = /Inode table at (\d+)/.exec(peerOutput("dumpe2fs", [image])) ?? [];
      const fd = openSync(damaged, "r+");
      writeSync(fd, Buffer.from([0x55]), 0, 1, Number(block) * 4096 + 256 + 8);
      closeSync(fd);
      expect(faults(damaged)).not.toBe("");
      rmSync(damaged);
    });

    it.each([704 * MIB, 20_000 * MIB])("has no faults with %d bytes either", async (size) => {
      const path = join(work, "sized.img");
      await createDiskImage(source.sysroot, path, { size });
      expect(faults(path)).toBe("");
      rmSync(path);
    });

    it("can be made larger on its way to a larger disk", async () => {
      const path = join(work, "grown.img");
      copyFileSync(image, path);
      truncateSync(path, 3000 * MIB);
      peerOutput("resize2fs", [path]);
      expect(faults(path)).toBe("");
      rmSync(path);
    });

    it("takes the largest of what fits exactly", async () => {
      const path = join(work, "tight.img");
      const tries: number[] = [];
      for (let size = 8 * MIB; tries.length < 1 && size < 200 * MIB; size += MIB) {
        try {
          await createDiskImage(source.sysroot, path, { size });
          tries.push(size);
        } catch (error) {
          expect(error).toMatchObject({ code: "no-space" });
        }
      }
      expect(tries[0]).toBeGreaterThan(0);
      expect(faults(path)).toBe("");
      rmSync(path);
    });

    describe.runIf(IS_ROOT)("made by another user than root", () => {
      it("belongs to root all the same, also what its owner may not read", () => {
        const folder = mkdtempSync(join(tmpdir(), "composefs-disk-nobody-"));
        try {
          chmodSync(folder, 0o755);
          execFileSync("cp", ["-a", join(work, "sysroot"), folder]);
          execFileSync("chown", ["-R", "65534:65534", folder]);
          chownSync(folder, 65534, 65534);
          const path = join(folder, "disk.img");
          const { status, stderr } = spawnSync(
            process.execPath,
            [MAIN, "deploy", "disk", join(folder, "sysroot"), "--output", path, "--quiet"],
            { uid: 65534, gid: 65534, encoding: "utf8", env: { PATH: process.env["PATH"], HOME: folder } },
          );
          expect(stderr).toBe("");
          expect(status).toBe(0);
          expect(faults(path)).toBe("");
          const etc = `/state/deploy/${source.image}/etc`;
          for (const name of ["/composefs/meta.json", `${etc}/shadow`, etc, "/"])
            expect(ask(`stat "${name}"`, path)).toMatch(/User: +0 +Group: +0 /);
          expect(ask(`cat "${etc}/shadow"`, path)).toBe("root:*::::::\n");
          expect(readdirSync(folder).sort()).toEqual(["disk.img", "sysroot"]);
        } finally {
          rmSync(folder, { recursive: true, force: true });
        }
      });
    });
  },
);

describeWithPeers(["fsck.vfat", "mcopy"], "the EFI system partition, dosfstools and mtools", () => {
  const work = mkdtempSync(join(tmpdir(), "composefs-esp-peers-"));
  afterAll(() => rmSync(work, { recursive: true, force: true }));

  it.each([40, 100, 200, 512])("of %d MiB has no faults and reads back as it was", async (megabytes) => {
    const { sysroot, esp } = await makeDiskSysroot(join(work, String(megabytes)));
    mkdirSync(join(esp, "EFI/Linux/bootc"));
    for (let i = 0; i < 150; i++) writeFileSync(join(esp, `EFI/Linux/bootc/bootc_composefs-${i}.efi`), `${i}`);
    writeFileSync(join(esp, `EFI/Linux/bootc/${"x".repeat(200)}.efi`), Buffer.alloc(70_000, "x"));
    writeFileSync(join(esp, "EFI/empty"), "");
    const disk = join(work, "disk.img");
    const { partitions } = await createDiskImage(sysroot, disk, { esp, espSize: megabytes * MIB });
    const image = join(work, "esp.img");
    extract(disk, image, partitions[0]?.start ?? 0, partitions[0]?.size ?? 0);
    // Nothing on stderr, which is where it says what it would repair.
    expect(peerOutput("fsck.vfat", ["-n", image])).toMatch(/\d+ files, \d+\/\d+ clusters/);
    const out = join(work, "out");
    mkdirSync(out);
    peerBytes("mcopy", ["-s", "-i", image, "::/EFI", "::/loader", out]);
    expect(spawnSync("diff", ["-r", esp, out], { encoding: "utf8" }).stdout).toBe("");
    rmSync(out, { recursive: true });
  });
});

function extract(disk: string, target: string, start: number, size: number): void {
  const [from, to] = [openSync(disk, "r"), openSync(target, "w")];
  const [piece, zeros] = [Buffer.alloc(MIB), Buffer.alloc(MIB)];
  for (let at = 0; at < size; at += MIB) {
    readSync(from, piece, 0, MIB, start + at);
    if (!piece.equals(zeros)) writeSync(to, piece, 0, MIB, at);
  }
  closeSync(from);
  closeSync(to);
  truncateSync(target, size);
  expect(readFileSync(target).subarray(510, 512).toString("hex")).toBe("55aa");
}
