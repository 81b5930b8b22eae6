// What the machine that runs says of itself (docs/spec/deployments.md, sections 3.2 and 3.3): reads the files of the kernel and the
// firmware that booted.ts understands. Only host mode comes here; offline none of these files is opened.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { BootLoader } from "../boot/entry/order.ts";
import { ComposefsError, systemError } from "../error.ts";
import { bootedDeployment, bootloaderOf, type BootedDeployment, type MountEntry, parseMountInfo } from "./booted.ts";

/** Where the machine's own files lie; all of it may be left out. */
export interface Machine {
  /** What all paths of the machine are below; `/`. */
  readonly root?: string | undefined;
  /** Variables of the environment; those of this process. */
  readonly environment?: Readonly<Record<string, string | undefined>> | undefined;
}

const LOADER_INFO = "sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/** A path of the machine. */
export function machinePath({ root = "/" }: Machine, path: string): string {
  return join(root, path);
}

/** @throws ComposefsError with the reason `E_CONTAINER` when this is no machine but a container on one */
export function refuseContainer(machine: Machine): void {
  const { environment = process.env } = machine;
  const marker = ["run/.containerenv", ".dockerenv"].map((path) => machinePath(machine, path)).find(existsSync);
  if (marker === undefined && environment["container"] === undefined) return;
  throw new ComposefsError("unsupported", "this is a container, which has no deployments of its own", {
    reason: "E_CONTAINER",
    ...(marker !== undefined && { path: marker }),
    hint: "name the sysroot that is meant with --sysroot",
  });
}

/**
 * The deployment that runs, and the mounts.
 *
 * @param commandLineFile `/proc/cmdline`
 * @param mountInfoFile `/proc/self/mountinfo`
 * @throws ComposefsError with the reason `E_NOT_BOOTED` when the machine was not booted from a deployment, `E_ROOT_NOT_COMPOSEFS` when it
 *   was, but the root is another file system
 */
export function readBooted(
  commandLineFile: string,
  mountInfoFile: string,
): { booted: BootedDeployment; mounts: readonly MountEntry[] } {
  const mounts = parseMountInfo(readWhole(mountInfoFile).toString());
  const booted = bootedDeployment(readWhole(commandLineFile).toString(), mounts);
  if (booted) return { booted, mounts };
  throw new ComposefsError("unsupported", "this machine was not booted from a deployment", {
    path: commandLineFile,
    reason: "E_NOT_BOOTED",
    hint: "name the sysroot that is meant with --sysroot; that of another system is never guessed",
  });
}

/** The boot loader that started the machine. @throws ComposefsError with the reason `E_BOOTLOADER_UNKNOWN` */
export function readBootloader(machine: Machine): BootLoader {
  const path = machinePath(machine, LOADER_INFO);
  let content: Uint8Array | undefined;
  try {
    content = readFileSync(path);
  } catch (error) {
    if (!["ENOENT", "ENOTDIR"].includes(String((error as NodeJS.ErrnoException).code)))
      throw new ComposefsError("io", `the EFI variable LoaderInfo cannot be read: ${(error as Error).message}`, {
        cause: error,
        path,
        reason: "E_BOOTLOADER_UNKNOWN",
        hint: "say with --bootloader what it is",
      });
  }
  return bootloaderOf(content);
}

// Files of the kernel have no size that could be trusted.
function readWhole(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw systemError(error, `reading ${path}`, path);
  }
}
