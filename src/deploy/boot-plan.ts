// How a new deployment is booted (docs/spec/deployments.md, sections 4.3 and 4.4): its files and its entry, with what the entry inherits
// from the deployment that it is based on.

import { statSync } from "node:fs";
import { join } from "node:path";
import { kernelDirectoryDigests } from "../boot/install/boot-digest.ts";
import {
  entryVolume,
  firstCommandLine,
  nextCommandLine,
  type PlannedBoot,
  planKernelBoot,
  planUkiBoot,
  sharedKernel,
} from "../boot/install/plan.ts";
import { readComposefsArgument } from "../boot/kargs/composefs-argument.ts";
import { ComposefsError } from "../error.ts";
import type { DeploymentImage } from "./deployment-image.ts";
import { entryOptions, type MenuEntry } from "./menu-entry.ts";
import type { OpenSysroot } from "./open-sysroot.ts";

/** What the entry of a new deployment is made with. */
export interface BootPlanOptions {
  /** Further kernel arguments. */
  readonly kargs?: readonly string[] | undefined;
  /** Whether the boot is to go on without fs-verity; as the entry that is inherited from says, or as the repository does, when left out. */
  readonly allowMissingVerity?: boolean | undefined;
  /** For a UKI that GRUB boots: UUID of the file system of the ESP. */
  readonly espUuid?: string | undefined;
}

/** The entry that a new one inherits from, and the kernel arguments of its image. */
export interface BootBase {
  readonly entry: MenuEntry;
  readonly kargs: string;
}

/**
 * Plans the boot of a deployment.
 *
 * @param base undefined for a first installation
 * @throws ComposefsError with the reason `E_NO_ESP`; `unsupported` where GRUB would not show the entry; those of `planUkiBoot` and the
 *   command lines
 */
export async function planBoot(
  sysroot: OpenSysroot,
  image: DeploymentImage,
  base: BootBase | undefined,
  options: BootPlanOptions = {},
): Promise<PlannedBoot> {
  const { location, volumes, repository, signal } = sysroot;
  const { bootloader: loader } = location;
  const { id: digest, boot, description: deployment } = image;
  const { kargs = [], espUuid } = options;
  if (boot.kind === "uki") {
    const { esp } = volumes;
    if (esp === undefined) throw noEsp(image);
    const target = base?.entry.source.kind === "bls" ? base.entry.source.entry.target.kind : undefined;
    const config = loader === "grub" ? sysroot.boot.mode("grub2/efiuuid.cfg") : esp.mode("loader/loader.conf");
    return planUkiBoot({
      loader,
      deployment,
      uki: boot,
      arguments: kargs,
      espUuid,
      key: target === "uki" ? "uki" : "efi",
      configExists: config !== undefined || (loader !== "grub" && base !== undefined),
    });
  }
  const inherited = base && entryOptions(base.entry);
  const named = inherited === undefined ? undefined : readComposefsArgument(inherited, repository.algorithm);
  const insecure = options.allowMissingVerity ?? named?.insecure ?? !repository.secure;
  const line = { digest, insecure, imageKargs: image.kargs, arguments: kargs };
  const shared =
    base && sharedKernel(await kernelDirectoryDigests(kernelVolume(sysroot), loader, signal), image.bootDigest);
  return planKernelBoot({
    loader,
    deployment,
    kernel: boot,
    shared,
    bootIsMountPoint: bootIsMountPoint(sysroot, base),
    options:
      base && inherited !== undefined
        ? nextCommandLine({ ...line, current: inherited, currentKargs: base.kargs, source: base.entry.file })
        : firstCommandLine(line),
  });
}

function kernelVolume({ volumes, location }: OpenSysroot) {
  const volume = volumes[entryVolume(location.bootloader)];
  if (volume === undefined) throw new TypeError("boot loaders other than GRUB have an ESP");
  return volume;
}

function noEsp({ boot, manifest }: DeploymentImage): ComposefsError {
  return new ComposefsError(
    "not-found",
    `the image ${manifest} boots a ${boot.kind.toUpperCase()}, which lies in the ESP, and no ESP was given`,
    {
      digest: manifest,
      reason: "E_NO_ESP",
      hint: "say with --esp where it is mounted",
    },
  );
}

// The paths of GRUB begin at the root of the file system that holds them: what an entry says is right, whatever this machine mounts.
function bootIsMountPoint({ location: { sysroot, boot } }: OpenSysroot, base: BootBase | undefined): boolean {
  const source = base?.entry.source;
  if (source?.kind === "bls" && source.entry.target.kind === "linux")
    return !source.entry.target.linux.startsWith("/boot/");
  if (boot !== join(sysroot, "boot")) return true;
  const device = (path: string) => statSync(path, { throwIfNoEntry: false })?.dev;
  return device(boot) !== undefined && device(boot) !== device(sysroot);
}

/**
 * GRUB shows either `user.cfg` or the entries: a kernel beside UKIs would not be seen, and UKIs would hide every kernel.
 *
 * @throws ComposefsError `unsupported`
 */
export function checkOneKindOfEntry({ entry }: PlannedBoot, others: readonly MenuEntry[], manifest: string): void {
  const other = others.find(({ source }) => source.kind !== entry.kind);
  if (other === undefined) return;
  const [mine, theirs] = entry.kind === "grub" ? ["a UKI", "a kernel"] : ["a kernel", "a UKI"];
  throw new ComposefsError(
    "unsupported",
    `the image ${manifest} boots ${mine}, the deployment ${other.verity} ${theirs}, and GRUB shows only one kind`,
    {
      digest: other.verity,
      path: other.file,
      hint: "install the image into a new sysroot, or use a boot loader that reads entries from the ESP",
    },
  );
}
