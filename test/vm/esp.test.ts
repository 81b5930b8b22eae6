// A boot directory on FAT, as EFI system partitions are (docs/spec/boot.md, section 11): `oci prepare-boot` writes into it, and a staged
// set of entries becomes active by the exchange of two directories and file by file. Commands on a sysroot with such an ESP are stopped before
// each call that changes it (docs/spec/deployments.md, section 2.8).

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { goldensDir } from "../goldens-dir.ts";
import { bootLayout, KERNEL_ROOT } from "../fixtures/boot-layouts.ts";
import { describeFirmware } from "./firmware.ts";
import { boot, type Run } from "./machine.ts";
import { describeMachine, program } from "./programs.ts";
import { makeSystemDisk } from "./system-disk.ts";

interface Scenario {
  id: string;
  before: Record<string, string>;
  after: Record<string, string>;
}

const { cases } = JSON.parse(readFileSync(join(goldensDir("boot"), "bootc-scenarios.json"), "utf8")) as {
  cases: Scenario[];
};
const scenario = cases.find(({ id }) => id === "finalize-uki-systemd") as Scenario;
const FOREIGN = { "loader/entries/memtest.conf": "title Memory test\nversion 7\nefi /EFI/memtest.efi\n" };

/** Puts the recorded directory there, activates, and prints the method and the files. */
function activation(fileByFile: boolean): string {
  const script = `
    import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
    import { dirname, join } from "node:path";
    const at = "/app/node_modules/composefs/dist/boot/";
    const { activateEntries } = await import(at + "entry/activate.js");
    const { DirectoryVolume } = await import(at + "change/volume.js");
    const root = "/tmp/esp/${fileByFile ? "files" : "exchange"}";
    for (const [path, text] of Object.entries(${JSON.stringify({ ...scenario.before, ...FOREIGN })})) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text);
    }
    const { method } = await activateEntries(new DirectoryVolume(root), "systemd", { fileByFile: ${fileByFile} });
    const files = readdirSync(root, { recursive: true, withFileTypes: true }).filter((one) => one.isFile());
    const found = files.map((one) => join(one.parentPath ?? one.path, one.name));
    console.log(JSON.stringify({ method, files: Object.fromEntries(found.map((path) => [path.slice(root.length + 1), readFileSync(path, "utf8")])) }));
  `;
  return `cat >/tmp/activate.mjs <<'END'\n${script}\nEND\nnode /tmp/activate.mjs`;
}

const MOUNT = "mount -t vfat -o fmask=0177,dmask=0077 LABEL=ESP /tmp/esp";
/** Stops a command before calls that change the ESP, as many apart as `stride` says. */
function cuts(job: string, stride: number): string {
  const words = ["/app/node_modules/composefs/dist/index.js", "/disks/plain", "/tmp/work", "/tmp/esp", job, stride];
  return `mkdir /tmp/work && ${MOUNT} && rm -rf /tmp/esp/* && node /disks/plain/vm/fat-cuts.mjs ${words.join(" ")} && umount /tmp/esp && rm -r /tmp/work`;
}

const STEPS = {
  mount: `for module in /run/late/*.ko; do insmod "$module"; done; mkdir /tmp/esp && ${MOUNT}`,
  prepare: [
    "composefs init --insecure --algorithm fsverity-sha256-12 /tmp/composefs",
    "composefs --repo /tmp/composefs oci pull oci:/disks/plain/layout:t os --quiet",
    "composefs --repo /tmp/composefs oci prepare-boot os --bootdir /tmp/esp --cmdline rw --quiet",
  ].join(" && "),
  exchange: activation(false),
  files: activation(true),
  // What has to be read from the disk again.
  remount: `umount /tmp/esp && ${MOUNT} && cd /tmp/esp && find 6.1.0 loader -type f -exec sha256sum {} +`,
  kept: "composefs --repo /tmp/composefs oci prepare-boot os --bootdir /tmp/esp --cmdline rw --json --quiet; umount /tmp/esp",
  rollback: cuts("rollback", 5),
  delete: cuts("delete", 1),
  upgrade: cuts("upgrade", 5),
};

