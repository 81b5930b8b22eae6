// An image file that is named by its path becomes a file system: what `mount.composefs` does (docs/spec/tools-c.md, section 4).

import { closeSync, openSync, readSync, statSync } from "node:fs";
import { resolve } from "node:path";
import type { Algorithm, ObjectId } from "../../bytes/algorithm.ts";
import { DIGEST_SIZE } from "../../bytes/algorithm.ts";
import { fsverityFile } from "../../core/fsverity.ts";
import type { FormatVersion } from "../../core/erofs.ts";
import { ComposefsError, systemError } from "../../error.ts";
import { openForReading } from "../../runtime/open-file.ts";
import { syscalls } from "../../runtime/syscalls.ts";
import { HEADER_BYTES, recognizeImage } from "../header.ts";
import { mountImageFile } from "./mount.ts";

/** How to mount an image file. */
export interface MountFileOptions {
  /** The directories with the objects, in the order in which they are searched. */
  objects: readonly string[];
  /** The fs-verity digest that the image must have, with sha256 or sha512. The kernel has to vouch for it. */
  digest?: ObjectId | undefined;
  /**
   * With `digest`: where the kernel has no fs-verity for the image, read and hash it once before it is mounted. Objects are then
   * checked only if `verity` says so.
   */
  checkInUserSpace?: boolean;
  /** Refuse files without the right fs-verity digest at every open; implied if the kernel has checked `digest`. */
  verity?: boolean | "if-possible";
  /** Layer for changes; both or none, on one file system. */
  upperdir?: string | undefined;
  workdir?: string | undefined;
  /** No changes, even if there is a layer for them. */
  readOnly?: boolean;
  /** A user namespace whose ids are shown: `/proc/PID/ns/user`. */
  userNamespace?: string | undefined;
}

/** A mounted image file. */
export interface MountedFile {
  /** Absolute paths. */
  readonly image: string;
  readonly target: string;
  readonly version: FormatVersion;
  readonly readOnly: boolean;
  /** How the digest was checked, if one was given. */
  readonly checkedBy: "kernel" | "user space" | undefined;
}

/**
 * Mounts an image file on a directory. End it with umount(8); it does not depend on the image's name any more.
 *
 * @throws ComposefsError `not-found`, `invalid` for what is no image, `digest-mismatch`, `unsupported`, `permission`, `usage`
 * @example
 * ```ts
 * mountFile("os.img", "/mnt", { objects: ["/store"], verity: true });
 * ```
 */
export function mountFile(path: string, directory: string, options: MountFileOptions): MountedFile {
  const { digest, verity = false, upperdir, workdir, readOnly = false, userNamespace } = options;
  if (options.objects.length === 0)
    throw new ComposefsError("usage", "no directory with objects", { hint: "name at least one" });
  if ((upperdir === undefined) !== (workdir === undefined))
    throw new ComposefsError("usage", "both workdir and upperdir must be specified if used");
  const algorithm = digest === undefined ? undefined : digestAlgorithm(digest);
  const image = resolve(path);
  const fd = openForReading(image, path);
  try {
    const checkedBy =
      digest === undefined || algorithm === undefined
        ? undefined
        : checkDigest(fd, path, digest.toLowerCase(), algorithm, options.checkInUserSpace === true);
    const version = imageVersion(fd, path);
    const target = directoryAt(directory, "the mount point");
    const objects = options.objects.map((each) => directoryAt(each, "the directory of objects"));
    const upper =
      upperdir === undefined || workdir === undefined
        ? undefined
        : { upperdir: directoryAt(upperdir, "the upperdir"), workdir: directoryAt(workdir, "the workdir") };
    const readWrite = upper !== undefined && !readOnly;
    if (userNamespace !== undefined) closeSync(openNamespace(userNamespace));
    // By descriptor: exactly the file that was looked at, whatever happens to its name.
    mountImageFile(`/proc/${process.pid}/fd/${fd}`, target, {
      source: "composefs",
      version,
      objects,
      verity: checkedBy === "kernel" || verity,
      upper,
      readWrite,
      userNamespace,
    });
    return { image, target, version, readOnly: !readWrite, checkedBy };
  } finally {
    closeSync(fd);
  }
}

function digestAlgorithm(digest: string): Algorithm {
  const algorithm = (["sha256", "sha512"] as const).find((each) => digest.length === 2 * DIGEST_SIZE[each]);
  if (algorithm !== undefined && /^[0-9a-fA-F]+$/.test(digest)) return algorithm;
  throw new ComposefsError("usage", "the digest is neither 64 (sha256) nor 128 (sha512) hex digits", { digest });
}

function checkDigest(
  fd: number,
  path: string,
  digest: ObjectId,
  algorithm: Algorithm,
  inUserSpace: boolean,
): "kernel" | "user space" {
  const measured = syscalls().measureVerity(fd, path);
  if (typeof measured === "object") {
    if (measured.digest === digest) return "kernel";
    throw wrongDigest(digest, measured.digest);
  }
  if (measured === "foreign")
    throw new ComposefsError("digest-mismatch", "Image has wrong fs-verity: of another kind", { digest });
  if (!inUserSpace)
    throw new ComposefsError(
      "digest-mismatch",
      measured === "unsupported"
        ? "Image has no fs-verity: its file system does not support it"
        : "Image has no fs-verity",
      {
        digest,
        hint: "turn it on with `fsverity enable`, or let the image be read and hashed once before it is mounted",
      },
    );
  const computed = fsverityFile(algorithm, fd);
  if (computed === digest) return "user space";
  throw wrongDigest(digest, computed);
}

function wrongDigest(digest: ObjectId, measured: ObjectId): ComposefsError {
  return new ComposefsError("digest-mismatch", `Image has wrong fs-verity: ${measured}`, { digest });
}

function imageVersion(fd: number, path: string): FormatVersion {
  const start = new Uint8Array(HEADER_BYTES);
  try {
    readSync(fd, start, 0, HEADER_BYTES, 0);
  } catch (error) {
    throw systemError(error, `reading ${path}`, path);
  }
  const kind = recognizeImage(start);
  if (kind.kind === "composefs") return kind.version;
  const what = kind.kind === "erofs" ? "an EROFS image, but composefs did not make it" : "not a composefs image";
  throw new ComposefsError("invalid", `${path} is ${what}`, { path });
}

function directoryAt(path: string, what: string): string {
  const absolute = resolve(path);
  let isDirectory: boolean;
  try {
    isDirectory = statSync(absolute).isDirectory();
  } catch (error) {
    throw systemError(error, `${what} ${path}`, absolute);
  }
  if (isDirectory) return absolute;
  throw new ComposefsError("invalid", `${what} ${path}: not a directory`, { path: absolute });
}

function openNamespace(path: string): number {
  try {
    return openSync(path, "r");
  } catch (error) {
    throw systemError(error, `Failed to open userns ${path}`, path);
  }
}
