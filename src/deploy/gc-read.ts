// Reads what a garbage collection of deployments is planned on (docs/spec/deployments.md, section 4.8): tags, manifests and images of the
// repository, and the boot files of a sysroot. Writes nothing.

import { join } from "node:path";
import type { BootLoader } from "../boot/entry/order.ts";
import { UKI_DIRECTORY } from "../boot/entry/names.ts";
import { ComposefsError, throwIfAborted } from "../error.ts";
import type { Digest } from "../oci/digest.ts";
import { digestOfStream } from "../oci/streams.ts";
import { listTags } from "../oci/tags.ts";
import { listLinks } from "../repository/links.ts";
import type { Repository } from "../repository/repository.ts";
import type { GcFiles, GcRepository, StoredManifest } from "./gc-input.ts";
import type { SysrootPaths } from "./location.ts";
import { type ManifestOpener, manifestOpener } from "./open-once.ts";
import { listDirectory } from "./sysroot-files.ts";

/**
 * The tags, manifests and images of a repository. A manifest that cannot be opened counts as missing.
 *
 * @throws ComposefsError `permission` and `io` for what the operating system refuses, `aborted`
 */
export async function readGcRepository(
  repository: Repository,
  signal?: AbortSignal,
  open: ManifestOpener = manifestOpener(repository),
): Promise<GcRepository> {
  const manifests = new Map<Digest, StoredManifest>();
  for (const { name } of listLinks(repository.path, "streams", "refs")) {
    throwIfAborted(signal);
    const digest = digestOfStream(name, "oci-manifest-");
    const stored = digest === undefined ? undefined : await openStored(open, digest);
    if (digest !== undefined && stored) manifests.set(digest, stored);
  }
  return {
    tags: new Map(listTags(repository).map(({ name, manifestDigest }) => [name, manifestDigest])),
    manifests,
    images: new Set(listLinks(repository.path, "images", "refs").map(({ name }) => name)),
  };
}

async function openStored(open: ManifestOpener, digest: Digest): Promise<StoredManifest | undefined> {
  try {
    const { config, layers, imageRefs } = await open(digest);
    return { config: config.digest, layers: layers.map((layer) => layer.digest), images: [...imageRefs.values()] };
  } catch (error) {
    if (!(error instanceof ComposefsError) || ["permission", "io", "aborted"].includes(error.code)) throw error;
    return undefined;
  }
}

/** Where the files lie that a sysroot boots from: directories that need not exist. */
export interface BinaryDirectories {
  /** Of the directories that hold a kernel with its initramfs each. Undefined without an ESP, where the boot loader needs one. */
  readonly kernels: string | undefined;
  /** Of UKIs; undefined without an ESP. */
  readonly ukis: string | undefined;
}

type BootPaths = Pick<SysrootPaths, "boot" | "esp"> & { readonly sysroot: string };

/** Where the files of boot entries lie. */
export function binaryDirectories({ sysroot, boot, esp }: BootPaths, bootloader: BootLoader): BinaryDirectories {
  const firmware = esp ?? (bootloader === "grub" ? undefined : boot);
  return {
    kernels: bootloader === "grub" ? (boot ?? join(sysroot, "boot")) : firmware && join(firmware, "EFI/Linux"),
    ukis: firmware && join(firmware, UKI_DIRECTORY),
  };
}

/**
 * The names of what a sysroot boots from. Without an ESP, only those for GRUB's kernels.
 *
 * @throws ComposefsError `permission` and `io` for what the operating system refuses
 */
export function readBootBinaries(
  paths: BootPaths,
  bootloader: BootLoader,
): Pick<GcFiles, "kernelDirectories" | "ukiFiles"> {
  const { kernels, ukis } = binaryDirectories(paths, bootloader);
  const names = (path: string | undefined) => (path === undefined ? [] : (listDirectory(path) ?? []));
  return {
    kernelDirectories: names(kernels).flatMap(({ name, type }) => (type === "directory" ? [name] : [])),
    ukiFiles: names(ukis).map(({ name }) => name),
  };
}
