// Where a sysroot and what belongs to it lie (docs/spec/deployments.md, sections 2.1 and 3.3). Every path is an option; no path of the
// running system is used unless it is given.

import { statSync } from "node:fs";
import { join } from "node:path";
import type { BootLoader } from "../boot/entry/order.ts";
import { ComposefsError } from "../error.ts";
import { readText } from "./sysroot-files.ts";

/** Where a sysroot and what belongs to it lie. No path of the running system is used unless it is given. */
export interface SysrootPaths {
  /** The physical root, which holds `composefs` and `state`. */
  readonly sysroot: string;
  /** `composefs` in the sysroot when left out. */
  readonly repository?: string | undefined;
  /** The directory that holds `loader`: `boot` in the sysroot for GRUB, else the ESP, when left out. */
  readonly boot?: string | undefined;
  /** The ESP, where it is mounted. */
  readonly esp?: string | undefined;
  /** Told from what is there when left out. */
  readonly bootloader?: BootLoader | undefined;
  /** What `/run` is to a running system; without it no staged file is read. */
  readonly runDirectory?: string | undefined;
  /** The deployment that is running; none when left out: the sysroot is that of no running system. */
  readonly bootedId?: string | undefined;
  /** The name of the directory in `state/os` whose `var` the deployments share; `default` when left out. */
  readonly stateroot?: string | undefined;
}

/** The same with nothing left open. */
export interface SysrootLocation {
  readonly sysroot: string;
  readonly repository: string;
  readonly bootloader: BootLoader;
  /** The directory that holds `loader`, or `grub2`. */
  readonly boot: string;
  /** Undefined where GRUB boots kernels and no ESP is needed. */
  readonly esp: string | undefined;
  readonly runDirectory: string | undefined;
  readonly bootedId: string | undefined;
  readonly stateroot: string;
}

/**
 * Completes paths from what is on the disk. Writes nothing.
 *
 * @throws ComposefsError `not-found` when there is no such directory; with the reason `E_BOOTLOADER_UNKNOWN` or `E_NO_ESP` when more must
 *   be said
 */
export function locateSysroot(paths: SysrootPaths): SysrootLocation {
  const { sysroot } = paths;
  if (!isDirectory(sysroot))
    throw new ComposefsError("not-found", `there is no directory ${sysroot}`, {
      path: sysroot,
      hint: "name the directory that holds composefs and state",
    });
  const bootloader = paths.bootloader ?? detectBootloader(paths);
  const boot = bootDirectory(paths, bootloader);
  return {
    sysroot,
    repository: paths.repository ?? join(sysroot, "composefs"),
    bootloader,
    boot,
    esp: paths.esp ?? (bootloader === "grub" ? undefined : boot),
    runDirectory: paths.runDirectory,
    bootedId: paths.bootedId,
    stateroot: paths.stateroot ?? "default",
  };
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

// Section 3.3: each boot loader leaves its directory where it looks for it.
function detectBootloader({ sysroot, boot = join(sysroot, "boot"), esp }: SysrootPaths): BootLoader {
  const hasLoader = isDirectory(join(boot, "loader")) || readText(join(boot, "grub2/user.cfg")) !== undefined;
  if (esp !== undefined && isSameDirectory(boot, esp)) {
    if (hasLoader) return "systemd";
  } else {
    const hasEspLoader = esp !== undefined && isDirectory(join(esp, "loader"));
    if (hasLoader !== hasEspLoader) return hasLoader ? "grub" : "systemd";
  }
  throw new ComposefsError("not-found", `it cannot be told which boot loader ${sysroot} has`, {
    path: sysroot,
    reason: "E_BOOTLOADER_UNKNOWN",
    hint: "say it with --bootloader, and where the ESP is mounted with --esp",
  });
}

function isSameDirectory(a: string, b: string): boolean {
  const [one, other] = [a, b].map((path) => statSync(path, { bigint: true, throwIfNoEntry: false }));
  return one !== undefined && other !== undefined && one.dev === other.dev && one.ino === other.ino;
}

function bootDirectory({ sysroot, boot, esp }: SysrootPaths, bootloader: BootLoader): string {
  const directory = boot ?? (bootloader === "grub" ? join(sysroot, "boot") : esp);
  if (directory !== undefined) return directory;
  throw new ComposefsError("not-found", `${bootloader} has its entries in the ESP, and no ESP was given`, {
    reason: "E_NO_ESP",
    hint: "say with --esp where it is mounted",
  });
}
