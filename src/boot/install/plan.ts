// The steps that bring a deployment into the boot directory as bootc does it (docs/spec/boot.md, sections 10.2 to 10.5): the first
// installation, an upgrade that is staged, its activation, and a rollback. Pure functions from what is there to a list of steps.

import type { EntryTarget, BootEntry } from "../entry/bls.ts";
import { extendCommandLine, splitCommandLine } from "../kargs/command-line.ts";
import {
  checkUkiDigest,
  isComposefsWord,
  renderComposefsArgument,
  setComposefsArgument,
} from "../kargs/composefs-argument.ts";
import { type GrubEntry, grubEntryDigest, grubEspConfig, newGrubEntry, writeGrubConfig } from "../entry/grub-config.ts";
import { findDeployment, type Menu, planRollback } from "../entry/menu.ts";
import { addonPath, kernelDirectoryName, nameEntrySet, ukiPath } from "../entry/names.ts";
import type { BootLoader } from "../entry/order.ts";
import { displayBytes } from "../../bytes/byte-string.ts";
import { ComposefsError } from "../../error.ts";
import { updateKargs } from "../kargs/kargs-d.ts";
import type { BootStep, BootVolumeName } from "../change/steps.ts";
import { writeBootEntry } from "../entry/bls.ts";
import type { BootDeployment, DeploymentKernel, DeploymentUki } from "./deployment.ts";

/** The directory below GRUB's own that holds `user.cfg`. */
const GRUB_CONFIG = "grub2/user.cfg";
const GRUB_STAGED = "grub2/user.cfg.staged";

/** Where the entries of a boot loader lie: GRUB reads `/boot`, the others the ESP. */
export function entryVolume(loader: BootLoader): BootVolumeName {
  return loader === "grub" ? "boot" : "esp";
}

/** The parent of kernel directories, on {@link entryVolume}. Empty for the volume itself. */
export function kernelParent(loader: BootLoader): string {
  return loader === "grub" ? "" : "EFI/Linux/";
}

/** What is common to a plan for a kernel. */
export interface KernelPlanOptions {
  readonly loader: BootLoader;
  readonly deployment: BootDeployment;
  readonly kernel: DeploymentKernel;
  /** `/boot` is a file system of its own, so that GRUB's paths begin there. */
  readonly bootIsMountPoint?: boolean;
  /** The boot goes on without fs-verity. */
  readonly insecure?: boolean;
  /** Arguments that the image brings, from `imageKargs`. */
  readonly imageKargs?: string;
}

/** Options of {@link planKernelInstall}. */
export interface KernelInstallOptions extends KernelPlanOptions {
  /** For the root file system, as in `root=UUID=... rw`. */
  readonly rootArguments?: readonly string[];
  /** From the user; each may hold several. */
  readonly userArguments?: readonly string[];
  /** `systemd.mount-extra=...` for a `/boot` of its own. */
  readonly bootMountArgument?: string | undefined;
}

/**
 * The first installation of a deployment with a plain kernel.
 *
 * @throws ComposefsError `invalid` for arguments that name another image or end inside a quote
 */
