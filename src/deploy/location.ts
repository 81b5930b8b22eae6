// Where a sysroot and what belongs to it lie (docs/spec/deployments.md, sections 2.1 and 3.3), in one of two modes: that of the system that
// runs, or any other one. For another one no path of the running system is used unless it is given.

import { statSync } from "node:fs";
import { join, resolve } from "node:path";
import type { BootLoader } from "../boot/entry/order.ts";
import { ComposefsError } from "../error.ts";
import { mountedEsp, type MountEntry } from "./booted.ts";
import { type Machine, machinePath, readBooted, readBootloader, refuseContainer } from "./machine.ts";
import { isDeploymentId } from "./state.ts";
import { readText } from "./sysroot-files.ts";

/**
 * Where a sysroot and what belongs to it lie. The sysroot of the running system is meant when none is named, or `/sysroot`; this is host
 * mode. In offline mode no path of the running system is used unless it is given.
 */
export interface SysrootPaths {
  /** The physical root, which holds `composefs` and `state`; `/sysroot` in host mode. */
  readonly sysroot?: string | undefined;
  /** Offline mode, whatever the sysroot. */
  readonly offline?: boolean | undefined;
  /** `composefs` in the sysroot when left out. */
  readonly repository?: string | undefined;
  /** The directory that holds `loader`: `boot` in the sysroot for GRUB, else the ESP, when left out. */
  readonly boot?: string | undefined;
  /** The ESP, where it is mounted; in host mode found among the mounts when left out. */
  readonly esp?: string | undefined;
  /** Told from what is there when left out; in host mode from what the firmware says. */
  readonly bootloader?: BootLoader | undefined;
  /** What `/run` is to a running system; offline no staged file is read without it. */
  readonly runDirectory?: string | undefined;
  /**
   * The deployment that is running; null for none, which means offline mode. When left out, that of the machine in host mode, and none
   * in offline mode: the sysroot is that of no running system.
   */
  readonly bootedId?: string | null | undefined;
  /** `/proc/cmdline` of the running system. Offline it is only read when it is given, and then with `mountInfoFile`. */
  readonly commandLineFile?: string | undefined;
  /** `/proc/self/mountinfo` of the running system. */
  readonly mountInfoFile?: string | undefined;
  /** `/etc` of the running system, for the merge; offline that in the state of the base when left out. */
  readonly etc?: string | undefined;
  /** The name of the directory in `state/os` whose `var` the deployments share; `default` when left out. */
  readonly stateroot?: string | undefined;
  /** Where host mode finds the machine's own files. */
  readonly machine?: Machine | undefined;
}

/** The same with nothing left open. */
export interface SysrootLocation {
  readonly sysroot: string;
  /** Whether it is the one of the system that runs. */
  readonly isHost: boolean;
  readonly repository: string;
  readonly bootloader: BootLoader;
  /** The directory that holds `loader`, or `grub2`. */
  readonly boot: string;
  /** Undefined where GRUB boots kernels and no ESP is needed. */
  readonly esp: string | undefined;
  /** Undefined offline: nothing is staged across a reboot. */
  readonly runDirectory: string | undefined;
  readonly bootedId: string | undefined;
  /** `/etc` of what runs; undefined offline: it is that in the state of the base. */
  readonly etc: string | undefined;
  readonly stateroot: string;
  /** The mounts of what runs; undefined offline. */
  readonly mounts: readonly MountEntry[] | undefined;
}

const HOST_SYSROOT = "sysroot";

/**
 * Completes paths from what is on the disk, and in host mode from what the machine says. Writes nothing.
 *
 * @throws ComposefsError `not-found` when there is no such directory; with the reason `E_BOOTLOADER_UNKNOWN` or `E_NO_ESP` when more must
 *   be said; in host mode `E_CONTAINER`, `E_NOT_BOOTED` or `E_ROOT_NOT_COMPOSEFS` when the machine runs no deployment; `usage` offline
 *   without a sysroot
 * @example
 * ```ts
 * locateSysroot({}); // the machine that runs
 * locateSysroot({ sysroot: "/mnt", esp: "/mnt/efi" }); // a disk that is mounted
 * ```
 */
export function locateSysroot(paths: SysrootPaths): SysrootLocation {
  return isHostMode(paths) ? locateHost(paths) : locateOffline(paths);
}

/** The same, but undefined in host mode when this machine is a container or was not booted from a deployment: there is nothing to show. */
export function findSysroot(paths: SysrootPaths): SysrootLocation | undefined {
  try {
    return locateSysroot(paths);
  } catch (error) {
    const reason = error instanceof ComposefsError ? error.reason : undefined;
    if (isHostMode(paths) && (reason === "E_NOT_BOOTED" || reason === "E_CONTAINER")) return undefined;
    throw error;
  }
}

