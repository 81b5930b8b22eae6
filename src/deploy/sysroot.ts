// Reads a sysroot into plain data (docs/spec/deployments.md, sections 2.1 and 3.3): boot entries, state directories, staged file, and the
// images that origins name. Nothing is written, nothing fetched; what is missing is missing in the data.

import { statSync } from "node:fs";
import { join } from "node:path";
import { DirectoryVolume } from "../boot/change/volume.ts";
import { EXCHANGED, readEntryFiles } from "../boot/entry/activate.ts";
import type { BootLoader } from "../boot/entry/order.ts";
import { ComposefsError } from "../error.ts";
import type { Digest } from "../oci/digest.ts";
import { openManifest } from "../oci/stored-image.ts";
import { Repository } from "../repository/repository.ts";
import type { LockWait } from "../runtime/syscalls.ts";
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
import { listDirectory, readText } from "./sysroot-files.ts";

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
  /** The deployment that is running; none when left out. */
  readonly bootedId?: string | undefined;
}

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
 * @throws ComposefsError `not-found` when there is no such directory; with the reason `E_BOOTLOADER_UNKNOWN` or `E_NO_ESP` when more must
 *   be said; `permission` and `io` for what the operating system refuses
 * @example
 * ```ts
 * const state = await readSysroot({ sysroot: "/mnt" });
 * console.log(hostText(hostStatus(state).host));
 * ```
 */
export async function readSysroot(paths: SysrootPaths, options: ReadSysrootOptions = {}): Promise<SysrootState> {
  const { sysroot } = paths;
  if (!isDirectory(sysroot))
    throw new ComposefsError("not-found", `there is no directory ${sysroot}`, {
      path: sysroot,
      hint: "name the directory that holds composefs and state",
    });
  const bootloader = paths.bootloader ?? detectBootloader(paths);
  const boot = readBootFiles(bootDirectory(paths, bootloader), bootloader);
  const state = readStateDirectories(join(sysroot, "state/deploy"));
  const { runDirectory } = paths;
  const stagedDeployment =
    runDirectory === undefined ? undefined : readText(join(runDirectory, "composefs/staged-deployment"), DAMAGED);
  const repository = await openRepository(paths.repository ?? join(sysroot, "composefs"), options);
  try {
    return {
      bootloader,
      algorithm: repository?.algorithm,
      bootedId: paths.bootedId,
      missingVerityAllowed: repository !== undefined && !repository.secure,
      boot,
      stagedDeployment,
      state,
      images: repository ? await readImages(repository, state) : new Map(),
    };
  } finally {
    await repository?.close();
  }
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
    found.set(name, { origin: file("origin"), imginfo: file("imginfo") });
  }
  return found;
}

async function openRepository(path: string, { signal, lock }: ReadSysrootOptions): Promise<Repository | undefined> {
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