export function planKernelInstall(options: KernelInstallOptions): BootStep[] {
  const {
    deployment,
    insecure = false,
    rootArguments = [],
    userArguments = [],
    bootMountArgument,
    imageKargs,
  } = options;
  const argument = renderComposefsArgument({ version: 2, digest: deployment.digest, insecure });
  const own = [
    ...rootArguments,
    ...userArguments,
    argument,
    ...(bootMountArgument === undefined ? [] : [bootMountArgument]),
  ];
  const line = updateKargs(own.reduce(extendCommandLine, ""), "", imageKargs ?? "");
  checkOptions(line, argument, "the kernel arguments");
  const directory = kernelDirectoryName(deployment.digest);
  return [
    ...kernelSteps(options, directory),
    ...firstEntry(options.loader, kernelEntry(options, directory, line), deployment),
  ];
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

/** Options of {@link planKernelUpgrade}. */
export interface KernelUpgradeOptions extends KernelPlanOptions {
  /** The active entries. */
  readonly menu: Menu;
  /** The deployment that runs. */
  readonly booted: string;
  /** Arguments that its image brings. */
  readonly bootedKargs?: string;
  /** Hex SHA-256 of kernel and initramfs of the new image. */
  readonly bootDigest: string;
  /** The same of the kernel directories that are there, by name; without those that cannot be read. */
  readonly kernelDirectories: ReadonlyMap<string, string>;
}

/**
 * Stages an upgrade: a kernel that is there already is shared, the entry of the running deployment stays as the second one.
 *
 * @throws ComposefsError `not-found` when the running deployment has no entry; `invalid` when the options end inside a quote or name another image
 */
export function planKernelUpgrade(options: KernelUpgradeOptions): BootStep[] {
  const { loader, deployment, menu, booted, bootedKargs = "", imageKargs = "", insecure = false } = options;
  const current = findDeployment(menu, booted);
  const argument = renderComposefsArgument({ version: 2, digest: deployment.digest, insecure });
  const line = updateKargs(setComposefsArgument(current.entry.options ?? "", argument), bootedKargs, imageKargs);
  checkOptions(line, argument, current.name);
  const shared = [...options.kernelDirectories]
    .filter(([, digest]) => digest === options.bootDigest)
    .map(([name]) => name)
    .toSorted()[0];
  const directory = shared ?? kernelDirectoryName(deployment.digest);
  return [
    ...(shared === undefined ? kernelSteps(options, directory) : []),
    stage(loader, deployment, [kernelEntry(options, directory, line), current.entry]),
  ];
}

function kernelSteps({ loader, kernel }: KernelPlanOptions, directory: string): BootStep[] {
  const on = entryVolume(loader);
  const path = `${kernelParent(loader)}${directory}`;
  return [
    { do: "copy", on, path: `${path}/vmlinuz`, file: kernel.vmlinuz },
    { do: "copy", on, path: `${path}/initrd`, file: kernel.initrd },
  ];
}

function kernelEntry(
  { loader, deployment, bootIsMountPoint = false }: KernelPlanOptions,
  directory: string,
  options: string,
): BootEntry {
  const root = loader === "grub" ? (bootIsMountPoint ? "/" : "/boot/") : `/${kernelParent(loader)}`;
  const path = `${root}${directory}`;
  return newEntry(deployment, { kind: "linux", linux: `${path}/vmlinuz` }, [`${path}/initrd`], options);
}

function newEntry(
  { title, version }: BootDeployment,
  target: EntryTarget,
  initrd: readonly string[] = [],
  options?: string,
): BootEntry {
  return { title, version, target, initrd, options, machineId: undefined, sortKey: undefined, extra: new Map() };
}

function firstEntry(loader: BootLoader, entry: BootEntry, { osId }: BootDeployment): BootStep[] {
  return nameEntrySet(loader, osId, [entry]).map((named) => ({
    do: "write",
    on: entryVolume(loader),
    path: `loader/entries/${named.name}`,
    text: writeBootEntry(named.entry),
  }));
}

function stage(loader: BootLoader, { osId }: BootDeployment, entries: readonly BootEntry[]): BootStep {
  return { do: "stage", on: entryVolume(loader), entries: nameEntrySet(loader, osId, entries) };
}

/** What is common to a plan for a UKI. */
export interface UkiPlanOptions {
  readonly loader: BootLoader;
  /** Its title is the label of the UKI. */
  readonly deployment: BootDeployment;
  readonly uki: DeploymentUki;
  /** `uki` for systemd-boot from 258 on. GRUB knows only `efi`. */
  readonly key?: "efi" | "uki";
  /** The command line of the UKI: it must name the deployment. Not checked when left out. */
  readonly commandLine?: string;
}

/** Options of {@link planUkiInstall}. */
export interface UkiInstallOptions extends UkiPlanOptions {
  /** Kernel arguments of the user: a UKI takes none. */
  readonly userArguments?: readonly string[];
  /** For GRUB: UUID of the file system of the ESP. */
  readonly espUuid?: string | undefined;
  /** Whether the ESP has a `loader/loader.conf`. */
  readonly loaderConfExists?: boolean;
}

/**
 * The first installation of a deployment with a UKI.
 *
 * @throws ComposefsError `usage` for arguments of the user (`cmdline-on-uki`) and for an ESP whose UUID is not known or not fit to be
 *   written; those of `checkUkiDigest`
 */
export function planUkiInstall(options: UkiInstallOptions): BootStep[] {
  const { loader, deployment, userArguments = [], espUuid, loaderConfExists = false } = options;
  if (userArguments.length > 0)
    throw new ComposefsError(
      "usage",
      `a UKI has its own kernel command line, to which ${userArguments[0]} cannot be added`,
      {
        reason: "cmdline-on-uki",
        hint: "put the argument into the UKI when it is built",
      },
    );
  const steps = ukiSteps(options);
  if (loader !== "grub") {
    if (!loaderConfExists) steps.push({ do: "write", on: "esp", path: "loader/loader.conf", text: "timeout 5" });
    return [...steps, ...firstEntry(loader, ukiEntry(options), deployment)];
  }
  if (espUuid === undefined || !/^[0-9A-Za-z-]+$/.test(espUuid))
    throw new ComposefsError("usage", "GRUB finds the UKI by the UUID of the ESP's file system, which is not known", {
      hint: "`blkid` prints it",
    });
  const first = newGrubEntry(deployment.title, deployment.digest);
  return [
    ...steps,
    { do: "write", on: "boot", path: "grub2/efiuuid.cfg", text: grubEspConfig(espUuid) },
    { do: "write", on: "boot", path: GRUB_CONFIG, text: writeGrubConfig([first]) },
  ];
}

/** Options of {@link planUkiUpgrade}. */
export interface UkiUpgradeOptions extends UkiPlanOptions {
  /** The deployment that runs. */
  readonly booted: string;
  /** The active entries; not for GRUB. */
  readonly menu?: Menu;
  /** The entries of `user.cfg`; for GRUB. */
  readonly grub?: readonly GrubEntry[];
}

/**
 * Stages an upgrade to another UKI; the entry of the running deployment stays as the second one.
 *
 * @throws ComposefsError `not-found` when the running deployment has no entry
 */
export function planUkiUpgrade(options: UkiUpgradeOptions): BootStep[] {
  const { loader, deployment, booted, menu = { entries: [], others: [] }, grub = [] } = options;
  const steps = ukiSteps(options);
  if (loader !== "grub")
    return [...steps, stage(loader, deployment, [ukiEntry(options), findDeployment(menu, booted).entry])];
  const entries = [newGrubEntry(deployment.title, deployment.digest), findGrubEntry(grub, booted)];
  return [...steps, { do: "write", on: "boot", path: GRUB_STAGED, text: writeGrubConfig(entries) }];
}

function ukiSteps({ deployment: { digest }, uki, commandLine }: UkiPlanOptions): BootStep[] {
  if (commandLine !== undefined)
    checkUkiDigest(commandLine, digest.length === 64 ? "sha256" : "sha512", [digest], displayBytes(uki.uki.path));
  return [
    { do: "copy", on: "esp", path: ukiPath(digest), file: uki.uki },
    ...uki.addons.map(({ name, file }): BootStep => ({ do: "copy", on: "esp", path: addonPath(digest, name), file })),
  ];
}

function ukiEntry({ loader, deployment, key = "efi" }: UkiPlanOptions): BootEntry {
  return newEntry(deployment, { kind: loader === "systemd" ? key : "efi", path: `/${ukiPath(deployment.digest)}` });
}

function findGrubEntry(entries: readonly GrubEntry[], digest: string): GrubEntry {
  const found = entries.find((entry) => grubDigest(entry) === digest);
  if (found) return found;
  throw new ComposefsError("not-found", `no entry of ${GRUB_CONFIG} is for the deployment ${digest}`, { digest });
}

function grubDigest(entry: GrubEntry): string | undefined {
  try {
    return grubEntryDigest(entry);
  } catch {
    return undefined;
  }
}

/** Makes what is staged the default. Harmless when nothing is. */
export function planFinalize(loader: BootLoader, boots: "bls" | "uki"): BootStep[] {
  return loader === "grub" && boots === "uki"
    ? [{ do: "rename", on: "boot", path: GRUB_STAGED, to: GRUB_CONFIG }]
    : [{ do: "activate", on: entryVolume(loader), loader }];
}

/**
 * Makes another deployment the default: the others follow in their present order. What was staged is dropped.
 *
 * @param digest the deployment that is to be the default
 * @param osId see `planRollback` of the menu
 * @throws ComposefsError `not-found` when it has no entry
 */
export function planEntryRollback(loader: BootLoader, menu: Menu, digest: string, osId?: string): BootStep[] {
  const on = entryVolume(loader);
  return [
    { do: "stage", on, entries: planRollback(loader, menu, digest, osId) },
    { do: "activate", on, loader },
  ];
}

/**
 * The same for the entries of GRUB's `user.cfg`.
 *
 * @throws ComposefsError `not-found` when it has no entry
 */
export function planGrubRollback(entries: readonly GrubEntry[], digest: string): BootStep[] {
  const first = findGrubEntry(entries, digest);
  const text = writeGrubConfig([first, ...entries.filter((entry) => entry !== first)]);
  return [{ do: "write", on: "boot", path: GRUB_STAGED, text }, ...planFinalize("grub", "uki")];
}