// The mode rule of section 3.3.
function isHostMode({ sysroot, offline, bootedId, machine = {} }: SysrootPaths): boolean {
  if (offline || bootedId === null) return false;
  const own = machinePath(machine, HOST_SYSROOT);
  return sysroot === undefined || resolve(sysroot) === resolve(own) || isSameDirectory(sysroot, own);
}

function locateHost(paths: SysrootPaths): SysrootLocation {
  const { machine = {} } = paths;
  const at = (path: string) => machinePath(machine, path);
  refuseContainer(machine);
  const { booted, mounts } = readBooted(
    paths.commandLineFile ?? at("proc/cmdline"),
    paths.mountInfoFile ?? at("proc/self/mountinfo"),
  );
  const mounted = mountedEsp(mounts);
  return complete(
    {
      ...paths,
      bootedId: paths.bootedId ?? booted.id,
      esp: paths.esp ?? (mounted && at(mounted)),
      bootloader: paths.bootloader ?? readBootloader(machine),
      runDirectory: paths.runDirectory ?? at("run"),
      etc: paths.etc ?? at("etc"),
    },
    paths.sysroot ?? at(HOST_SYSROOT),
    { isHost: true, mounts },
  );
}

function locateOffline(paths: SysrootPaths): SysrootLocation {
  const { sysroot, commandLineFile, mountInfoFile } = paths;
  if (sysroot === undefined)
    throw new ComposefsError("usage", "offline the sysroot must be named", {
      hint: "say with --sysroot which directory holds composefs and state",
    });
  if (commandLineFile === undefined && mountInfoFile === undefined)
    return complete(paths, sysroot, { isHost: false, mounts: undefined });
  if (commandLineFile === undefined || mountInfoFile === undefined)
    throw new ComposefsError("usage", "of what runs, both its command line and its mounts must be given, or neither", {
      hint: "give --proc-cmdline and --mountinfo together",
    });
  const { booted, mounts } = readBooted(commandLineFile, mountInfoFile);
  const bootedId = paths.bootedId === undefined ? booted.id : paths.bootedId;
  return complete({ ...paths, bootedId }, sysroot, { isHost: false, mounts });
}

function complete(
  paths: SysrootPaths,
  sysroot: string,
  mode: Pick<SysrootLocation, "isHost" | "mounts">,
): SysrootLocation {
  if (!isDirectory(sysroot))
    throw new ComposefsError("not-found", `there is no directory ${sysroot}`, {
      path: sysroot,
      hint: "name the directory that holds composefs and state",
    });
  if (typeof paths.bootedId === "string" && !isDeploymentId(paths.bootedId))
    throw new ComposefsError("usage", `${JSON.stringify(paths.bootedId)} is not the id of a deployment`, {
      hint: "the ids are those that status shows as Verity, in full",
    });
  const named = { ...paths, sysroot };
  const { stateroot = "default" } = paths;
  // It becomes a component of paths.
  if (!isDeploymentId(stateroot))
    throw new ComposefsError("usage", `${JSON.stringify(stateroot)} cannot be the name of a stateroot`, {
      hint: "letters, digits, dots, dashes and underscores are fine",
    });
  const bootloader = paths.bootloader ?? detectBootloader(named);
  const boot = bootDirectory(named, bootloader);
  return {
    ...mode,
    sysroot,
    repository: paths.repository ?? join(sysroot, "composefs"),
    bootloader,
    boot,
    esp: paths.esp ?? (bootloader === "grub" ? undefined : boot),
    runDirectory: paths.runDirectory,
    bootedId: paths.bootedId ?? undefined,
    etc: paths.etc,
    stateroot,
  };
}

type NamedPaths = SysrootPaths & { readonly sysroot: string };

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

// Section 3.3: each boot loader leaves its directory where it looks for it.
function detectBootloader({ sysroot, boot = join(sysroot, "boot"), esp }: NamedPaths): BootLoader {
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

function bootDirectory({ sysroot, boot, esp }: NamedPaths, bootloader: BootLoader): string {
  const directory = boot ?? (bootloader === "grub" ? join(sysroot, "boot") : esp);
  if (directory !== undefined) return directory;
  throw new ComposefsError("not-found", `${bootloader} has its entries in the ESP, and no ESP was given`, {
    reason: "E_NO_ESP",
    hint: "say with --esp where it is mounted",
  });
}
