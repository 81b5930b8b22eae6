// Reads a sysroot into plain data (docs/spec/deployments.md, sections 2.1 and 3.3): boot entries, state directories, staged file, and the
// images that origins name. Nothing is written, nothing fetched; what is missing is missing in the data.

import { join } from "node:path";
import { DirectoryVolume } from "../boot/change/volume.ts";
import { EXCHANGED, readEntryFiles } from "../boot/entry/activate.ts";
import type { BootLoader } from "../boot/entry/order.ts";
import { ComposefsError } from "../error.ts";
import type { Digest } from "../oci/digest.ts";
import { openManifest } from "../oci/stored-image.ts";
import { Repository } from "../repository/repository.ts";
import type { LockWait } from "../runtime/syscalls.ts";
import { locateSysroot, type SysrootLocation, type SysrootPaths } from "./location.ts";
import { MANIFEST_DIGEST, originValue, parseOrigin } from "./origin.ts";
import {
  type BootFiles,
  type ImageDocuments,
  isDeploymentId,
  isManifestDigest,
  type NamedText,
  type StateDirectory,
  type SysrootState,
} from "./state.ts";
import { withRunning } from "./running.ts";
import { STAGED_FILE } from "./staged-marker.ts";
import { listDirectory, readText } from "./sysroot-files.ts";

/** The text of what is no text: no parser takes it for anything. */
const DAMAGED = "\ufffd";

/** Options of {@link readSysroot}. */
export interface ReadSysrootOptions {
  readonly signal?: AbortSignal | undefined;
  /** How to wait for the lock of the repository. */
  readonly lock?: LockWait | undefined;
}

/**
 * Reads the state of a sysroot.
 *
 * @throws ComposefsError what {@link locateSysroot} throws; `permission` and `io` for what the operating system refuses
 * @example
 * ```ts
 * const state = await readSysroot({ sysroot: "/mnt" });
 * console.log(hostText(hostStatus(state).host));
 * ```
 */
export async function readSysroot(
  paths: SysrootPaths | SysrootLocation,
  options: ReadSysrootOptions = {},
): Promise<SysrootState> {
  const location = "isHost" in paths ? paths : locateSysroot(paths);
  const repository = await openForReading(location.repository, options);
  try {
    return await withRunning(await readState(location, repository), repository, location, options.signal);
  } finally {
    await repository?.close();
  }
}

/**
 * Reads the state of a sysroot whose repository is open, or missing.
 *
 * @throws ComposefsError `permission` and `io` for what the operating system refuses
 */
export async function readState(
  { sysroot, bootloader, boot, runDirectory, bootedId }: SysrootLocation,
  repository: Repository | undefined,
): Promise<SysrootState> {
  const state = readStateDirectories(join(sysroot, "state/deploy"));
  return {
    bootloader,
    algorithm: repository?.algorithm,
    bootedId,
    missingVerityAllowed: repository !== undefined && !repository.secure,
    boot: readBootFiles(boot, bootloader),
    stagedDeployment: runDirectory === undefined ? undefined : readText(join(runDirectory, STAGED_FILE), DAMAGED),
    state,
    images: repository ? await readImages(repository, state) : new Map(),
  };
}

function readBootFiles(directory: string, bootloader: BootLoader): BootFiles {
  const volume = new DirectoryVolume(directory);
  const files = (which: "active" | "staged"): NamedText[] | undefined => {
    const folder = join(directory, which === "active" ? "loader/entries" : "loader/entries.staged");
    return readEntryFiles(volume, which)
      ?.filter(({ name }) => name.endsWith(".conf"))
      .map(({ name, text }) => [name, text ?? readText(join(folder, name), DAMAGED) ?? DAMAGED]);
  };
  // In the middle of an activation the staged directory holds the old set, which is about to go.
  const isExchanged = volume.list("loader/entries")?.some(({ name }) => name === EXCHANGED) === true;
  const grub = bootloader === "grub" ? (name: string) => readText(join(directory, "grub2", name)) : () => undefined;
  return {
    entries: files("active") ?? [],
    entriesStaged: isExchanged ? undefined : files("staged"),
    userCfg: grub("user.cfg"),
    userCfgStaged: grub("user.cfg.staged"),
  };
}

function readStateDirectories(directory: string): Map<string, StateDirectory> {
  const found = new Map<string, StateDirectory>();
  for (const { name, type } of listDirectory(directory) ?? []) {
    if (type === "file") continue;
    const file = (extension: string) =>
      type === "directory" && isDeploymentId(name)
        ? readText(join(directory, name, `${name}.${extension}`), DAMAGED)
        : undefined;
    found.set(name, { origin: file("origin"), imginfo: file("imginfo"), update: file("update") });
  }
  return found;
}

/** The repository of a sysroot, to be read; undefined when there is none. Nothing is written, not even a missing `meta.json`. */
export async function openForReading(
  path: string,
  { signal, lock }: ReadSysrootOptions,
): Promise<Repository | undefined> {
  try {
    return await Repository.open(path, { noUpgrade: true, ...(signal && { signal }), ...(lock && { lock }) });
  } catch (error) {
    if (error instanceof ComposefsError && ["not-found", "not-a-repository"].includes(error.code)) return undefined;
    throw error;
  }
}

// Only those that an origin names: there may be hundreds of other images.
async function readImages(
  repository: Repository,
  state: ReadonlyMap<string, StateDirectory>,
): Promise<Map<Digest, ImageDocuments>> {
  const images = new Map<Digest, ImageDocuments>();
  for (const { origin } of state.values()) {
    const digest = origin === undefined ? undefined : manifestOf(origin);
    if (digest === undefined || images.has(digest)) continue;
    try {
      const image = await openManifest(repository, digest, digest);
      if (image.manifest) images.set(digest, { manifest: image.manifest.value, config: image.config.value });
    } catch (error) {
      // Damage in one deployment keeps none of the others from being shown; it is reported as missing.
      if (!(error instanceof ComposefsError) || ["permission", "io", "aborted"].includes(error.code)) throw error;
    }
  }
  return images;
}

function manifestOf(origin: string): Digest | undefined {
  try {
    const digest = originValue(parseOrigin(origin), MANIFEST_DIGEST);
    return digest !== undefined && isManifestDigest(digest) ? digest : undefined;
  } catch {
    return undefined;
  }
}
