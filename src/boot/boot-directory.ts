// The bootable transform of a directory on disk (docs/spec/boot.md, section 2): for `compute-id`, `create-image` and `create-dumpfile`
// with `--bootable`, and `compute-karg`.

import { lstatSync } from "node:fs";
import { join } from "node:path";
import { ComposefsError } from "../error.ts";
import type { Repository } from "../repository/repository.ts";
import type { Directory } from "../tree/node.ts";
import { type BootableTree, bootableTransform, type EmptiedMtimes } from "./bootable-transform.ts";
import { directoryBodies } from "./directory-bodies.ts";
import type { ReadFile } from "./resource.ts";

/** What a scan does with its tree: see `DirectoryTreeOptions`. */
export type TreeTransform = (root: Directory) => Promise<void>;

/** Options of {@link bootableDirectory}. */
export interface BootableDirectoryOptions {
  /** The repository into which the files of the directory are being stored; the directory itself is read when left out. */
  readonly repository?: Repository | undefined;
  /** What /boot and /sysroot take of the time of /usr; `seconds` when left out. */
  readonly mtimes?: EmptiedMtimes | undefined;
  /** Told what was found. */
  readonly onTransform?: ((result: BootableTree, root: Directory) => void | Promise<void>) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The transform to give to a scan of a directory. Without a repository nothing is found out about what the image is booted with.
 *
 * @throws ComposefsError `invalid` at once when the directory lacks /usr, /boot or /sysroot
 * @example
 * ```ts
 * const id = await computeDirectoryId("./rootfs", { transform: bootableDirectory("./rootfs") });
 * ```
 */
export function bootableDirectory(path: string, options: BootableDirectoryOptions = {}): TreeTransform {
  const { repository, mtimes, onTransform, signal } = options;
  // The transform would say so too, but only after everything has been read.
  if (lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true) {
    for (const name of ["usr", "boot", "sysroot"]) checkDirectory(path, name);
  }
  const readFile = repository === undefined ? directoryBodies(path) : repositoryBodies(repository);
  const mode = repository === undefined ? "directory" : "repository";
  return async (root) => {
    const result = await bootableTransform(root, { readFile, mode, mtimes, signal });
    await onTransform?.(result, root);
  };
}

function checkDirectory(path: string, name: string): void {
  const stat = lstatSync(join(path, name), { throwIfNoEntry: false });
  if (stat?.isDirectory() === true) return;
  const problem = stat === undefined ? `there is no directory /${name} in it` : `/${name} in it is not a directory`;
  throw new ComposefsError("invalid", `${path}: ${problem}`, {
    path: join(path, name),
    reason: stat === undefined ? "not-found" : "not-a-directory",
    hint: "a bootable image has the directories /usr, /boot and /sysroot; the last two may be empty",
  });
}

/** Reads files whose bodies are objects of a repository; the digest is verified. */
export function repositoryBodies(repository: Repository): ReadFile {
  return ({ path, leaf: { content } }) => {
    if (content.kind === "inline") return content.bytes;
    if (content.kind === "external" && content.digest !== undefined)
      return repository.readObject(content.digest, { limit: content.size });
    throw new ComposefsError("invalid", `${path} has no content that could be read`, { path });
  };
}
