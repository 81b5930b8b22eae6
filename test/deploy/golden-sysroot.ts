// The state of a sysroot as the goldens write it, laid out on the disk.

import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { SysrootPaths } from "../../src/deploy/location.ts";
import type { GoldenState } from "./golden-state.ts";

/** Boot files besides the menu, as cases of gc have them. */
export interface GoldenBootFiles {
  readonly type1Dirs?: string[];
  readonly ukiFiles?: string[];
}

/** Writes a file and the directories above it. */
export function write(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

/** Makes a sysroot without a repository in a new directory. */
export function makeSysroot(sysroot: string, golden: GoldenState): SysrootPaths & { readonly sysroot: string } {
  const boot = join(sysroot, "boot");
  mkdirSync(boot, { recursive: true });
  const { entries = [], entriesStaged, userCfg, userCfgStaged } = golden.boot;
  for (const [name, text] of entries) write(join(boot, "loader/entries", name), text);
  for (const [name, text] of entriesStaged ?? []) write(join(boot, "loader/entries.staged", name), text);
  if (userCfg !== undefined) write(join(boot, "grub2/user.cfg"), userCfg);
  if (userCfgStaged !== undefined) write(join(boot, "grub2/user.cfg.staged"), userCfgStaged);
  for (const [id, { origin, imginfo }] of Object.entries(golden.state)) {
    const directory = join(sysroot, "state/deploy", id);
    mkdirSync(directory, { recursive: true });
    if (origin !== null) write(join(directory, `${id}.origin`), origin);
    if (imginfo !== undefined) write(join(directory, `${id}.imginfo`), imginfo);
  }
  if (golden.stagedDeployment !== null)
    write(join(sysroot, "run/composefs/staged-deployment"), golden.stagedDeployment);
  const esp = golden.bootloader === "grub" ? join(sysroot, "esp") : boot;
  const { type1Dirs = [], ukiFiles = [] } = golden.boot as GoldenBootFiles;
  const kernels = golden.bootloader === "grub" ? boot : join(boot, "EFI/Linux");
  for (const name of type1Dirs) write(join(kernels, name, "vmlinuz"), "kernel");
  for (const name of ukiFiles)
    write(join(esp, "EFI/Linux/bootc", name, ...(name.endsWith(".d") ? ["a.addon.efi"] : [])), "uki");
  return {
    sysroot,
    boot,
    bootloader: golden.bootloader,
    runDirectory: join(sysroot, "run"),
    bootedId: golden.bootedId ?? undefined,
    ...(golden.bootloader === "grub" && ukiFiles.length === 0 ? {} : { esp }),
  };
}
