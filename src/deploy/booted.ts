// Where a program runs (docs/spec/deployments.md, section 3.2): the deployment that is booted, its boot loader and the ESP, from what the
// kernel and the firmware say. Pure: the texts are given.

import type { Algorithm } from "../bytes/algorithm.ts";
import { readComposefsArgument } from "../boot/kargs/composefs-argument.ts";
import type { BootLoader } from "../boot/entry/order.ts";
import { ComposefsError } from "../error.ts";
import { isDeploymentId } from "./state.ts";

/** The deployment that runs. */
export interface BootedDeployment {
  readonly id: string;
  /** Whether the root lives in memory only. */
  readonly transient: boolean;
  /** Whether it was booted with fs-verity as an option; false after a soft reboot, when nothing says so. */
  readonly allowMissing: boolean;
}

/** A mount, as `/proc/self/mountinfo` lists it. */
export interface MountEntry {
  readonly mountPoint: string;
  readonly type: string;
  readonly source: string;
  readonly readOnly: boolean;
}

/** The mounts of a text in the form of `/proc/self/mountinfo`, in its order; lines of another form are passed over. */
export function parseMountInfo(text: string): MountEntry[] {
  return text.split("\n").flatMap((line) => {
    const fields = line.split(" ");
    // Optional fields of any number stand before the dash.
    const dash = fields.indexOf("-", 6);
    const [mountPoint, options, type, source] = [fields[4], fields[5], fields[dash + 1], fields[dash + 2]];
    if (dash < 0 || mountPoint === undefined || type === undefined || source === undefined) return [];
    const readOnly = options?.split(",").includes("ro") === true;
    return [{ mountPoint: unescaped(mountPoint), type, source: unescaped(source), readOnly }];
  });
}

function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/**
 * The deployment that is booted.
 *
 * @param commandLine text of `/proc/cmdline`
 * @param mounts of this process
 * @returns undefined when the system was not booted from one
 * @throws ComposefsError with the reason `E_ROOT_NOT_COMPOSEFS` when it was, but the root is another file system
 */
export function bootedDeployment(
  commandLine: string,
  mounts: readonly MountEntry[],
  algorithm?: Algorithm,
): BootedDeployment | undefined {
  const argument = readComposefsArgument(commandLine.replace(/\n$/, ""), algorithm);
  if (!argument) return undefined;
  // Of several mounts in one place the last one is on top.
  const source = mounts.findLast(({ mountPoint }) => mountPoint === "/")?.source ?? "";
  const match = /^(composefs:|transient:composefs=)(.*)$/.exec(source);
  const id = match?.[2] ?? "";
  if (!match || !isDeploymentId(id))
    throw new ComposefsError(
      "unsupported",
      `the root is mounted from ${JSON.stringify(source)}, not from a deployment`,
      {
        reason: "E_ROOT_NOT_COMPOSEFS",
        hint: "inside a container or another root, say with --sysroot which one is meant",
      },
    );
  const allowMissing = id === argument.digest && argument.insecure;
  return { id, transient: match[1] !== "composefs:", allowMissing };
}

/** Where the ESP is mounted: the first of the usual places that has a FAT file system. */
export function mountedEsp(mounts: readonly MountEntry[]): string | undefined {
  return ["/efi", "/boot", "/boot/efi"].find(
    (path) => mounts.findLast(({ mountPoint }) => mountPoint === path)?.type === "vfat",
  );
}

/**
 * The boot loader that started the system.
 *
 * @param loaderInfo content of the EFI variable LoaderInfo with its four attribute bytes; undefined without EFI or variable
 * @throws ComposefsError with the reason `E_BOOTLOADER_UNKNOWN` for what is no UTF-16
 */
export function bootloaderOf(loaderInfo: Uint8Array | undefined): BootLoader {
  if (loaderInfo === undefined) return "grub";
  let text: string;
  try {
    if (loaderInfo.length < 4) throw new RangeError("it lacks its attributes");
    text = new TextDecoder("utf-16le", { fatal: true }).decode(loaderInfo.subarray(4)).toLowerCase();
  } catch (error) {
    throw new ComposefsError("invalid", "the EFI variable LoaderInfo is no text", {
      cause: error,
      reason: "E_BOOTLOADER_UNKNOWN",
      hint: "say with --bootloader what it is",
    });
  }
  if (text.includes("systemd-boot")) return "systemd";
  return text.includes("grub cc") ? "grub-cc" : "grub";
}
