// The life of a system on a disk that was made offline, without root and without a kernel (docs/spec/deployments.md, sections 4 and 6;
// vm-testing.md, sections 8, 11 and 12): real firmware and systemd-boot start version 1 with `verity=require`; it upgrades itself, restarts
// into version 2 with its /etc merged, rolls back, and collects what is left. COMPOSEFS_VM_LONG=1 does it with all formats and with UKIs.

import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { sealImage } from "../../src/seal/seal.ts";
import { systemdStub } from "../fixtures/systemd-stub.ts";
import { skipOrFail } from "../peer.ts";
import { writeSystemImages } from "./deployment-images.ts";
import { diskFaults } from "./disks.ts";
import { bootDisks, describeFirmware } from "./firmware.ts";
import { EMPTY_VARIABLES } from "./firmware-variables.ts";
import { describeMachine, program } from "./programs.ts";

const KERNEL = "6.12";
const MAIN = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
const LOADER = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi";
// On a busy host the emulated timer can be late, which a kernel takes for broken hardware unless it is told not to look.
const KERNEL_ARGUMENTS = ["root=LABEL=vmroot", "rw", "console=ttyS0", "panic=-1", "quiet", "no_timer_check"];
/** Where the guest finds newer versions. */
const TARGET = "oci:/run/jobs/layout:os";
const HOST = "--bootloader systemd --esp /boot";
const FACTS = [
  "head -c 9 /usr/version; echo",
  "grep ' / / ' /proc/self/mountinfo | tail -n 1",
  'for file in issue local only-1 only-2 mine; do echo "$file: $(cat /etc/$file 2>&1)"; done',
  'echo "kept: $(cat /var/kept 2>&1)"',
].join("\n");

/** What each boot does. `@ID2@` is the deployment of version 2. */
const JOBS = [
  {
    facts: FACTS,
    change: "echo of this machine >/etc/local && echo mine >/etc/mine && echo kept >/var/kept",
    upgrade: `composefs deploy upgrade ${HOST} --no-service --json --quiet`,
    staged: `composefs deploy status ${HOST} --json`,
    finalize: `composefs deploy finalize ${HOST} --json --quiet`,
  },
  {
    facts: FACTS,
    measure: "cd /sysroot/composefs && find objects -type f -newer /var/kept -exec fsverity measure {} \\;",
    rollback: `composefs deploy rollback ${HOST}`,
  },
  {
    facts: FACTS,
    check: `composefs deploy check ${HOST} --json`,
    delete: `composefs deploy delete @ID2@ ${HOST}`,
    gc: `composefs deploy gc ${HOST} --json`,
    status: `composefs deploy status ${HOST} --json`,
    left: "ls /sysroot/state/deploy /sysroot/composefs/images /boot/loader/entries /boot/EFI/Linux /boot/EFI/Linux/bootc 2>/dev/null || true",
  },
] as const;

interface Variant {
  readonly title: string;
  readonly algorithm: "sha256" | "sha512";
  readonly format: 1 | 2;
  readonly boots: "bls" | "uki";
}

const SHORT: Variant[] = [{ title: "type 1 entries, format 1, SHA-512", algorithm: "sha512", format: 1, boots: "bls" }];
const LONG: Variant[] = [
  { title: "type 1 entries, format 2, SHA-256", algorithm: "sha256", format: 2, boots: "bls" },
  { title: "UKIs, format 1, SHA-512", algorithm: "sha512", format: 1, boots: "uki" },
  { title: "UKIs, format 2, SHA-256", algorithm: "sha256", format: 2, boots: "uki" },
];

interface Step {
  status: number;
  out: string;
  err: string;
}

/** What the steps of a boot left, by the console. */
function readSteps(console: string): Map<string, Step> {
  const steps = new Map<string, Step>();
  for (const [, name = "", kind, text = ""] of console.matchAll(/^VM: ([\w-]+): (out: |err: |status )(.*)$/gm)) {
    const step = steps.get(name) ?? { status: -1, out: "", err: "" };
    steps.set(name, step);
    if (kind === "out: ") step.out += `${text}\n`;
    else if (kind === "err: ") step.err += `${text}\n`;
    else step.status = Number.parseInt(text, 10);
  }
  return steps;
}

