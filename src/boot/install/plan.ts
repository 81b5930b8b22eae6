// What brings a deployment into the boot directory as bootc does it (docs/spec/boot.md, sections 10.2 to 10.4): its files, its entry and
// the kernel command line in it. Pure functions; the menu that the entry becomes a part of is the business of the caller.

import type { BootEntry, EntryTarget } from "../entry/bls.ts";
import { extendCommandLine, splitCommandLine } from "../kargs/command-line.ts";
import {
  checkUkiDigest,
  isComposefsWord,
  renderComposefsArgument,
  setComposefsArgument,
} from "../kargs/composefs-argument.ts";
import { type GrubEntry, grubEspConfig, newGrubEntry } from "../entry/grub-config.ts";
import { addonPath, kernelDirectoryName, ukiPath } from "../entry/names.ts";
import type { BootLoader } from "../entry/order.ts";
import { displayBytes } from "../../bytes/byte-string.ts";
import { ComposefsError } from "../../error.ts";
import { updateKargs } from "../kargs/kargs-d.ts";
import type { BootStep, BootVolumeName } from "../change/steps.ts";
import type { BootDeployment, DeploymentKernel, DeploymentUki } from "./deployment.ts";

/** Where the entries of a boot loader lie: GRUB reads `/boot`, the others the ESP. */
export function entryVolume(loader: BootLoader): BootVolumeName {
  return loader === "grub" ? "boot" : "esp";
}

/** The parent of kernel directories, on {@link entryVolume}. Empty for the volume itself. */
export function kernelParent(loader: BootLoader): string {
  return loader === "grub" ? "" : "EFI/Linux/";
}

/** A part of a boot menu: a type 1 entry, or one of GRUB's `user.cfg`. */
export type PlannedEntry =
  | { readonly kind: "bls"; readonly entry: BootEntry }
  | { readonly kind: "grub"; readonly entry: GrubEntry };

/** What a deployment needs to be booted. */
export interface PlannedBoot {
  /** Everything that the entry refers to; all of it must be there before the entry is. */
  readonly files: readonly BootStep[];
  /** Its entry; names and sort-key are given when the menu is written. */
  readonly entry: PlannedEntry;
}

/** Where the command line of a kernel comes from. */
export interface KernelLineOptions {
  /** The id of the deployment. */
  readonly digest: string;
  /** The boot goes on without fs-verity. */
  readonly insecure?: boolean;
  /** Arguments that the image brings, from `imageKargs`. */
  readonly imageKargs?: string;
}

/** Options of {@link firstCommandLine}. */
export interface FirstLineOptions extends KernelLineOptions {
  /** For the root file system, as in `root=UUID=... rw`, and from the user; each may hold several. */
  readonly arguments?: readonly string[];
  /** `systemd.mount-extra=...` for a `/boot` of its own. */
  readonly bootMountArgument?: string | undefined;
}

/**
 * The kernel command line of a first installation.
 *
 * @throws ComposefsError `invalid` for arguments that name another image or end inside a quote
 */
export function firstCommandLine(options: FirstLineOptions): string {
  const { arguments: given = [], bootMountArgument, imageKargs = "" } = options;
  const argument = composefsArgument(options);
  const own = [...given, argument, ...(bootMountArgument === undefined ? [] : [bootMountArgument])];
  const line = updateKargs(own.reduce(extendCommandLine, ""), "", imageKargs);
  checkOptions(line, argument, "the kernel arguments");
  return line;
}

/** Options of {@link nextCommandLine}. */
export interface NextLineOptions extends KernelLineOptions {
  /** The options of the entry that is inherited from. */
  readonly current: string;
  /** Arguments that the image of that entry brings. */
  readonly currentKargs?: string;
  /** Further arguments, appended. */
  readonly arguments?: readonly string[];
  /** The entry, for messages. */
  readonly source: string;
}

/**
 * The kernel command line of an update: what was changed by hand stays.
 *
 * @throws ComposefsError `invalid` when it ends inside a quote or names another image
 */
export function nextCommandLine(options: NextLineOptions): string {
  const { current, currentKargs = "", imageKargs = "", arguments: given = [], source } = options;
  const argument = composefsArgument(options);
  const inherited = updateKargs(setComposefsArgument(current, argument), currentKargs, imageKargs);
  const line = given.reduce(extendCommandLine, inherited);
  checkOptions(line, argument, source);
  return line;
}

// The short form whatever the format is: bootc reads no other, and the initramfs program finds the format out.
function composefsArgument({ digest, insecure = false }: KernelLineOptions): string {
  return renderComposefsArgument({ version: 2, digest, insecure });
}

/** Options must name the image of the deployment and no other one: the initramfs program takes the first. */
function checkOptions(line: string, argument: string, source: string): void {
  const fail = (message: string, hint: string) =>
    new ComposefsError("invalid", `${source}: ${message}`, { path: source, hint });
  const words = splitCommandLine(line);
  if (!words.includes(argument))
    throw fail("a quote is not closed, which swallows what is added", "close it where the arguments come from");
  const other = words.find((word) => isComposefsWord(word) && word !== argument);
  if (other !== undefined)
    throw fail(`${other} names another image`, "leave it away: the argument of the image is added anyway");
}

