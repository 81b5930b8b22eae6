// Making a repository (docs/spec/repository.md, section 4).

import { closeSync, constants, fsyncSync, linkSync, mkdirSync, openSync, readFileSync, renameSync } from "node:fs";
import { rmdirSync, statfsSync, statSync, unlinkSync, writeSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import type { Algorithm } from "../bytes/algorithm.ts";
import { ComposefsError, systemError } from "../error.ts";
import { syscalls } from "../runtime/syscalls.ts";
import {
  algorithmName,
  checkMeta,
  effectiveFormats,
  type ErofsFormat,
  equalMeta,
  type Meta,
  META_FILE,
  newMeta,
  parseMeta,
  serializeMeta,
} from "./meta.ts";
import { hasVerity, inferAlgorithm, openDirectory } from "./open-directory.ts";

/** Options of {@link initRepository}. */
export interface InitOptions {
  /** sha512 when left out. */
  algorithm?: Algorithm;
  /** Format of images that is written by default; 1 when left out. */
  erofsVersion?: ErofsFormat;
  /** Do not require fs-verity. */
  insecure?: boolean;
  /** Accept a repository that is there already, whatever its format; upgrade one without meta.json. */
  ensure?: boolean;
}

/** What {@link initRepository} did. */
export interface InitResult {
  /** `exists`: there already, configured as asked. `preserved`: there already, and `ensure` left it as it is. */
  state: "created" | "exists" | "preserved" | "upgraded";
  /** Absolute path. */
  path: string;
  algorithm: Algorithm;
  /** Whether fs-verity is required; may differ from what was asked for when the repository existed. */
  secure: boolean;
  meta: Meta;
}

/**
 * Makes a repository, or finds that it is there. A failure leaves nothing behind.
 *
 * @throws ComposefsError `exists` when there is one with another configuration, `unsupported` when the file system has
 * no fs-verity and `insecure` was not given
 */
export async function initRepository(path: string, options: InitOptions = {}): Promise<InitResult> {
  const root = resolve(path);
  const algorithm = options.algorithm ?? "sha512";
  const wanted = newMeta(algorithm, options.erofsVersion ?? 1);
  const present = readPresent(root);
  if (present) return compare(root, present, wanted, options);

  const inferred = inferAlgorithm(root);
  if (inferred && inferred.algorithm !== algorithm && (options.algorithm !== undefined || !options.ensure))
    throw new ComposefsError(
      "exists",
      `${root} holds objects of the algorithm ${algorithmName(inferred.algorithm)}, not ${algorithmName(algorithm)}`,
      { path: root, hint: `give --algorithm ${algorithmName(inferred.algorithm)}` },
    );
  if (inferred && options.ensure) {
    // Old repositories were secure exactly when their objects have fs-verity.
    const secure = hasVerity(inferred.object);
    const meta = newMeta(inferred.algorithm, 1);
    if (!writeMeta(root, meta, secure)) return compare(root, readPresent(root) as Meta, meta, options);
    return { state: "upgraded", path: root, algorithm: inferred.algorithm, secure, meta };
  }

  const secure = options.insecure !== true;
  if (secure) testVerity(nearestDirectory(root), algorithm);
  const made = makeDirectories(root);
  try {
    if (writeMeta(root, wanted, secure)) {
      // A directory whose name is lost is no repository, however durable its content is.
      for (const directory of made) syncDirectory(dirname(directory));
      return { state: "created", path: root, algorithm, secure, meta: wanted };
    }
  } catch (error) {
    for (const directory of made) removeEmpty(directory);
    throw error;
  }
  // Another process was faster.
  return compare(root, readPresent(root) as Meta, wanted, options);
}

async function compare(root: string, present: Meta, wanted: Meta, options: InitOptions): Promise<InitResult> {
  checkMeta(present, join(root, META_FILE));
  const sameAlgorithm = present.algorithm === wanted.algorithm || (options.ensure && options.algorithm === undefined);
  if (!sameAlgorithm || (!options.ensure && !equalMeta(present, wanted)))
    throw new ComposefsError(
      "exists",
      `repository already initialized with different configuration (${describe(present)}); cannot re-initialize with (${describe(wanted)})`,
      { path: root, hint: "use it as it is with --ensure, or choose another directory" },
    );
  // Taking the lock waits for a collection in progress, as every other use of the repository does.
  const { fd, secure } = await openDirectory(root);
  closeSync(fd);
  return {
    state: options.ensure ? "preserved" : "exists",
    path: root,
    algorithm: present.algorithm,
    secure,
    meta: present,
  };
}

function describe(meta: Meta): string {
  return `algorithm: ${algorithmName(meta.algorithm)}, erofs_version: V${effectiveFormats(meta).join("+V")}`;
}

function readPresent(root: string): Meta | undefined {
  const path = join(root, META_FILE);
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    const code = (error as { code?: unknown }).code;
    if (code === "ENOENT") return undefined;
    if (code === "ENOTDIR") throw new ComposefsError("not-a-repository", `${root} is not a directory`, { path: root });
    throw systemError(error, `reading ${path}`, path);
  }
  return parseMeta(bytes, path);
}

