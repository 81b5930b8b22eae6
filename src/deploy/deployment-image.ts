// What a deployment is made of (docs/spec/deployments.md, section 4.2): an image is pulled under the tag that keeps it, its boot image is
// made, and what it boots with is found in it.

import { join } from "node:path";
import { OsRelease } from "../boot/os-release.ts";
import { repositoryBodies } from "../boot/boot-directory.ts";
import { kernelBootDigest } from "../boot/install/boot-digest.ts";
import {
  type BootDeployment,
  chooseDeploymentBoot,
  type DeploymentKernel,
  type DeploymentUki,
  describeDeployment,
} from "../boot/install/deployment.ts";
import { findComposefsArgument } from "../boot/kargs/composefs-argument.ts";
import { PeFile } from "../boot/pe/read.ts";
import { openImageFile } from "../boot/repository-files.ts";
import type { BootResource } from "../boot/resource.ts";
import { readText } from "../boot/tree-file.ts";
import { ukiBootDigest, ukiCommandLine, ukiLabel, ukiOsRelease, untilNul } from "../boot/uki/uki.ts";
import type { ObjectId } from "../bytes/algorithm.ts";
import { displayBytes } from "../bytes/byte-string.ts";
import { ComposefsError } from "../error.ts";
import type { Digest } from "../oci/digest.ts";
import type { Platform } from "../oci/platform.ts";
import { pull } from "../oci/pull.ts";
import type { PullResult } from "../oci/pull-options.ts";
import type { RegistryOptions } from "../oci/registry/requests.ts";
import { makeBootImages, type StoredBoot } from "../oci/stored-boot.ts";
import { openImage, requireContainer } from "../oci/stored-image.ts";
import { storedTree } from "../repository/stored-tree.ts";
import type { Directory } from "../tree/node.ts";
import { kargsOf } from "./base-image.ts";
import { freeSpace } from "./free-space.ts";
import { ownedTag } from "./gc.ts";
import { explainByDump } from "./uki-dump.ts";
import { type HostImage, originReference, pullReference } from "./image-reference.ts";
import { readDeployments } from "./deployments.ts";
import { migrateFormats } from "./migrate-formats.ts";
import type { OpenSysroot } from "./open-sysroot.ts";
import { holdsImage, ownedImages } from "./unified/owned-storage.ts";
import { pullUnified } from "./unified/pull-unified.ts";

/** How images are fetched. */
export interface FetchOptions {
  /** How to reach a registry. */
  readonly registry?: RegistryOptions | undefined;
  /** Which image of an index; this machine's when left out. */
  readonly platform?: Platform | undefined;
  /**
   * By way of the container storage of the sysroot, where the image can then be run. Left out: when that has the image, or the one of a
   * deployment.
   */
  readonly unified?: boolean | undefined;
}

/** An image that can become a deployment. */
export interface DeploymentImage {
  readonly manifest: Digest;
  /** The id of its boot image. */
  readonly id: ObjectId;
  /** The boot image. */
  readonly tree: Directory;
  readonly boot: DeploymentKernel | DeploymentUki;
  readonly description: BootDeployment;
  /** SHA-256 over kernel and initramfs. */
  readonly bootDigest: string;
  /** Kernel arguments that the image brings. */
  readonly kargs: string;
  /** As the config has it: `amd64`. */
  readonly architecture: string;
}

/** os-release files are some hundred bytes. */
const OS_RELEASE_LIMIT = 1 << 16;

/** What is left free of a repository's file system, as a part of what is fetched: sizes are those of compressed layers. */
const RESERVE = 1.1;

/**
 * Pulls an image, and tags it in the same step so that no collection can come between.
 *
 * @throws ComposefsError as `pull`; with the reason `E_NO_SPACE` before anything is fetched; `unsupported` for a reference that wants
 *   signatures to be checked
 */
export async function pullDeploymentImage(
  sysroot: OpenSysroot,
  reference: HostImage,
  { registry, platform, unified }: FetchOptions = {},
): Promise<PullResult> {
  const { repository, signal, onProgress } = sysroot;
  checkSignature(reference);
  await migrateFormats(sysroot, { signal, onProgress });
  const pulled =
    (unified ?? (await isUnified(sysroot, reference)))
      ? await pullUnified(sysroot, reference, { registry, platform, tag: ownedTag })
      : await pull(repository, pullReference(reference), {
          tag: ownedTag,
          registry,
          platform,
          signal,
          onProgress,
          beforeImport: (bytes) => checkRepositorySpace(repository.path, bytes, pullReference(reference)),
        });
  await repository.barrier();
  return pulled;
}

/** Whether the container storage of the sysroot has the image, or that of a deployment. */
async function isUnified(sysroot: OpenSysroot, reference: HostImage): Promise<boolean> {
  const stored = ownedImages(sysroot.location.sysroot);
  if (stored === undefined) return false;
  const { booted, staged, rollback, others } = readDeployments(await sysroot.readState());
  const images = [booted, staged, rollback, ...others].flatMap((one) => one?.image ?? []);
  return holdsImage(stored, [reference, ...images]);
}

/** What cannot be checked is not fetched. @throws ComposefsError `unsupported` */
export function checkSignature(reference: HostImage): void {
  if (reference.signature === undefined) return;
  throw new ComposefsError(
    "unsupported",
    `${originReference(reference)} wants signatures to be checked, which cannot be done`,
    {
      hint: "switch to the same image without that, or update with a tool that checks signatures",
    },
  );
}

