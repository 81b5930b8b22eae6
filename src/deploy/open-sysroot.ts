// A sysroot that is being changed (docs/spec/deployments.md, sections 2.9 and 4): the deployment lock is held and the repository open,
// once, from the beginning of an operation to its end.

import { accessSync, closeSync, constants, openSync } from "node:fs";
import { join } from "node:path";
import { makeDirectories } from "../boot/change/durable.ts";
import type { BootVolumeName } from "../boot/change/steps.ts";
import { type BootVolume, DirectoryVolume } from "../boot/change/volume.ts";
import { ComposefsError, systemError } from "../error.ts";
import type { ProgressListener } from "../progress.ts";
import { Repository } from "../repository/repository.ts";
import { type LockWait, syscalls } from "../runtime/syscalls.ts";
import type { SysrootLocation } from "./location.ts";
import { finishCutActivation } from "./cut-activation.ts";
import { migratePrefix } from "./migrate-prefix.ts";
import { STAGED_FILE } from "./staged-marker.ts";
import type { SysrootState } from "./state.ts";
import { readState } from "./sysroot.ts";

/** The directory of the deployments, below the sysroot. */
export const STATE_DIRECTORY = "state/deploy";

/** Waiting for the deployment lock without an option ends after a minute. */
const LOCK_TIMEOUT_MS = 60_000;

/** Options of {@link OpenSysroot.open}. */
export interface OpenSysrootOptions {
  readonly signal?: AbortSignal | undefined;
  /** How to wait for other users of the sysroot and of its repository; for the sysroot at most a minute when no time is given. */
  readonly lock?: LockWait | undefined;
  readonly onProgress?: ProgressListener | undefined;
  /**
   * First finish what was cut and bring up to date what is old, see `finishCutActivation` and `migratePrefix`; true when left out. False
   * for a dry run.
   */
  readonly repair?: boolean | undefined;
}

/** A sysroot that is open for changes. Two processes never have the same one open. */
export class OpenSysroot implements AsyncDisposable {
  readonly location: SysrootLocation;
  readonly repository: Repository;
  /** The sysroot itself, for `state`. */
  readonly root: BootVolume;
  /** Holds `loader` or `grub2`. */
  readonly boot: BootVolume;
  /** Where the steps of plans lie. */
  readonly volumes: Readonly<Partial<Record<BootVolumeName, BootVolume>>>;
  readonly signal: AbortSignal | undefined;
  readonly lock: LockWait | undefined;
  readonly onProgress: ProgressListener | undefined;
  readonly #lockFd: number;

  private constructor(
    location: SysrootLocation,
    repository: Repository,
    lockFd: number,
    { signal, lock, onProgress }: OpenSysrootOptions,
  ) {
    this.location = location;
    this.repository = repository;
    this.root = new DirectoryVolume(location.sysroot);
    this.boot = new DirectoryVolume(location.boot);
    const esp = location.esp === undefined ? undefined : new DirectoryVolume(location.esp);
    this.volumes = { boot: this.boot, ...(esp && { esp }) };
    this.signal = signal;
    this.lock = lock;
    this.onProgress = onProgress;
    this.#lockFd = lockFd;
  }

  /**
   * Opens a sysroot whose repository exists.
   *
   * @throws ComposefsError with the reason `E_READ_ONLY` when it cannot be written, `E_LOCKED` when another process kept it for too long,
   *   `E_LOCK_UNAVAILABLE` when this machine has no locks; `not-found` without a repository
   */
  static async open(location: SysrootLocation, options: OpenSysrootOptions = {}): Promise<OpenSysroot> {
    const lockFd = await lockDeployments(location, options);
    try {
      const { signal, lock } = options;
      const repository = await Repository.open(location.repository, {
        write: true,
        noUpgrade: true,
        ...(signal && { signal }),
        ...(lock && { lock }),
      });
      const sysroot = new OpenSysroot(location, repository, lockFd, options);
      try {
        if (options.repair ?? true) {
          await finishCutActivation(sysroot);
          await migratePrefix(sysroot);
        }
        return sysroot;
      } catch (error) {
        await repository.close();
        throw error;
      }
    } catch (error) {
      closeSync(lockFd);
      throw error;
    }
  }

  /** The state as it is on the disk now. */
  readState(): Promise<SysrootState> {
    return readState(this.location, this.repository);
  }

  /** What `/run` is to a running system; undefined offline, where nothing is staged across a reboot. */
  get run(): BootVolume | undefined {
    const { runDirectory } = this.location;
    return runDirectory === undefined ? undefined : new DirectoryVolume(runDirectory);
  }

  /** The path of the staged deployment file. */
  get stagedFile(): string | undefined {
    const { runDirectory } = this.location;
    return runDirectory === undefined ? undefined : join(runDirectory, STAGED_FILE);
  }

  /** Closes the repository and gives the sysroot free. */
  async close(): Promise<void> {
    try {
      await this.repository.close();
    } finally {
      closeSync(this.#lockFd);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

async function lockDeployments(
  { sysroot }: SysrootLocation,
  { signal, lock = {} }: OpenSysrootOptions,
): Promise<number> {
  const path = join(sysroot, STATE_DIRECTORY);
  let fd: number;
  try {
    makeDirectories(new DirectoryVolume(sysroot), STATE_DIRECTORY);
    accessSync(path, constants.W_OK);
    fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    const code = (error as { cause?: NodeJS.ErrnoException }).cause?.code ?? (error as NodeJS.ErrnoException).code;
    if (code !== "EROFS" && code !== "EACCES") throw systemError(error, `opening ${path}`, path);
    throw new ComposefsError(code === "EROFS" ? "read-only" : "permission", `${sysroot} cannot be written`, {
      cause: error,
      path,
      reason: "E_READ_ONLY",
      hint: "mount it writable, or run as its owner",
    });
  }
  try {
    await syscalls().flock(fd, "exclusive", { timeoutMs: LOCK_TIMEOUT_MS, ...lock, ...(signal && { signal }) });
    return fd;
  } catch (error) {
    closeSync(fd);
    throw lockError(error, sysroot, path);
  }
}

function lockError(error: unknown, sysroot: string, path: string): unknown {
  if (!(error instanceof ComposefsError)) return error;
  if (error.code === "locked")
    return new ComposefsError("locked", `another process is changing the deployments of ${sysroot}`, {
      cause: error,
      path,
      reason: "E_LOCKED",
      hint: "wait until it is done, or say with --wait how long to wait",
    });
  if (error.code === "unsupported")
    return new ComposefsError("unsupported", error.message, {
      cause: error,
      path,
      reason: "E_LOCK_UNAVAILABLE",
      ...(error.hint === undefined ? {} : { hint: error.hint }),
    });
  return error;
}
