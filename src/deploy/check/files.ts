// The tests that look at files of the sysroot and its boot directories (docs/spec/deployments.md, section 4.10): C2, C7 and C9.

import { lstatSync, realpathSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { kernelDirectoryDigests } from "../../boot/install/boot-digest.ts";
import { kernelParent } from "../../boot/install/plan.ts";
import { DirectoryVolume } from "../../boot/change/volume.ts";
import { BOOTC_PREFIX } from "../../boot/entry/identity.ts";
import { UKI_DIRECTORY } from "../../boot/entry/names.ts";
import { openFileSource } from "../../boot/file-source.ts";
import { PeFile } from "../../boot/pe/read.ts";
import { ukiBootDigest } from "../../boot/uki/uki.ts";
import { ComposefsError } from "../../error.ts";
import type { Deployment } from "../deployments.ts";
import type { SysrootLocation } from "../location.ts";
import type { MenuEntry } from "../menu-entry.ts";
import type { CheckReport } from "./finding.ts";

/** C2: what an entry names is there and not empty. */
export function checkBootFiles(entry: MenuEntry, location: SysrootLocation, report: CheckReport): void {
  for (const path of namedFiles(entry)) {
    const places = placesOf(path, location);
    const size = places.map((place) => statSync(place, { throwIfNoEntry: false })).find((stat) => stat?.isFile())?.size;
    if (size !== undefined && size > 0) continue;
    const problem = size === 0 ? "is empty" : "is missing";
    report.add("error", "C2", `${path}, which the entry ${entry.file} names, ${problem}`, {
      id: entry.verity,
      ...(places[0] !== undefined && { path: places[0] }),
    });
  }
}

function namedFiles({ source }: MenuEntry): string[] {
  if (source.kind === "grub") return [source.entry.chainloader];
  const { target, initrd } = source.entry;
  return target.kind === "linux" ? [target.linux, ...initrd] : [target.path];
}

// Paths in entries begin at the file system of the boot loader. GRUB's is the sysroot when /boot is none of its own.
function placesOf(path: string, { sysroot, boot, esp, bootloader }: SysrootLocation): string[] {
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..") || path.includes("\0")) return [];
  const roots =
    bootloader !== "grub" ? [esp ?? boot] : parts[0] === "boot" ? [sysroot, boot, esp] : [boot, sysroot, esp];
  return roots.flatMap((root) => (root === undefined ? [] : [join(root, ...parts)]));
}

/** C7: the parts of a state directory that the initramfs mounts. */
export function checkStateDirectory(id: string, { sysroot }: SysrootLocation, report: CheckReport): void {
  const directory = join(sysroot, "state/deploy", id);
  const etc = join(directory, "etc");
  const about = (path: string) => ({ id, path });
  if (lstatSync(etc, { throwIfNoEntry: false })?.isDirectory() !== true)
    report.add("error", "C7", "etc is no directory", about(etc));
  const path = join(directory, "var");
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat?.isSymbolicLink() !== true) {
    report.add("error", "C7", `var ${stat ? "is no symbolic link" : "is missing"}`, about(path));
    return;
  }
  try {
    const target = relative(realpathSync(join(sysroot, "state/os")), realpathSync(path));
    if (/^(?!\.\.\/)[^/]+\/var$/.test(target) && statSync(path).isDirectory()) return;
    report.add("error", "C7", "var leads to something else than state/os/NAME/var", about(path));
  } catch {
    report.add("error", "C7", "var leads nowhere", about(path));
  }
}

/** C9: the boot digests in origins are those of the files. */
export async function checkBootDigests(
  deployments: readonly Deployment[],
  location: SysrootLocation,
  report: CheckReport,
  signal?: AbortSignal,
): Promise<void> {
  const { boot, esp, bootloader } = location;
  const kernels = bootloader === "grub" ? boot : esp;
  let directories: ReadonlyMap<string, string> | undefined;
  for (const { id, bootDigest, entry } of deployments) {
    const { artifact, kind } = entry;
    if (bootDigest === undefined || artifact === undefined) continue;
    const name = `${artifact.prefixed ? BOOTC_PREFIX : ""}${artifact.name}`;
    let measured: string | undefined;
    if (kind === "bls" && kernels !== undefined) {
      directories ??= await kernelDirectoryDigests(new DirectoryVolume(kernels), bootloader, signal);
      measured = directories.get(name);
    } else if (kind === "uki" && esp !== undefined)
      measured = await ukiDigest(join(esp, UKI_DIRECTORY, `${name}.efi`), signal);
    // Files that are missing have their own finding.
    if (measured === undefined || measured === bootDigest) continue;
    report.add("warning", "C9", `kernel and initramfs have the digest ${measured}, the origin says ${bootDigest}`, {
      id,
      path: kind === "bls" ? join(kernels ?? "", kernelParent(bootloader), name) : join(UKI_DIRECTORY, `${name}.efi`),
    });
  }
}

async function ukiDigest(path: string, signal: AbortSignal | undefined): Promise<string | undefined> {
  try {
    using source = openFileSource(path);
    return await ukiBootDigest(PeFile.read(source, path), signal);
  } catch (error) {
    if (error instanceof ComposefsError && error.code !== "aborted") return undefined;
    throw error;
  }
}
