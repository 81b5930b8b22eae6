// Mounts of images for the privileged suite: the kernel's EROFS (from the file itself, else through a loop device) with
// overlayfs above it and the repository's objects as its data-only layer. Everything is undone when the scope ends.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mountReadOnly, unmount } from "./libc.ts";

/** What stands in the way of mounting here, with its remedy; undefined when nothing does. */
export function missingPrivilege(): string | undefined {
  if (process.platform !== "linux") return "mounting images needs Linux";
  if (process.getuid?.() !== 0) return "mounting images needs root: run the suite with sudo";
  const filesystems = readFileSync("/proc/filesystems", "utf8");
  for (const name of ["erofs", "overlay"]) {
    if (!new RegExp(`\\b${name}$`, "m").test(filesystems)) {
      try {
        execFileSync("modprobe", [name], { stdio: "ignore" });
      } catch {
        return `this kernel has no ${name} file system: load its module (modprobe ${name}) or use a kernel with it`;
      }
    }
  }
  const folder = mkdtempSync(join(tmpdir(), "composefs-probe-"));
  try {
    const error = mountReadOnly("composefs-probe", folder, "tmpfs", "");
    if (error !== undefined) return `mounting is not allowed here (${error}): give the container CAP_SYS_ADMIN`;
    unmount(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return undefined;
}

/** A mounted image. */
export interface Mounted extends Disposable {
  /** The root of the overlay. */
  root: string;
  /** How EROFS got at the image. */
  backing: "file" | "loop";
}

function mountErofs(image: string, target: string): "file" | "loop" {
  const error = mountReadOnly(image, target, "erofs", "");
  if (error === undefined) return "file";
  // ENOTBLK: a kernel before 6.12 wants a block device.
  if (error !== "ENOTBLK" && error !== "EINVAL") throw new Error(`the kernel refuses the image ${image}: ${error}`);
  try {
    execFileSync("mount", ["-t", "erofs", "-o", "ro,loop", image, target], { stdio: "pipe" });
  } catch (cause) {
    throw new Error(
      `the kernel refuses the image ${image}: ${String((cause as { stderr?: Buffer }).stderr ?? cause)}`,
      { cause },
    );
  }
  return "loop";
}

function unmountOrThrow(target: string): void {
  const error = unmount(target);
  if (error !== undefined) throw new Error(`unmounting ${target}: ${error}`);
}

/**
 * Mounts an image as composefs does.
 *
 * @param image the EROFS file
 * @param objects the folder that redirects lead into; an empty one where no file content is read
 */
export function mountImage(image: string, objects: string): Mounted {
  // Not below TMPDIR: a colon or a comma in the path would need escaping in mount options.
  const base = mkdtempSync("/tmp/composefs-mount-");
  const erofs = join(base, "erofs");
  const root = join(base, "root");
  const undo: (() => void)[] = [() => rmSync(base, { recursive: true, force: true })];
  const unwind = () => {
    for (let action = undo.pop(); action; action = undo.pop()) action();
  };
  try {
    mkdirSync(erofs);
    mkdirSync(root);
    const backing = mountErofs(image, erofs);
    undo.push(() => unmountOrThrow(erofs));
    const error = mountReadOnly(
      "composefs-test",
      root,
      "overlay",
      `metacopy=on,redirect_dir=on,lowerdir=${erofs}::${objects}`,
    );
    if (error !== undefined) throw new Error(`overlayfs refuses ${image}: ${error}`);
    undo.push(() => unmountOrThrow(root));
    return { root, backing, [Symbol.dispose]: unwind };
  } catch (error) {
    unwind();
    throw error;
  }
}

/** Mounts and loop devices of this suite that exist now: an empty list when everything was undone. */
export function leftovers(): string[] {
  const mounts = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .filter((line) => line.includes("/composefs-mount-") || line.includes("/composefs-probe-"));
  const loops = readdirSync("/sys/block")
    .map((name) => join("/sys/block", name, "loop/backing_file"))
    .filter((path) => existsSync(path))
    .map((path) => readFileSync(path, "utf8").trim())
    .filter((path) => path.includes("composefs-"));
  return [...mounts, ...loops];
}