/** Options of {@link planKernelBoot}. */
export interface KernelPlanOptions {
  readonly loader: BootLoader;
  readonly deployment: BootDeployment;
  readonly kernel: DeploymentKernel;
  /** The kernel command line. */
  readonly options: string;
  /** `/boot` is a file system of its own, so that GRUB's paths begin there. */
  readonly bootIsMountPoint?: boolean;
  /** The name of a directory that has this kernel already; nothing is copied then. */
  readonly shared?: string | undefined;
}

/** Plans the boot of a plain kernel. */
export function planKernelBoot(options: KernelPlanOptions): PlannedBoot {
  const { loader, deployment, kernel, shared, bootIsMountPoint = false } = options;
  const directory = shared ?? kernelDirectoryName(deployment.digest);
  const on = entryVolume(loader);
  const path = `${kernelParent(loader)}${directory}`;
  const root = loader === "grub" ? (bootIsMountPoint ? "/" : "/boot/") : `/${kernelParent(loader)}`;
  const target = { kind: "linux", linux: `${root}${directory}/vmlinuz` } as const;
  return {
    files:
      shared === undefined
        ? [
            { do: "copy", on, path: `${path}/vmlinuz`, file: kernel.vmlinuz },
            { do: "copy", on, path: `${path}/initrd`, file: kernel.initrd },
          ]
        : [],
    entry: { kind: "bls", entry: newEntry(deployment, target, [`${root}${directory}/initrd`], options.options) },
  };
}

/**
 * The kernel directory that has a kernel already: of several the one with the smallest name.
 *
 * @param kernelDirectories boot digests by name, without those that cannot be read
 */
export function sharedKernel(kernelDirectories: ReadonlyMap<string, string>, bootDigest: string): string | undefined {
  return [...kernelDirectories]
    .filter(([, digest]) => digest === bootDigest)
    .map(([name]) => name)
    .toSorted()[0];
}

function newEntry(
  { title, version }: BootDeployment,
  target: EntryTarget,
  initrd: readonly string[] = [],
  options?: string,
): BootEntry {
  return { title, version, target, initrd, options, machineId: undefined, sortKey: undefined, extra: new Map() };
}

/** Options of {@link planUkiBoot}. */
export interface UkiPlanOptions {
  readonly loader: BootLoader;
  /** Its title is the label of the UKI. */
  readonly deployment: BootDeployment;
  readonly uki: DeploymentUki;
  /** `uki` for systemd-boot from 258 on. GRUB knows only `efi`. */
  readonly key?: "efi" | "uki" | undefined;
  /** The command line of the UKI: it must name the deployment. Not checked when left out. */
  readonly commandLine?: string;
  /** Kernel arguments of the user: a UKI takes none. */
  readonly arguments?: readonly string[];
  /** For GRUB: UUID of the file system of the ESP. Not needed where `efiuuid.cfg` is there. */
  readonly espUuid?: string | undefined;
  /** Whether GRUB has an `efiuuid.cfg`, and the ESP of another loader a `loader/loader.conf`. */
  readonly configExists?: boolean;
}

/**
 * Plans the boot of a UKI.
 *
 * @throws ComposefsError `usage` for arguments of the user (`cmdline-on-uki`) and for an ESP whose UUID is not known or not fit to be
 *   written; those of `checkUkiDigest`
 */
export function planUkiBoot(options: UkiPlanOptions): PlannedBoot {
  const { loader, deployment, uki, commandLine, key = "efi", arguments: given = [], configExists = false } = options;
  const { digest } = deployment;
  if (given.length > 0)
    throw new ComposefsError("usage", `a UKI has its own kernel command line, to which ${given[0]} cannot be added`, {
      reason: "cmdline-on-uki",
      hint: "put the argument into the UKI when it is built",
    });
  if (commandLine !== undefined)
    checkUkiDigest(commandLine, digest.length === 64 ? "sha256" : "sha512", [digest], displayBytes(uki.uki.path));
  const config: BootStep[] = configExists
    ? []
    : loader === "grub"
      ? [{ do: "write", on: "boot", path: "grub2/efiuuid.cfg", text: espConfig(options.espUuid) }]
      : [{ do: "write", on: "esp", path: "loader/loader.conf", text: "timeout 5" }];
  const path = ukiPath(digest);
  return {
    files: [
      { do: "copy", on: "esp", path, file: uki.uki },
      ...uki.addons.map(({ name, file }): BootStep => ({ do: "copy", on: "esp", path: addonPath(digest, name), file })),
      ...config,
    ],
    entry:
      loader === "grub"
        ? { kind: "grub", entry: newGrubEntry(deployment.title, digest) }
        : {
            kind: "bls",
            entry: newEntry(deployment, { kind: loader === "systemd" ? key : "efi", path: `/${path}` }),
          },
  };
}

function espConfig(uuid: string | undefined): string {
  if (uuid !== undefined && /^[0-9A-Za-z-]+$/.test(uuid)) return grubEspConfig(uuid);
  throw new ComposefsError("usage", "GRUB finds the UKI by the UUID of the ESP's file system, which is not known", {
    hint: "`blkid` prints it; give it with --esp-uuid",
  });
}
