// Two versions of a bootable system that carries this project: what a virtual machine installs, upgrades and rolls back.

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeLayout } from "../fixtures/layout.ts";
import { tar, type TarEntry } from "../fixtures/tar.ts";
import { type ArchiveFile, initramfs } from "./initramfs.ts";
import { kernel, type KernelName } from "./kernels.ts";
import { program } from "./programs.ts";
import { installSystem, librariesOf } from "./system-disk.ts";

const MODULES = "usr/lib/modules/6-test";
const HERE = new URL(".", import.meta.url).pathname;

/**
 * Process 1 of the system: runs the job of this boot, counted in /var, from the disk with the label `jobs`. What the steps of a job say
 * goes to the console line by line, each with its name, and so does their status.
 */
const INIT = `#!/bin/busybox sh
export PATH=/usr/bin:/bin HOME=/tmp
step() {
  cat >/tmp/script
  sh /tmp/script >/tmp/out 2>/tmp/err </dev/null
  status=$?
  sed "s/^/VM: $1: out: /" /tmp/out
  sed "s/^/VM: $1: err: /" /tmp/err
  read -r now rest </proc/uptime
  echo "VM: $1: status $status after $now s"
}
mount -t tmpfs tmp /tmp
mkdir -p /run/jobs
mount -t ext4 -o ro "$(findfs LABEL=jobs)" /run/jobs || echo "VM: no jobs"
mount -t vfat /dev/vda1 /boot || echo "VM: no ESP"
boot=$(($(cat /var/boots 2>/dev/null || echo 0) + 1))
echo $boot >/var/boots
echo "VM: boot $boot"
for place in / /usr /sysroot; do touch $place/new 2>/dev/null && echo "VM: $place can be written"; done
mount -o remount,rw,bind /sysroot
. /run/jobs/$boot
sync
umount /boot
mount -o remount,ro,bind /sysroot
umount /etc /var
mount -o remount,ro /sysroot && echo "VM: clean"
echo "VM: end"
poweroff -f
`;

/** The shared layer: programs, project, kernel. */
function systemLayer(name: KernelName): Buffer {
  const root = mkdtempSync(join(tmpdir(), "composefs-vm-deployment-"));
  try {
    for (const directory of ["boot", "etc", "proc", "sys", "dev", "run", "sysroot", "var", "tmp", "usr/sbin", MODULES])
      mkdirSync(join(root, directory), { recursive: true });
    installSystem(root);
    symlinkSync("usr/sbin", join(root, "sbin"));
    writeFileSync(join(root, "usr/sbin/init"), INIT, { mode: 0o755 });
    writeFileSync(join(root, MODULES, "vmlinuz"), readFileSync(kernel(name).image));
    const options = ["--owner=0", "--group=0", "--numeric-owner", "--sort=name", "--mtime=@1700000000", "--format=gnu"];
    return execFileSync(program("tar"), [...options, "-C", root, "-cf", "-", "."], { maxBuffer: 1 << 30 });
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

function rootInitramfs(name: KernelName, version: number): Buffer {
  const fsverity = realpathSync(program("fsverity"));
  const { modules, lateModules } = kernel(name);
  const file = (path: string, source: string, mode?: number): ArchiveFile => ({
    path,
    content: readFileSync(source),
    ...(mode === undefined ? {} : { mode }),
  });
  return initramfs([
    file("init", join(HERE, "setup-root.sh"), 0o755),
    { path: "version", content: Buffer.from(String(version)) },
    file("bin/busybox", program("busybox"), 0o755),
    file("usr/bin/fsverity", fsverity, 0o755),
    ...librariesOf(fsverity).map((library) => file(library.slice(1), library, 0o755)),
    ...modules.map((path) => file(`modules/${path.split("/").at(-1)}`, path)),
    // Loaded after the others, by their names.
    ...lateModules
      .filter((path) => !path.includes("sha512"))
      .map((path) => file(`modules/late-${path.split("/").at(-1)}`, path)),
  ]);
}

function versionEntries(name: KernelName, version: number): TarEntry[] {
  const file = (path: string, content: string | Buffer): TarEntry => ({ path, content: Buffer.from(content) });
  return [
    file("usr/lib/os-release", `ID=vm\nPRETTY_NAME="VM ${version}"\nVERSION_ID=${version}\n`),
    file("usr/version", `version ${version} ${"x".repeat(5000)}\n`),
    file("etc/issue", `of the image ${version}\n`),
    file("etc/local", "of the image\n"),
    file(`etc/only-${version}`, "comes and goes with the image\n"),
    file(`${MODULES}/initramfs.img`, rootInitramfs(name, version)),
  ];
}

/** Writes both versions, each into a layout with the tag `os`. They share all but a small layer. */
export function writeSystemImages(layouts: readonly [string, string], name: KernelName): void {
  const shared = systemLayer(name);
  for (const [index, layout] of layouts.entries())
    writeLayout(layout, "os", [
      { tar: shared, compression: "none" },
      { tar: tar(versionEntries(name, index + 1)), compression: "none" },
    ]);
}
