// The directories of a new sysroot (docs/spec/deployments.md, sections 2.1 and 4.3, step 1): the repository, and where bootc keeps what
// belongs to it.

import { chmodSync, lstatSync, mkdirSync, statSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { DirectoryVolume } from "../boot/change/volume.ts";
import { ComposefsError, systemError } from "../error.ts";
import type { InitOptions, InitResult } from "../repository/init.ts";
import { Repository } from "../repository/repository.ts";
import type { SysrootLocation } from "./location.ts";

/** How the repository of a new sysroot is made. */
export interface CreateSysrootOptions extends Pick<InitOptions, "algorithm" | "erofsVersion"> {
  /**
   * `required` when left out; `if-possible` makes a repository with fs-verity where the file system has that; `not-required` makes one
   * that does without in any case.
   */
  readonly verity?: "required" | "if-possible" | "not-required" | undefined;
}

/**
 * Makes the directories and the repository that are missing. What is there stays.
 *
 * @throws ComposefsError `exists` when the repository has another algorithm than was asked for, `unsupported` when the file system has
 *   no fs-verity and it is required; with the reason `E_READ_ONLY` when the sysroot cannot be written
 */
export async function createSysroot(
  { sysroot, repository, boot, esp }: SysrootLocation,
  options: CreateSysrootOptions = {},
): Promise<InitResult> {
  if (esp !== undefined && !isDirectory(esp))
    throw new ComposefsError("not-found", `there is no directory ${esp}`, {
      path: esp,
      reason: "E_NO_ESP",
      hint: "mount the ESP, and say with --esp where",
    });
  if (boot === join(sysroot, "boot"))
    attempt(boot, sysroot, () => void new DirectoryVolume(sysroot).makeDirectory("boot"));
  else if (!isDirectory(boot))
    throw new ComposefsError("not-found", `there is no directory ${boot}`, {
      path: boot,
      hint: "mount the file system of /boot, and say with --boot where",
    });
  const made = await initRepository(repository, sysroot, options);
  attempt(repository, sysroot, () => chmodSync(repository, 0o700));
  const volume = new DirectoryVolume(repository);
  if (volume.makeDirectory("bootc")) attempt(repository, sysroot, () => chmodSync(join(repository, "bootc"), 0o755));
  volume.sync("");
  if (repository === join(sysroot, "composefs")) linkBootc(sysroot);
  return made;
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

async function initRepository(path: string, sysroot: string, options: CreateSysrootOptions): Promise<InitResult> {
  const { algorithm, erofsVersion, verity = "required" } = options;
  const wanted = { ...(algorithm && { algorithm }), ...(erofsVersion !== undefined && { erofsVersion }), ensure: true };
  try {
    return await Repository.init(path, { ...wanted, insecure: verity === "not-required" });
  } catch (error) {
    if (verity === "if-possible" && error instanceof ComposefsError && error.code === "unsupported")
      return Repository.init(path, { ...wanted, insecure: true });
    if (error instanceof ComposefsError && error.code === "unsupported")
      throw new ComposefsError(error.code, error.message, {
        cause: error,
        path,
        hint: "say what the system to be is to do: --allow-missing-verity lets it boot without fs-verity, --sealed leaves the repository as it is here and has the entries insist on it",
      });
    if (error instanceof ComposefsError && (error.code === "read-only" || error.code === "permission"))
      throw notWritable(error, sysroot);
    throw error;
  }
}

// Older paths lead to it. Whatever has the name already stays.
function linkBootc(sysroot: string): void {
  const link = join(sysroot, "ostree/bootc");
  attempt(link, sysroot, () => {
    if (lstatSync(link, { throwIfNoEntry: false }) !== undefined) return;
    mkdirSync(join(sysroot, "ostree"), { recursive: true, mode: 0o755 });
    symlinkSync("../composefs/bootc", link);
    const volume = new DirectoryVolume(sysroot);
    volume.sync("ostree");
    volume.sync("");
  });
}

function attempt(path: string, sysroot: string, call: () => void): void {
  try {
    call();
  } catch (error) {
    const failure = systemError(error, `making ${path}`, path);
    throw failure.code === "read-only" || failure.code === "permission" ? notWritable(failure, sysroot) : failure;
  }
}

function notWritable(cause: ComposefsError, sysroot: string): ComposefsError {
  return new ComposefsError(cause.code, `${sysroot} cannot be written: ${cause.message}`, {
    cause,
    path: cause.path ?? sysroot,
    reason: "E_READ_ONLY",
    hint: "mount it writable, or run as its owner",
  });
}
