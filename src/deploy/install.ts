// `deploy install`: the first deployment of a sysroot (docs/spec/deployments.md, section 4.3). The boot entry comes last: whatever is in
// the menu boots.

import { openImageFile } from "../boot/repository-files.ts";
import { carryOut, type StepResult } from "../boot/change/carry-out.ts";
import { ComposefsError } from "../error.ts";
import type { Digest } from "../oci/digest.ts";
import { planBoot, checkOneKindOfEntry, type BootPlanOptions } from "./boot-plan.ts";
import { checkRoom, makeRoom } from "./boot-space.ts";
import { createSysroot, type CreateSysrootOptions } from "./create-sysroot.ts";
import { type FetchOptions, openDeploymentImage, pullDeploymentImage } from "./deployment-image.ts";
import { firstOfEach } from "./deployments.ts";
import type { HostImage } from "./image-reference.ts";
import { locateSysroot, type SysrootLocation, type SysrootPaths } from "./location.ts";
import { type Menu, readMenu } from "./menu.ts";
import { activateMenu, stageMenu } from "./menu-files.ts";
import { OpenSysroot, type OpenSysrootOptions } from "./open-sysroot.ts";
import { resolveTarget } from "./resolve-target.ts";
import { writeMenu } from "./rollback.ts";
import { type MetadataOptions, newOrigin, writeStateDirectory } from "./state-directory.ts";
import { readSysroot } from "./sysroot.ts";

/** Options of {@link installDeployment}. */
export interface InstallOptions
  extends OpenSysrootOptions,
    FetchOptions,
    MetadataOptions,
    Pick<CreateSysrootOptions, "algorithm" | "erofsVersion">,
    Omit<BootPlanOptions, "allowMissingVerity"> {
  /**
   * What the installed system is to do about files without fs-verity, whatever this machine can: `sealed` does not boot them, and
   * `allow-missing` does. As the repository requires when left out.
   */
  readonly verity?: "sealed" | "allow-missing" | undefined;
  /** The reference that upgrades follow; the one that is installed when left out. */
  readonly target?: HostImage | undefined;
  /** Names of addons of the UKI that are wanted, without `.addon.efi`. */
  readonly addons?: readonly string[] | undefined;
  /** Install beside deployments that are there; the new one becomes the default. */
  readonly allowExisting?: boolean | undefined;
  /** Find out whether it could be installed, and write nothing. */
  readonly dryRun?: boolean | undefined;
}

/** What an installation did. */
export interface InstalledDeployment {
  readonly dryRun: boolean;
  readonly manifest: Digest;
  /** Not known with `dryRun`, like all about the image that follows. */
  readonly id: string | undefined;
  readonly bootType: "bls" | "uki" | undefined;
  readonly bootDigest: string | undefined;
  /** The menu, the default first. */
  readonly order: readonly string[];
  /** What became of the files that it boots. */
  readonly files: readonly StepResult[];
}

/**
 * Installs an image into a sysroot. Makes the repository, and can be repeated after it was cut anywhere.
 *
 * @param reference what is pulled
 * @throws ComposefsError with the reason `E_ALREADY_INSTALLED`, `E_BOOTLOADER_UNKNOWN`, `E_NO_ESP`, `E_READ_ONLY`, `E_NO_SPACE`,
 *   `E_NO_BOOT_ENTRIES`, `E_UKI_DIGEST`, `E_KARGS_FILE`, `E_ORIGIN_VALUE`, `E_LOCKED`
 * @example
 * ```ts
 * const paths = { sysroot: "/mnt", bootloader: "systemd", esp: "/mnt/efi" } as const;
 * const image = { transport: "oci", image: "./image:v1" } as const;
 * const { id } = await installDeployment(paths, image, { kargs: ["root=LABEL=root", "rw"], verity: "sealed" });
 * ```
 */
export async function installDeployment(
  paths: SysrootPaths,
  reference: HostImage,
  options: InstallOptions = {},
): Promise<InstalledDeployment> {
  const location = locateSysroot(paths);
  if (options.dryRun) return tryInstall(location, reference, options);
  await createSysroot(location, { ...options, verity: REPOSITORY_VERITY[options.verity ?? "as-repository"] });
  await using sysroot = await OpenSysroot.open(location, options);
  const menu = readMenu(await sysroot.readState());
  checkMenu(menu, options, location.sysroot);
  const { manifestDigest } = await pullDeploymentImage(sysroot, reference, options);
  const image = await openDeploymentImage(sysroot, manifestDigest, options.addons);
  const others = firstOfEach(menu.active.entries);
  checkNotThere(image.id, others, location.sysroot);
  const origin = newOrigin(options.target ?? reference, image);
  const boot = await planBoot(sysroot, image, undefined, {
    ...options,
    ...(options.verity !== undefined && { allowMissingVerity: options.verity === "allow-missing" }),
  });
  checkOneKindOfEntry(boot, others, manifestDigest);
  await makeRoom(sysroot, await checkRoom(sysroot, boot.files));
  const { volumes, repository, signal, onProgress } = sysroot;
  const open = (file: Parameters<typeof openImageFile>[1]) => openImageFile(repository, file);
  const files = await carryOut(volumes, boot.files, { open, signal, onProgress });
  await writeStateDirectory(sysroot, image, origin, options);
  const entries = [{ source: boot.entry }, ...others];
  await stageMenu(sysroot.boot, writeMenu(location.bootloader, entries, image.description.osId), signal);
  await activateMenu(sysroot.boot, location.bootloader);
  return {
    dryRun: false,
    id: image.id,
    manifest: manifestDigest,
    bootType: image.boot.kind,
    bootDigest: image.bootDigest,
    order: [image.id, ...others.map(({ verity }) => verity)],
    files,
  };
}

// What is sealed is so on its disk: whether this machine can do it, too, does not matter.
const REPOSITORY_VERITY = {
  "as-repository": "required",
  sealed: "if-possible",
  "allow-missing": "not-required",
} as const;

async function tryInstall(
  location: SysrootLocation,
  reference: HostImage,
  options: InstallOptions,
): Promise<InstalledDeployment> {
  const { signal, lock } = options;
  const menu = readMenu(await readSysroot(location, { signal, lock }));
  checkMenu(menu, options, location.sysroot);
  const { digest } = await resolveTarget(options, reference, options);
  const order = firstOfEach(menu.active.entries).map(({ verity }) => verity);
  return {
    dryRun: true,
    manifest: digest,
    id: undefined,
    bootType: undefined,
    bootDigest: undefined,
    order,
    files: [],
  };
}

function checkMenu(menu: Menu, { allowExisting = false }: InstallOptions, sysroot: string): void {
  if (menu.syntaxError) throw menu.syntaxError;
  const [first] = [...menu.active.entries, ...menu.active.broken];
  if (first === undefined || allowExisting) return;
  throw new ComposefsError("exists", `${sysroot} has a deployment already: ${first.verity}`, {
    path: sysroot,
    digest: first.verity,
    reason: "E_ALREADY_INSTALLED",
    hint: "`composefs deploy switch` goes to another image; --allow-existing installs beside it",
  });
}

function checkNotThere(id: string, others: readonly { verity: string }[], sysroot: string): void {
  if (!others.some(({ verity }) => verity === id)) return;
  throw new ComposefsError("exists", `the deployment ${id} is in the menu of ${sysroot} already`, {
    path: sysroot,
    digest: id,
    reason: "E_ALREADY_INSTALLED",
    hint: "`composefs deploy rollback --to` makes it the default",
  });
}
