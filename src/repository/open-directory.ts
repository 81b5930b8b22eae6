// Opening a repository's directory: what it is, and the shared lock on it (docs/spec/repository.md, sections 3 and 8).

import { accessSync, closeSync, constants, fstatSync, openSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Algorithm } from "../bytes/algorithm.ts";
import { ComposefsError, systemError } from "../error.ts";
import { type LockWait, syscalls } from "../runtime/syscalls.ts";
import { algorithmName, checkMeta, type Meta, META_FILE, newMeta, parseMeta } from "./meta.ts";

/** A repository's directory, open and locked. */
export interface OpenDirectory {
  /** Absolute path. */
  path: string;
  /** Descriptor of the directory; it holds the lock. */
  fd: number;
  meta: Meta;
  /** Whether meta.json exists. Without it the configuration was inferred from the objects. */
  hasMeta: boolean;
  /** Whether fs-verity is required. */
  secure: boolean;
  /** Why nothing may be written; undefined when it may. */
  readOnlyReason: string | undefined;
}

/** Identifies a directory beyond its path. */
export function directoryKey(fd: number): string {
  const { dev, ino } = fstatSync(fd, { bigint: true });
  return `${dev}:${ino}`;
}

/** Opens, takes the shared lock, then reads the configuration; nothing is written. */
export async function openDirectory(
  path: string,
  options: { noUpgrade?: boolean; lock?: LockWait } = {},
): Promise<OpenDirectory> {
  const fd = openPath(path);
  try {
    // Before the lock: waiting for it in a directory that is no repository would be absurd.
    if (!existsMeta(path) && inferAlgorithm(path) === undefined) throw notARepository(path, options.noUpgrade);
    await syscalls().flock(fd, "shared", options.lock);
    return { path, fd, ...readConfiguration(path, options.noUpgrade) };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Why the directory cannot be written, as an error; undefined when it can. */
export function writeObstacle(path: string): ComposefsError | undefined {
  try {
    accessSync(path, constants.W_OK);
    return undefined;
  } catch (error) {
    const code = (error as { code?: unknown }).code;
    if (code === "EROFS")
      return new ComposefsError("read-only", `Repository is not writable: read-only file system (${path})`, {
        path,
        cause: error,
        hint: "remount the file system read-write, or use another repository with --repo",
      });
    return new ComposefsError("permission", `Repository is not writable: Permission denied (${path})`, {
      path,
      cause: error,
      hint: `${ownerOf(path)}use another repository with --repo or --user`,
    });
  }
}

/** The algorithm of a repository without meta.json, by the length of its objects' names, and one of those objects. */
export function inferAlgorithm(path: string): { algorithm: Algorithm; object: string } | undefined {
  const objects = join(path, "objects");
  for (const directory of list(objects)) {
    if (!/^[0-9a-f]{2}$/.test(directory)) continue;
    for (const name of list(join(objects, directory))) {
      if (!/^[0-9a-f]+$/.test(name)) continue;
      if (name.length === 62 || name.length === 126)
        return { algorithm: name.length === 62 ? "sha256" : "sha512", object: join(objects, directory, name) };
    }
  }
  return undefined;
}

/** Whether fs-verity is enabled on a file. */
export function hasVerity(path: string): boolean {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | (constants.O_NONBLOCK ?? 0));
  } catch (error) {
    throw systemError(error, `opening ${path}`, path);
  }
  try {
    const measured = syscalls().measureVerity(fd, path);
    return measured !== undefined && measured !== "unsupported";
  } finally {
    closeSync(fd);
  }
}

function readConfiguration(path: string, noUpgrade: boolean | undefined): Omit<OpenDirectory, "path" | "fd"> {
  const file = join(path, META_FILE);
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    if ((error as { code?: unknown }).code !== "ENOENT") throw systemError(error, `reading ${file}`, file);
    const inferred = inferAlgorithm(path);
    if (!inferred || noUpgrade) throw notARepository(path, noUpgrade);
    return {
      meta: newMeta(inferred.algorithm, 1),
      hasMeta: false,
      secure: hasVerity(inferred.object),
      readOnlyReason: `it has no ${META_FILE}: run \`composefs init --ensure --algorithm ${algorithmName(inferred.algorithm)}\` to upgrade it`,
    };
  }
  const meta = parseMeta(bytes, file);
  const allowed = checkMeta(meta, file);
  return {
    meta,
    hasMeta: true,
    secure: hasVerity(file),
    readOnlyReason: allowed.writable ? undefined : allowed.reason,
  };
}

function existsMeta(path: string): boolean {
  return statSync(join(path, META_FILE), { throwIfNoEntry: false }) !== undefined;
}

function openPath(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    const code = (error as { code?: unknown }).code;
    if (code === "ENOENT")
      throw new ComposefsError("not-found", `there is no repository at ${path}: no such file or directory`, {
        path,
        cause: error,
        hint: "make one with `composefs init`, or choose another one with --repo PATH",
      });
    if (code === "ENOTDIR")
      throw new ComposefsError("not-a-repository", `${path} is not a directory, so it is no repository`, {
        path,
        cause: error,
      });
    if (code === "EACCES")
      throw new ComposefsError("permission", `the repository at ${path} cannot be read: permission denied`, {
        path,
        cause: error,
        hint: `${ownerOf(path)}choose another repository with --repo or --user`,
      });
    throw systemError(error, `opening the repository ${path}`, path);
  }
}

function notARepository(path: string, noUpgrade: boolean | undefined): ComposefsError {
  if (noUpgrade && inferAlgorithm(path))
    return new ComposefsError("not-a-repository", `${META_FILE} not found in ${path}; it must be initialized first`, {
      path,
      hint: "run `composefs init --ensure`, or leave --no-upgrade out to read it as it is",
    });
  return new ComposefsError("not-a-repository", `${path} is not a composefs repository`, {
    path,
    hint: `it has neither ${META_FILE} nor objects; make a repository with \`composefs init\``,
  });
}

function ownerOf(path: string): string {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat === undefined ? "" : `it belongs to the user with the id ${stat.uid}; `;
}

function list(path: string): string[] {
  try {
    return readdirSync(path).toSorted();
  } catch {
    return [];
  }
}
