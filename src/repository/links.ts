// The symbolic links that give objects and streams their names (docs/spec/repository.md, section 1.1).

import { lstatSync, mkdirSync, readdirSync, readlinkSync, renameSync, symlinkSync, unlinkSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import { type Algorithm, DIGEST_SIZE, isObjectId, type ObjectId, objectPath } from "../bytes/algorithm.ts";
import { ComposefsError, systemError } from "../error.ts";
import { relativeTarget } from "./names.ts";

/** First characters of temporary links; they are made in the repository's root. */
export const TEMPORARY_LINK = ".symlink-";

/** An entry below a directory of links. */
export interface LinkEntry {
  /** Path relative to the directory that was listed. */
  name: string;
  /** Target of the link; undefined for anything that is neither a link nor a directory. */
  target: string | undefined;
}

/** Target of a link, undefined when there is none (or something that is no link: `other`). */
export function readLink(root: string, link: string): string | undefined | { other: true } {
  try {
    return readlinkSync(join(root, link));
  } catch (error) {
    const code = (error as { code?: unknown }).code;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    if (code === "EINVAL") return { other: true };
    throw systemError(error, `reading the link ${link}`, join(root, link));
  }
}

/** The object that a first-level entry of `streams/` or `images/` leads to: the last `xx/rest` of its target. */
export function objectOfTarget(target: string, algorithm: Algorithm): ObjectId | undefined {
  const tail = target.slice(-(2 * DIGEST_SIZE[algorithm] + 1));
  if (tail[2] !== "/") return undefined;
  const id = tail.slice(0, 2) + tail.slice(3);
  return isObjectId(id, algorithm) && target[target.length - tail.length - 1] === "/" ? id : undefined;
}

/**
 * Makes or re-points a link, atomically; does nothing when it is right already.
 *
 * @param link path relative to the root
 * @param target path relative to the root; the link's own target becomes relative to its directory
 * @returns whether anything was changed
 */
export function putLink(root: string, link: string, target: string): boolean {
  const relative = relativeTarget(link, target);
  if (readLink(root, link) === relative) return false;
  const temporary = join(root, `${TEMPORARY_LINK}${randomName()}`);
  try {
    makeDirectories(root, dirname(link));
    symlinkSync(relative, temporary);
    try {
      renameSync(temporary, join(root, link));
    } catch (error) {
      unlinkSync(temporary);
      throw error;
    }
  } catch (error) {
    throw systemError(error, `making the link ${link}`, join(root, link));
  }
  return true;
}

/** Link target of a first-level entry. */
export function objectTarget(id: ObjectId): string {
  return `objects/${objectPath(id)}`;
}

/** Removes a link. False when there is none; refuses to remove anything else. */
export function removeLink(root: string, link: string): boolean {
  checkDirectories(root, dirname(link));
  const target = readLink(root, link);
  if (target === undefined) return false;
  if (typeof target !== "string")
    throw new ComposefsError("corrupt", `${link} is not a symbolic link`, {
      path: join(root, link),
      hint: "run `composefs fsck`",
    });
  try {
    unlinkSync(join(root, link));
  } catch (error) {
    throw systemError(error, `removing the link ${link}`, join(root, link));
  }
  return true;
}

/**
 * Where a link leads, as a path relative to the root, by its text alone; undefined when it leaves the repository.
 */
export function targetPath(link: string, target: string): string | undefined {
  if (target.startsWith("/") || target.includes("\0")) return undefined;
  const path = posix.normalize(posix.join(posix.dirname(link), target));
  return path.startsWith("../") || path === ".." ? undefined : path;
}

/** The entries of a directory of links, not recursive, sorted; empty when it does not exist. */
export function listLinks(root: string, directory: string, except?: string): LinkEntry[] {
  return names(root, directory)
    .filter((name) => name !== except)
    .map((name) => {
      const target = readLink(root, `${directory}/${name}`);
      return { name, target: typeof target === "string" ? target : undefined };
    });
}

/** Links below a directory and its subdirectories, sorted by path; symbolic links are never followed. */
export function walkLinks(root: string, directory: string): LinkEntry[] {
  const found: LinkEntry[] = [];
  const pending = [""];
  for (let prefix = pending.pop(); prefix !== undefined; prefix = pending.pop()) {
    for (const name of names(root, prefix === "" ? directory : `${directory}/${prefix}`)) {
      const path = prefix === "" ? name : `${prefix}/${name}`;
      const target = readLink(root, `${directory}/${path}`);
      if (typeof target === "string") found.push({ name: path, target });
      else if (lstatSync(join(root, directory, path), { throwIfNoEntry: false })?.isDirectory()) pending.push(path);
      else found.push({ name: path, target: undefined });
    }
  }
  return found.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

function names(root: string, directory: string): string[] {
  const path = join(root, directory);
  try {
    return readdirSync(path).toSorted();
  } catch (error) {
    const code = (error as { code?: unknown }).code;
    if (code === "ENOENT") return [];
    throw systemError(error, `listing ${directory}`, path);
  }
}

// A directory that is a symbolic link would lead out of the repository.
function checkDirectories(root: string, directory: string): void {
  let path = "";
  for (const component of directory.split("/")) {
    path = path === "" ? component : `${path}/${component}`;
    const stat = lstatSync(join(root, path), { throwIfNoEntry: false });
    if (stat === undefined) return;
    if (!stat.isDirectory())
      throw new ComposefsError("corrupt", `${path} in the repository is not a directory`, {
        path: join(root, path),
        hint: path.includes("/") ? "a ref has that name already; choose another one" : "run `composefs fsck`",
      });
  }
}

function makeDirectories(root: string, directory: string): void {
  checkDirectories(root, directory);
  // One by one: made recursively, Node reports any failure as a missing directory.
  const parts = directory.split("/");
  for (let depth = 1; depth <= parts.length; depth++) {
    try {
      mkdirSync(join(root, ...parts.slice(0, depth)), 0o755);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
  }
}

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

function randomName(): string {
  let name = "";
  for (let i = 0; i < 12; i++) name += LETTERS[Math.floor(Math.random() * LETTERS.length)];
  return name;
}
