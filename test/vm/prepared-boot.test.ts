// What `oci prepare-boot` wrote, booted (docs/spec/boot.md, sections 9 and 12): in a first run the guest pulls an image into a repository
// with fs-verity and prepares a boot directory; then the kernel and initramfs of the entry are started with its options, on the same
// disk. The initramfs is that of the image: setup-root.sh.

import { execFileSync } from "node:child_process";
import { mkdtempSync, mkdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type BootEntry, parseBootEntry } from "../../src/boot/entry/bls.ts";
import { writeLayout } from "../fixtures/layout.ts";
import { tar, type TarEntry } from "../fixtures/tar.ts";
import { diskFaults, makeDisk } from "./disks.ts";
import { type ArchiveFile, initramfs } from "./initramfs.ts";
import { kernel } from "./kernels.ts";
import { boot, bootKernel, type Run } from "./machine.ts";
import { describeMachine, program } from "./programs.ts";
import { librariesOf, makeSystemDisk } from "./system-disk.ts";

const KERNEL = "6.12";
const VERSION = "6.12-test";
const HERE = new URL(".", import.meta.url).pathname;
const REPO = "composefs --repo /disks/data/composefs";
const DATA = Buffer.alloc(300_000, "a file that is an object\n");

/** Says what it sees, one fact a line, and counts in /etc and /var. */
const INIT = `#!/usr/bin/busybox sh
export PATH=/usr/bin
busybox="/usr/bin/busybox"
echo "INIT: started"
$busybox grep ' / / ' /proc/self/mountinfo | $busybox tail -n 1 | $busybox sed 's/^/INIT: root /'
for place in / /usr /sysroot; do $busybox touch $place/new 2>/dev/null && echo "INIT: $place can be written"; done
for place in /etc /var; do
  count=$($busybox cat $place/count 2>/dev/null || echo 0)
  echo $((count + 1)) >$place/count && echo "INIT: $place $($busybox cat $place/count)"
done
echo "INIT: issue $($busybox cat /etc/issue)"
echo "INIT: data $($busybox sha256sum </usr/share/data)"
echo "INIT: state $($busybox ls /sysroot/state/deploy)"
$busybox sync
$busybox umount /etc /var
$busybox mount -o remount,ro /sysroot
echo "INIT: end"
$busybox poweroff -f
`;

function rootInitramfs(): Buffer {
  const fsverity = realpathSync(program("fsverity"));
  const file = (path: string, source: string, mode?: number): ArchiveFile => ({
    path,
    content: readFileSync(source),
    ...(mode === undefined ? {} : { mode }),
  });
  return initramfs([
    file("init", join(HERE, "setup-root.sh"), 0o755),
    file("bin/busybox", program("busybox"), 0o755),
    file("usr/bin/fsverity", fsverity, 0o755),
    ...librariesOf(fsverity).map((library) => file(library.slice(1), library, 0o755)),
    ...kernel(KERNEL).modules.map((path) => file(`modules/${path.split("/").at(-1)}`, path)),
  ]);
}

function imageEntries(): TarEntry[] {
  const modules = `usr/lib/modules/${VERSION}`;
  const directories = `boot etc proc sys dev run sysroot var usr usr/bin usr/sbin usr/lib usr/lib/modules usr/share ${modules}`;
  return [
    ...directories.split(" ").map((path): TarEntry => ({ path, type: "directory" })),
    { path: "sbin", type: "symlink", target: "usr/sbin" },
    { path: "usr/bin/busybox", content: readFileSync(program("busybox")), mode: 0o755 },
    { path: "usr/sbin/init", content: Buffer.from(INIT), mode: 0o755 },
    { path: "usr/share/data", content: DATA },
    { path: "etc/issue", content: Buffer.from("of the image") },
    { path: "usr/lib/os-release", content: Buffer.from('ID=vm\nPRETTY_NAME="VM Test"\nVERSION_ID=7\n') },
    { path: `${modules}/vmlinuz`, content: readFileSync(kernel(KERNEL).image) },
    { path: `${modules}/initramfs.img`, content: rootInitramfs() },
  ];
}

interface Prepared {
  image: string;
  argument: string;
  entry: string;
}

const STEPS = {
  init: "composefs init --algorithm fsverity-sha256-12 /disks/data/composefs",
  pull: `${REPO} oci pull oci:/disks/plain/layout:v1 os --quiet`,
  prepare:
    `${REPO} oci prepare-boot os --bootdir /disks/data/boot --title-from-os-release --json --quiet ` +
    ["root=LABEL=data", "console=ttyS0", "panic=-1", "quiet"].map((word) => `--cmdline ${word}`).join(" "),
};