/** Writes meta.json in place of one that is there. The caller holds the exclusive lock. */
export function replaceMeta(root: string, meta: Meta, secure: boolean): void {
  putMeta(root, meta, secure, (temporary, path) => {
    renameSync(temporary, path);
    return true;
  });
}

/** Writes meta.json without replacing one; false when there is one. */
function writeMeta(root: string, meta: Meta, secure: boolean): boolean {
  return putMeta(root, meta, secure, (temporary, path) => {
    try {
      linkSync(temporary, path);
      return true;
    } catch (error) {
      if ((error as { code?: unknown }).code === "EEXIST") return false;
      throw error;
    }
  });
}

function putMeta(
  root: string,
  meta: Meta,
  secure: boolean,
  place: (temporary: string, path: string) => boolean,
): boolean {
  const path = join(root, META_FILE);
  const temporary = join(root, `.tmp-meta-${process.pid}-${Math.random().toString(36).slice(2)}`);
  try {
    const fd = openSync(temporary, "wx", 0o644);
    try {
      writeSync(fd, serializeMeta(meta));
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    if (secure) enableOn(temporary, meta.algorithm, root);
    return place(temporary, path);
  } catch (error) {
    throw systemError(error, `writing ${path}`, path);
  } finally {
    unlinkQuietly(temporary);
    syncDirectory(root);
  }
}

/**
 * Tries fs-verity on a file of the same file system, so that nothing is created or removed where it cannot work.
 *
 * @throws ComposefsError `unsupported`
 */
export function testVerity(directory: string, algorithm: Algorithm): void {
  const path = join(directory, `.composefs-verity-test-${process.pid}-${Math.random().toString(36).slice(2)}`);
  try {
    closeSync(openSync(path, "wx", 0o600));
  } catch (error) {
    throw systemError(error, `making a repository in ${directory}`, directory);
  }
  try {
    enableOn(path, algorithm, directory);
  } finally {
    unlinkQuietly(path);
  }
}

function enableOn(path: string, algorithm: Algorithm, directory: string): void {
  const fd = openSync(path, constants.O_RDONLY);
  try {
    const result = syscalls().enableVerity(fd, path, algorithm);
    if (result === "enabled" || result === "already") return;
    throw new ComposefsError(
      "unsupported",
      `the file system of ${directory} (${fileSystemName(directory)}) does not support fs-verity`,
      {
        path: directory,
        hint: "make the repository with --insecure, or on ext4, btrfs or xfs with the verity feature enabled",
      },
    );
  } finally {
    closeSync(fd);
  }
}

const FILE_SYSTEMS: Record<string, string> = {
  ef53: "ext4 without the verity feature",
  "58465342": "xfs",
  "9123683e": "btrfs",
  "1021994": "tmpfs",
  "794c7630": "overlayfs",
  "6969": "nfs",
  "65735546": "fuse",
  "1021997": "9p",
  f2f52010: "f2fs",
  "2fc12fc1": "zfs",
};

function fileSystemName(path: string): string {
  try {
    const type = (statfsSync(path).type >>> 0).toString(16);
    return FILE_SYSTEMS[type] ?? `type 0x${type}`;
  } catch {
    return "of unknown type";
  }
}

function nearestDirectory(path: string): string {
  for (let directory = path; ; directory = dirname(directory)) {
    const stat = statSync(directory, { throwIfNoEntry: false });
    if (stat?.isDirectory()) return directory;
    if (stat) throw new ComposefsError("not-a-repository", `${directory} is not a directory`, { path: directory });
    if (directory === dirname(directory)) return directory;
  }
}

// The directories that were made, innermost first.
function makeDirectories(root: string): string[] {
  const made: string[] = [];
  const missing: string[] = [];
  const nearest = nearestDirectory(root);
  for (let path = root; path !== nearest; path = dirname(path)) missing.unshift(path);
  for (const path of missing) {
    try {
      mkdirSync(path, path === root ? 0o700 : 0o777);
      made.unshift(path);
    } catch (error) {
      if ((error as { code?: unknown }).code === "EEXIST") continue;
      for (const directory of made) removeEmpty(directory);
      throw systemError(error, `making the directory ${path}`, path);
    }
  }
  return made;
}

function removeEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch {
    // Something was put there meanwhile: it stays.
  }
}

function syncDirectory(path: string): void {
  try {
    const fd = openSync(path, constants.O_RDONLY);
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch {
    // Some file systems cannot sync a directory.
  }
}

function unlinkQuietly(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // It may not exist.
  }
}
