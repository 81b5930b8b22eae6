// Changes to a boot directory that survive a loss of power (docs/spec/boot.md, section 11): each function returns when what it did is
// durable, and whatever moment it is cut at, every name refers to an old or a new file that is whole.

import { randomBytes } from "node:crypto";
import { ComposefsError } from "../../error.ts";
import type { BootVolume } from "./volume.ts";

/** What names of unfinished files begin with; boot loaders pass over them. 16 hex digits follow. */
const TEMPORARY_PREFIX = ".composefs-";
const TEMPORARY = /^\.composefs-[0-9a-f]{16}$/;
/** An unfinished file that has not been changed for an hour is left of a command that was killed. */
const LEFT_OVER_MS = 3_600_000;

/** Makes a directory and those above it. */
export function makeDirectories(volume: BootVolume, path: string): void {
  const components = path.split("/").filter((part) => part !== "");
  for (const index of components.keys()) {
    const parent = components.slice(0, index).join("/");
    if (volume.makeDirectory(components.slice(0, index + 1).join("/"))) volume.sync(parent);
  }
}

/**
 * Writes a file, in the place of whatever has its name; its directory is made if need be.
 *
 * @param chunks the content; when they throw, nothing has changed
 * @param signal ends the writing with an `aborted` error
 */
export async function writeDurably(
  volume: BootVolume,
  path: string,
  chunks: Iterable<Uint8Array>,
  signal?: AbortSignal,
): Promise<void> {
  const directory = parentOf(path);
  makeDirectories(volume, directory);
  removeLeftOver(volume, directory);
  const temporary = `${directory === "" ? "" : `${directory}/`}${TEMPORARY_PREFIX}${randomBytes(8).toString("hex")}`;
  try {
    await volume.createFile(temporary, chunks, { mode: volume.mode(path), signal });
    volume.rename(temporary, path);
  } catch (error) {
    // What made the writing fail is more important than what is left of it.
    quietly(() => volume.unlink(temporary));
    throw error;
  }
  volume.sync(directory);
}

// A kernel that was half written can take the room that the next one needs.
function removeLeftOver(volume: BootVolume, directory: string): void {
  for (const path of leftOverFiles(volume, directory)) quietly(() => volume.unlink(path));
}

/** The paths of unfinished files in a directory that are left of a command that was killed. */
export function leftOverFiles(volume: BootVolume, directory: string): string[] {
  return (volume.list(directory) ?? [])
    .filter(({ name, type }) => type === "file" && TEMPORARY.test(name))
    .map(({ name }) => (directory === "" ? name : `${directory}/${name}`))
    .filter((path) => isLeftOver(volume, path));
}

/** Whether something unfinished has not been changed for so long that nobody is at work on it. */
export function isLeftOver(volume: BootVolume, path: string): boolean {
  return (volume.age(path) ?? 0) > LEFT_OVER_MS;
}

/** Gives a file another name in its directory, in the place of whatever has it. Nothing happens when it is not there. */
export function renameDurably(volume: BootVolume, from: string, to: string): void {
  const directory = parentOf(from);
  const name = from.slice(directory === "" ? 0 : directory.length + 1);
  if (volume.list(directory)?.some((one) => one.name === name) !== true) return;
  volume.rename(from, to);
  volume.sync(parentOf(to));
}

/** Removes a file, or a directory with everything in it; links are not followed. Nothing happens when it is not there. */
export function removeDurably(volume: BootVolume, path: string): void {
  const directory = parentOf(path);
  const name = path.slice(directory === "" ? 0 : directory.length + 1);
  const entry = volume.list(directory)?.find((one) => one.name === name);
  if (entry === undefined) return;
  if (entry.type === "directory") removeTree(volume, path, 0);
  else volume.unlink(path);
  volume.sync(directory);
}

function removeTree(volume: BootVolume, path: string, depth: number): void {
  if (depth > 100)
    throw new ComposefsError("limit", `${volume.root}/${path} is nested too deep to be removed`, {
      path,
      hint: "remove it by hand",
    });
  for (const { name, type } of volume.list(path) ?? []) {
    if (type === "directory") removeTree(volume, `${path}/${name}`, depth + 1);
    else volume.unlink(`${path}/${name}`);
  }
  volume.removeDirectory(path);
}

/** The directory of a path; empty for the volume itself. */
export function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}

function quietly(action: () => void): void {
  try {
    action();
  } catch {
    // It is a temporary file: a later command removes it.
  }
}