function checkRepositorySpace(path: string, bytes: number, name: string): void {
  const free = freeSpace(join(path, "objects"));
  const needed = Math.ceil(bytes * RESERVE);
  if (bytes === 0 || needed <= free) return;
  throw new ComposefsError(
    "no-space",
    `the layers of ${name} that are missing need ${needed} bytes, and the file system of ${path} has ${free} left`,
    {
      path,
      reason: "E_NO_SPACE",
      hint: "delete a deployment and run `composefs deploy gc`, or make the file system larger",
    },
  );
}

/**
 * Makes the boot image of a pulled image and finds what it boots with.
 *
 * @param addons names of addons of the UKI that are wanted, without `.addon.efi`
 * @throws ComposefsError with the reason `E_NO_BOOT_ENTRIES`, `E_UKI_DIGEST` or `E_KARGS_FILE`; those of `makeBootImages` and
 *   `chooseDeploymentBoot`
 */
export async function openDeploymentImage(
  sysroot: OpenSysroot,
  manifest: Digest,
  addons: readonly string[] = [],
): Promise<DeploymentImage> {
  const { repository, signal, onProgress } = sysroot;
  const { architecture } = requireContainer(await openImage(repository, `@${manifest}`));
  const made = await makeBootImages(repository, `@${manifest}`, { signal, onProgress });
  const boot = chooseBoot(made, manifest, addons);
  const [usual] = made.images;
  if (usual === undefined) throw new TypeError("a repository has at least one format");
  const uki = boot.kind === "uki" ? readUki(sysroot, boot) : undefined;
  const id = boot.kind === "uki" && uki ? await findUkiImage(sysroot, manifest, usual.id, boot, uki) : usual.id;
  const tree = storedTree(repository, id);
  return {
    manifest,
    id,
    tree,
    boot,
    description: uki
      ? { ...describeDeployment(id, uki.osRelease), title: uki.label }
      : describeDeployment(id, await kernelOsRelease(sysroot, made.resources)),
    bootDigest:
      boot.kind === "uki"
        ? await withUki(sysroot, boot, (pe) => ukiBootDigest(pe, signal))
        : await kernelBootDigest(boot, (file) => openImageFile(repository, file), signal),
    kargs: await kargsOf(sysroot, tree, architecture, manifest),
    architecture,
  };
}

function chooseBoot(
  { resources }: StoredBoot,
  manifest: Digest,
  addons: readonly string[],
): DeploymentKernel | DeploymentUki {
  try {
    return chooseDeploymentBoot(resources, addons);
  } catch (error) {
    if (!(error instanceof ComposefsError) || error.reason !== "no-entries") throw error;
    throw new ComposefsError(error.code, `the image ${manifest} cannot be booted: ${error.message}`, {
      cause: error,
      digest: manifest,
      reason: "E_NO_BOOT_ENTRIES",
      hint: "it needs /usr/lib/modules/VERSION/vmlinuz with initramfs.img, or a UKI in /boot/EFI/Linux",
    });
  }
}

interface UkiText {
  readonly path: string;
  readonly commandLine: string;
  readonly label: string;
  readonly osRelease: OsRelease;
}

function withUki<T>({ repository }: OpenSysroot, { uki }: DeploymentUki, use: (pe: PeFile) => T): T {
  const file = openImageFile(repository, uki);
  const close = () => file[Symbol.dispose]();
  let result: T;
  try {
    result = use(PeFile.read(file, displayBytes(uki.path)));
  } catch (error) {
    close();
    throw error;
  }
  if (result instanceof Promise) return result.finally(close) as T;
  close();
  return result;
}

function readUki(sysroot: OpenSysroot, boot: DeploymentUki): UkiText {
  return withUki(sysroot, boot, (pe) => ({
    path: displayBytes(boot.uki.path),
    commandLine: untilNul(ukiCommandLine(pe)),
    label: ukiLabel(pe),
    osRelease: ukiOsRelease(pe),
  }));
}

// The UKI decides: its image may be of another format, or made with other attributes, than is usual in this repository.
async function findUkiImage(
  sysroot: OpenSysroot,
  manifest: Digest,
  usual: ObjectId,
  { uki }: DeploymentUki,
  { path, commandLine }: UkiText,
): Promise<ObjectId> {
  const { repository, signal, onProgress } = sysroot;
  const named = findComposefsArgument(commandLine, repository.algorithm, `the command line of ${path}`);
  if (named?.digest === usual) return usual;
  const fail = (message: string, cause?: unknown) =>
    new ComposefsError("digest-mismatch", message, {
      cause,
      path,
      digest: named?.digest ?? usual,
      reason: "E_UKI_DIGEST",
      hint: "`composefs explain` finds out which image has the digest of the UKI; build the UKI anew for this one",
    });
  if (named === undefined)
    throw fail(
      `the command line of ${path} names no composefs image for ${repository.algorithm}; this one is ${usual}`,
    );
  try {
    await makeBootImages(repository, `@${manifest}`, { expectedDigest: named.digest, signal, onProgress });
    return named.digest;
  } catch (error) {
    if (!(error instanceof ComposefsError) || error.code !== "digest-mismatch") throw error;
    const why = await explainByDump(sysroot, manifest, uki.path, storedTree(repository, usual));
    throw fail(
      `${path} boots the image ${named.digest}, but the image ${manifest} has ${usual}, and no other way of making it gives the digest of the UKI${why === undefined ? "" : ` (${why})`}`,
      error,
    );
  }
}

async function kernelOsRelease(
  { repository }: OpenSysroot,
  resources: readonly BootResource[],
): Promise<OsRelease | undefined> {
  const kernel = resources.find((one) => one.kind === "vmlinuz");
  if (kernel?.osRelease === undefined) return undefined;
  return OsRelease.parse(await readText(kernel.osRelease, repositoryBodies(repository), OS_RELEASE_LIMIT));
}
