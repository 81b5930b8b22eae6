// The programs of the host that the virtual machine needs, and what to do where they or the kernels cannot be had.

import { describe } from "vitest";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { skipOrFail } from "../peer.ts";
import { type KernelName, kernel } from "./kernels.ts";

/** Debian's packages of the programs. */
const PACKAGES = {
  "qemu-system-x86_64": "qemu-system-x86",
  busybox: "busybox-static",
  mke2fs: "e2fsprogs",
  debugfs: "e2fsprogs",
  e2fsck: "e2fsprogs",
  fsverity: "fsverity",
  flock: "util-linux",
  mount: "mount",
  umount: "mount",
  sync: "coreutils",
  ldd: "libc-bin",
  tar: "tar",
} as const;

/** A program that this suite can ask for. */
export type ProgramName = keyof typeof PACKAGES;

function findProgram(name: ProgramName): string | undefined {
  // Those of e2fsprogs are not on the path of an ordinary user.
  const folders = [...(process.env["PATH"] ?? "").split(delimiter), "/usr/local/sbin", "/usr/sbin", "/sbin"];
  return folders
    .map((folder) => join(folder, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/** Path of a program; throws with the remedy when it is missing. */
export function program(name: ProgramName): string {
  const path = findProgram(name);
  if (path === undefined) throw new Error(`${name} is not installed: apt-get install ${PACKAGES[name]}`);
  return path;
}

/** What stands in the way of booting a kernel here, with its remedy; fetches the kernel where it is not at hand yet. */
function obstacle(name: KernelName): string | undefined {
  if (process.platform !== "linux" || process.arch !== "x64") return "the virtual machine needs Linux on x86-64";
  const missing = (Object.keys(PACKAGES) as ProgramName[]).filter((each) => findProgram(each) === undefined);
  if (missing.length > 0)
    return `${missing.join(", ")} not installed: apt-get install ${[...new Set(missing.map((each) => PACKAGES[each]))].join(" ")}`;
  try {
    kernel(name);
    return undefined;
  } catch (error) {
    const { stderr, message } = error as { stderr?: string | Buffer; message: string };
    return `the kernel ${name} cannot be had: ${String(stderr ?? message)
      .trim()
      .split("\n")
      .at(-1)}`;
  }
}

/**
 * A `describe` block whose tests look at what happened in a virtual machine. Where that cannot be had, it becomes one test with
 * the reason in its name: skipped, or failing when CI=true.
 */
export function describeMachine(name: KernelName, title: string, body: () => void): void {
  const reason = obstacle(name);
  if (reason === undefined) describe(title, body);
  else describe(title, () => skipOrFail(reason));
}
