// `mount`: a stored image becomes a file system (docs/spec/cli-cfsctl.md, section 10; docs/spec/repository.md, section 7.2).

import { readFileSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import type { ObjectId } from "../bytes/algorithm.ts";
import { fsverityFile } from "../core/fsverity.ts";
import { ComposefsError } from "../error.ts";
import { HEADER_BYTES, recognizeImage } from "../image/header.ts";
import { mountImageFile } from "../image/mount/mount.ts";
import { isDamaged } from "./object-read.ts";
import type { Repository } from "./repository.ts";

/** How to mount. */
export interface MountOptions {
  /** Layer for changes; both or none, on one file system. */
  upperdir?: string | undefined;
  workdir?: string | undefined;
  /** Allow changes; needs the layer. */
  readWrite?: boolean;
}

/** A mounted image. */
export interface MountedImage {
  id: ObjectId;
  /** Absolute path. */
  target: string;
  /** Whether overlayfs checks the fs-verity digest of every file that is opened. */
  verity: boolean;
  /** Whether something was mounted on the directory before; it is hidden now. */
  stacked: boolean;
}

/**
 * Mounts an image, which is verified first. In a repository that requires fs-verity the kernel also checks every object that
 * is opened. Take it away with umount(8). Garbage collection does not know about mounts: the image must keep a name.
 *
 * @param name an image id (also with its prefix, or shortened), or the name of a ref
 * @param directory must exist
 * @throws ComposefsError `not-found`, `corrupt`, `permission`, `unsupported`, `usage`
 */
export function mountImage(
  repository: Repository,
  name: string,
  directory: string,
  options: MountOptions = {},
): MountedImage {
  const { id } = repository.resolveImage(name);
  const target = existingDirectory(directory, "the mount point");
  const { upperdir, workdir, readWrite = false } = options;
  if ((upperdir === undefined) !== (workdir === undefined))
    throw new ComposefsError("usage", `an ${upperdir === undefined ? "upperdir" : "workdir"} is missing`, {
      hint: "give both, on one file system",
    });
  const upper =
    upperdir === undefined || workdir === undefined
      ? undefined
      : { upperdir: existingDirectory(upperdir, "the upperdir"), workdir: existingDirectory(workdir, "the workdir") };
  const stacked = isMountPoint(target);
  const image = repository.openObject(id);
  try {
    if (!image.verified) {
      const measured = fsverityFile(repository.algorithm, image.fd);
      if (measured !== id) throw isDamaged(id, measured);
    }
    const kind = recognizeImage(image.read(0, HEADER_BYTES));
    if (kind.kind !== "composefs")
      throw new ComposefsError("invalid", `${name} is not a composefs image`, { digest: id });
    // By descriptor: exactly the file that was verified, whatever happens to its name.
    mountImageFile(`/proc/${process.pid}/fd/${image.fd}`, target, {
      source: `composefs:${id}`,
      version: kind.version,
      objects: [join(repository.path, "objects")],
      verity: repository.secure,
      upper,
      readWrite,
    });
  } finally {
    image.close();
  }
  return { id, target, verity: repository.secure, stacked };
}

function existingDirectory(path: string, what: string): string {
  const absolute = resolve(path);
  const stat = statSync(absolute, { throwIfNoEntry: false });
  if (stat?.isDirectory()) return absolute;
  throw new ComposefsError(
    "not-found",
    `${what} ${path} ${stat === undefined ? "does not exist" : "is not a directory"}`,
    {
      path: absolute,
      ...(stat === undefined ? { hint: `make it with \`mkdir ${path}\`` } : {}),
    },
  );
}

function isMountPoint(path: string): boolean {
  let table: string;
  try {
    table = readFileSync("/proc/self/mountinfo", "utf8");
  } catch {
    return false;
  }
  const escaped = path.replace(/[ \t\n\\]/g, (c) => `\\${c.charCodeAt(0).toString(8).padStart(3, "0")}`);
  return table.split("\n").some((line) => line.split(" ")[4] === escaped);
}