/** A system that can be deployed. */
function systemOf(version: string): Record<string, string> {
  return {
    "usr/lib/modules/6/vmlinuz": `kernel ${version}`.repeat(300),
    "usr/lib/modules/6/initramfs.img": `initramfs ${version}`.repeat(300),
    "usr/lib/os-release": `ID=example\nVERSION_ID=${version === "one" ? 1 : 2}\n`,
    "etc/version": version,
  };
}

describeMachine("6.12", "a boot directory on FAT", () => {
  describeFirmware("made by mtools", () => {
    const folder = mkdtempSync(join(tmpdir(), "composefs-vm-esp-"));
    afterAll(() => rmSync(folder, { recursive: true, force: true }));
    let run: Run<keyof typeof STEPS>;
    const succeeded = (name: keyof typeof STEPS) => {
      const { status, stdout, stderr } = run.steps[name];
      expect(status, `${name}: ${stderr}`).toBe(0);
      return stdout;
    };

    beforeAll(async () => {
      const [system, plain, esp] = ["system", "plain", "esp"].map((name) => join(folder, name)) as [
        string,
        string,
        string,
      ];
      makeSystemDisk(system);
      const root = join(folder, "root");
      mkdirSync(root);
      bootLayout(join(root, "layout"), "t", KERNEL_ROOT);
      for (const version of ["one", "two"]) bootLayout(join(root, version), "t", systemOf(version));
      for (const script of ["vm/fat-cuts.mjs", "fixtures/power.mjs"]) {
        mkdirSync(join(root, dirname(script)));
        copyFileSync(new URL(`../${script}`, import.meta.url), join(root, script));
      }
      execFileSync(program("mke2fs"), ["-q", "-t", "ext4", "-b", "4096", "-L", "plain", "-d", root, plain, "64M"]);
      writeFileSync(esp, "");
      truncateSync(esp, 64 << 20);
      execFileSync("mformat", ["-i", esp, "-v", "ESP", "::"]);
      run = await boot({ kernel: "6.12", disks: [system, plain, esp], steps: STEPS });
    }, 900_000);

    it("takes kernels and the entry, and keeps them the second time", () => {
      succeeded("mount");
      succeeded("prepare");
      const sums = new Map(
        succeeded("remount")
          .trim()
          .split("\n")
          .map((line) => [line.slice(66), line.slice(0, 64)]),
      );
      for (const name of ["vmlinuz", "initramfs.img"])
        expect(sums.get(`6.1.0/${name}`)).toBe(
          createHash("sha256")
            .update(KERNEL_ROOT[`usr/lib/modules/6.1.0/${name}`] ?? "")
            .digest("hex"),
        );
      expect([...sums.keys()].toSorted()).toEqual([
        "6.1.0/initramfs.img",
        "6.1.0/vmlinuz",
        "loader/entries/6.1.0.conf",
      ]);
      const { files } = JSON.parse(succeeded("kept")) as { files: { result: string }[] };
      expect(files.map(({ result }) => result)).toEqual(["kept", "kept", "replaced"]);
    });

    it.each(["exchange", "files"] as const)("a staged set becomes active: %s", (name) => {
      expect(JSON.parse(succeeded(name))).toEqual({
        method: name === "files" ? "file-by-file" : "exchange",
        files: { ...scenario.after, ...FOREIGN },
      });
    });

    it.each(["rollback", "delete", "upgrade"] as const)(
      "boots after a stop before any call of %s, which can be repeated",
      (job) => {
        const { moments, wrong } = JSON.parse(succeeded(job)) as { moments: number; wrong: string[] };
        expect(wrong).toEqual([]);
        expect(moments).toBeGreaterThan(1);
      },
    );
  });
});