describeMachine(KERNEL, "deployments on Linux 6.12", () => {
  describeFirmware("and OVMF", () => {
    if (!existsSync(LOADER)) {
      skipOrFail(`${LOADER} is missing: apt-get install systemd-boot-efi`);
      return;
    }
    const folder = mkdtempSync(join(tmpdir(), "composefs-vm-deployments-"));
    afterAll(() => rmSync(folder, { recursive: true, force: true }));
    const layouts: [string, string] = [join(folder, "v1"), join(folder, "v2")];
    beforeAll(() => {
      chmodSync(folder, 0o755);
      writeSystemImages(layouts, KERNEL);
    }, 300_000);

    describe.each(process.env["COMPOSEFS_VM_LONG"] === "1" ? [...SHORT, ...LONG] : SHORT)("$title", (variant) => {
      const work = join(folder, `${variant.boots}-${variant.format}`);
      const disk = join(work, "disk.img");
      const jobs = join(work, "jobs.img");
      let ids: string[] = [];
      let boots: { console: string; steps: Map<string, Step> }[] = [];

      /** The command line of this project, by a user who is not root even where this suite is. */
      const composefs = (...args: string[]) => {
        const user = process.geteuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};
        const env = { PATH: process.env["PATH"], HOME: work };
        const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
          ...user,
          env,
          encoding: "utf8",
        });
        expect(status, `${args.join(" ")}: ${stderr}`).toBe(0);
        return stdout;
      };
      const versionLayout = async (index: 0 | 1) => {
        if (variant.boots === "bls") return layouts[index];
        const directory = join(work, `sealed-${index + 1}`);
        await sealImage(
          { kind: "reference", reference: `oci:${layouts[index]}:os` },
          { kind: "layout", directory, tag: "os" },
          {
            stub: systemdStub().name,
            algorithm: variant.algorithm,
            version: variant.format,
            kernelArguments: KERNEL_ARGUMENTS,
            temporaryDirectory: work,
          },
        );
        return directory;
      };
      const jobScript = (steps: Readonly<Record<string, string>>) =>
        Object.entries(steps)
          .map(([name, script]) => `step ${name} <<'END'\n${script.replaceAll("@ID2@", ids[1] ?? "")}\nEND\n`)
          .join("");
      const makeJobsDisk = (layout: string) => {
        const root = join(work, "jobs");
        mkdirSync(root, { recursive: true });
        if (!existsSync(join(root, "layout"))) execFileSync("cp", ["-r", layout, join(root, "layout")]);
        for (const [index, steps] of JOBS.entries()) writeFileSync(join(root, String(index + 1)), jobScript(steps));
        rmSync(jobs, { force: true });
        const options = ["-q", "-t", "ext4", "-b", "4096", "-L", "jobs", "-m", "0", "-d", root, jobs, "600M"];
        execFileSync(program("mke2fs"), options);
      };
      const start = async () => {
        const console = await bootDisks([disk, jobs], readFileSync(EMPTY_VARIABLES), /^VM: end\r?$|BOOT: refused.*\n/m);
        boots.push({ console, steps: readSteps(console) });
      };
      const step = (boot: number, name: string): Step => {
        const { console = "", steps } = boots[boot - 1] ?? {};
        const found = steps?.get(name);
        expect(found?.status, `boot ${boot}, ${name}: ${found?.err}\n${found ? "" : console.slice(-2000)}`).toBe(0);
        return found as Step;
      };
      const facts = (boot: number) => step(boot, "facts").out;

      beforeAll(async () => {
        mkdirSync(work);
        const [sysroot, esp] = [join(work, "sysroot"), join(work, "esp")];
        for (const directory of [join(sysroot, "boot"), join(esp, "EFI/BOOT"), join(esp, "loader")])
          mkdirSync(directory, { recursive: true });
        copyFileSync(LOADER, join(esp, "EFI/BOOT/BOOTX64.EFI"));
        writeFileSync(join(esp, "loader/loader.conf"), "timeout 0\n");
        const [one, two] = [await versionLayout(0), await versionLayout(1)];
        if (process.geteuid?.() === 0) {
          for (const path of [sysroot, esp]) execFileSync("chown", ["-R", "65534:65534", path]);
          chownSync(work, 65534, 65534);
        }
        const where = ["--sysroot", sysroot, "--offline", "--bootloader", "systemd", "--esp", esp];
        const how = [
          "--hash",
          variant.algorithm,
          "--erofs-version",
          String(variant.format),
          "--sealed",
          "--target",
          TARGET,
        ];
        const kargs = variant.boots === "bls" ? KERNEL_ARGUMENTS.flatMap((word) => ["--karg", word]) : [];
        const installed = composefs(
          "deploy",
          "install",
          `oci:${one}:os`,
          ...where,
          ...how,
          ...kargs,
          "--json",
          "--quiet",
        );
        composefs("deploy", "disk", sysroot, "--esp", esp, "--output", disk, "--label", "vmroot", "--quiet");
        ids = [(JSON.parse(installed) as { id: string }).id];
        makeJobsDisk(two);
        await start();
        ids.push((JSON.parse(boots[0]?.steps.get("upgrade")?.out || "{}") as { id?: string }).id ?? "");
        makeJobsDisk(two);
        await start();
        await start();
      }, 900_000);

      it("starts from a disk that no kernel has sealed, and verifies", () => {
        expect(facts(1)).toMatch(/^version 1$/m);
        expect(facts(1)).toContain(` - overlay composefs:${ids[0]} ro,`);
        expect(facts(1)).toContain("verity=require");
        expect(facts(1)).toContain("issue: of the image 1");
        expect(boots[0]?.console).not.toContain("can be written");
      });

      it("upgrades itself, into a deployment that is the default after finalize", () => {
        step(1, "change");
        expect(ids[1]).toMatch(/^[0-9a-f]+$/);
        expect(ids[1]).not.toBe(ids[0]);
        expect(JSON.parse(step(1, "upgrade").out)).toMatchObject({ action: "stage" });
        const { status } = JSON.parse(step(1, "staged").out) as {
          status: Record<string, { composefs: { verity: string } }>;
        };
        expect([status["booted"], status["staged"]].map((one) => one?.composefs.verity)).toEqual(ids);
        step(1, "finalize");
      });

      it("restarts into the new version, verified, with the local changes of /etc and the new files of the image", () => {
        const said = facts(2);
        expect(said).toMatch(/^version 2$/m);
        expect(said).toContain(` - overlay composefs:${ids[1]} ro,`);
        expect(said).toContain("verity=require");
        expect(said).toContain("issue: of the image 2");
        expect(said).toContain("local: of this machine");
        expect(said).toContain("mine: mine");
        expect(said).toContain("only-2: comes and goes");
        expect(said).toMatch(/only-1: .*No such file/);
        expect(said).toContain("kept: kept");
      });

      it("has the kernel's seal on what the upgrade brought", () => {
        const measured = [...step(2, "measure").out.matchAll(/^sha\d+:(\S+) objects\/(.*)$/gm)];
        expect(measured.length).toBeGreaterThan(3);
        for (const [, digest, path = ""] of measured) expect(path.replace("/", "")).toBe(digest);
      });

      it("goes back to the old version with its own /etc", () => {
        step(2, "rollback");
        const said = facts(3);
        expect(said).toMatch(/^version 1$/m);
        expect(said).toContain(` - overlay composefs:${ids[0]} ro,`);
        expect(said).toContain("local: of this machine");
        expect(said).toContain("only-1: comes and goes");
        expect(said).toContain("kept: kept");
      });

      it("deletes the other, and leaves nothing of it", () => {
        step(3, "check");
        step(3, "delete");
        step(3, "gc");
        const left = step(3, "left").out;
        expect(left).toContain(ids[0]);
        expect(left).not.toContain(ids[1]);
        const { status } = JSON.parse(step(3, "status").out) as { status: Record<string, unknown> };
        expect([status["staged"], status["rollback"], status["otherDeployments"]]).toEqual([null, null, undefined]);
      });

      it("leaves file systems without faults", () => {
        for (const { console } of boots) expect(console).toContain("VM: clean");
        const root = join(work, "root.img");
        const [, offset] = rootPartition(disk);
        execFileSync("dd", [
          `if=${disk}`,
          `of=${root}`,
          "bs=1M",
          `skip=${offset / 2 ** 20}`,
          "conv=sparse",
          "status=none",
        ]);
        // What follows the file system is the copy of the partition table.
        expect(diskFaults(root)).toBeUndefined();
        rmSync(root);
      });
    });
  });
});

/** First and second partition: where they begin, in bytes. */
function rootPartition(disk: string): [number, number] {
  const table = execFileSync("dd", [`if=${disk}`, "bs=512", "skip=2", "count=1", "status=none"]);
  return [0, 128].map((at) => Number(table.readBigUInt64LE(at + 32)) * 512) as [number, number];
}