describeMachine(KERNEL, "a prepared boot directory on Linux 6.12", () => {
  const folder = mkdtempSync(join(tmpdir(), "composefs-vm-prepared-"));
  const [system, data, plain] = ["system", "data", "plain"].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  let made: Run<keyof typeof STEPS>;
  let prepared: Prepared;
  let entry: BootEntry;
  let image = "";
  let archive = "";

  const fromDisk = (path: string) =>
    execFileSync(program("debugfs"), ["-R", `cat "${path}"`, data], {
      maxBuffer: 1 << 28,
      stdio: ["ignore", "pipe", "ignore"],
    });
  const start = (options: string) => bootKernel({ image, archive, disks: [data], commandLine: options });
  const facts = (console: string) => [...console.matchAll(/^(INIT: .*?)\r?$/gm)].map(([, fact = ""]) => fact);

  beforeAll(async () => {
    makeSystemDisk(system);
    makeDisk(data, "data", "256M");
    const layout = join(folder, "root/layout");
    mkdirSync(layout, { recursive: true });
    writeLayout(layout, "v1", [{ tar: tar(imageEntries()), compression: "none" }]);
    execFileSync(program("mke2fs"), [
      "-q",
      "-t",
      "ext4",
      "-b",
      "4096",
      "-L",
      "plain",
      "-d",
      join(folder, "root"),
      plain,
      "128M",
    ]);
    made = await boot({ kernel: KERNEL, disks: [system, data, plain], steps: STEPS });
    for (const [name, { status, stderr }] of Object.entries(made.steps)) expect(status, `${name}: ${stderr}`).toBe(0);
    prepared = JSON.parse(made.steps.prepare.stdout) as Prepared;
    entry = parseBootEntry(fromDisk(`/boot/${prepared.entry}`).toString());
    if (entry.target.kind !== "linux") throw new Error("the entry has no kernel");
    image = join(folder, "vmlinuz");
    archive = join(folder, "initramfs.img");
    writeFileSync(image, fromDisk(`/boot${entry.target.linux}`));
    writeFileSync(archive, fromDisk(`/boot${entry.initrd[0]}`));
  }, 900_000);

  it("has an entry that names the image, as the repository demands it", () => {
    expect(prepared.argument).toBe(`composefs.digest=v1-sha256-12:${prepared.image}`);
    expect(entry.title).toBe("VM Test");
    expect(entry.options).toBe(`${prepared.argument} root=LABEL=data console=ttyS0 panic=-1 quiet`);
    expect(readFileSync(image).equals(readFileSync(kernel(KERNEL).image))).toBe(true);
    expect(diskFaults(data)).toBeUndefined();
  });

  describe.each([1, 2])("boot %i of the entry", (time) => {
    let console = "";
    beforeAll(async () => {
      console = await start(entry.options ?? "");
    }, 400_000);

    it("reaches the image's init, on the composefs of the command line, checked by the kernel", () => {
      const seen = facts(console);
      expect(seen[0], console.slice(-3000)).toBe("INIT: started");
      expect(seen.at(-1)).toBe("INIT: end");
      const root = seen.find((fact) => fact.startsWith("INIT: root "));
      expect(root).toContain(` - overlay composefs:${prepared.image} ro,`);
      expect(root).toContain("verity=require");
    });

    it("has a writable and lasting /etc and /var, and nothing else that can be written", () => {
      const seen = facts(console);
      expect(seen).toContain(`INIT: /etc ${time}`);
      expect(seen).toContain(`INIT: /var ${time}`);
      expect(seen.filter((fact) => fact.endsWith("can be written"))).toEqual([]);
    });

    it("shows the files of the image and the state of its deployment", () => {
      const seen = facts(console);
      const sum = execFileSync("sha256sum", { input: DATA, encoding: "utf8" }).trim();
      expect(seen).toContain(`INIT: data ${sum}`);
      expect(seen).toContain("INIT: issue of the image");
      expect(seen).toContain(`INIT: state ${prepared.image}`);
    });
  });

  it("does not boot with the digest of another image", async () => {
    const wrong = prepared.image.replace(/.$/, (digit) => (digit === "0" ? "1" : "0"));
    const options = entry.options?.replace(prepared.image, wrong) ?? "";
    const none = await start(options);
    expect(facts(none), none.slice(-3000)).toEqual([]);
    expect(none).toContain(`BOOT: no image ${wrong}`);
    expect(none).toContain("BOOT: refused");
    // Nor when the name is there and leads to a sealed image, but not to that one.
    const commands = `symlink composefs/images/${wrong} ../objects/${prepared.image.slice(0, 2)}/${prepared.image.slice(2)}`;
    execFileSync(program("debugfs"), ["-w", "-R", commands, data], { stdio: "ignore" });
    const exchanged = await start(options);
    expect(facts(exchanged)).toEqual([]);
    expect(exchanged).toContain(`BOOT: refused: mismatch: the image is ${prepared.image}`);
    expect(diskFaults(data)).toBeUndefined();
  }, 800_000);
});
