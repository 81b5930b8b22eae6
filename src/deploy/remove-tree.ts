// Removes directories of a sysroot with everything in them (docs/spec/deployments.md, sections 2.1 and 4.8). Symlinks go, and are never
// followed: `var` of a deployment leads to data that all of them share. Names can be any bytes, and trees deeper than a path can name.

import { randomBytes } from "node:crypto";
import { chmodSync, lstatSync, readdirSync, renameSync, rmdirSync, unlinkSync } from "node:fs";
import type { ByteString } from "../bytes/byte-string.ts";
import { systemError } from "../error.ts";
import { mergeCalls } from "../runtime/merge-calls.ts";
import { scanCallsIfAny } from "../runtime/scan-calls.ts";

/** A path of more bytes is brought nearer to the top before it is followed. The system takes 4095. */
const NEAR = 2000;

/** What is needed of the system, by paths below one directory. Errors have the symbolic errno as their code. */
interface TreeCalls extends Disposable {
  names(path: ByteString): ByteString[];
  isFile(path: ByteString): boolean;
  /** Lets the owner of a directory change it: whoever is not root is bound to its mode. */
  permit(path: ByteString): void;
  unlink(path: ByteString): void;
  removeDirectory(path: ByteString): void;
  rename(from: ByteString, to: ByteString): void;
}

/**
 * Removes entries of a directory, whatever they are. Those that are not there are fine; a run that was cut is finished by another one.
 *
 * @param directory its path
 * @param isRemoved is asked for each entry that is no regular file, with its name as `node:fs` gives it: U+FFFD for what is not UTF-8
 * @throws ComposefsError for what the operating system refuses
 */
export function removeTrees(directory: string, isRemoved: (name: string) => boolean): void {
  using calls = treeCalls(directory);
  try {
    for (const name of calls.names("."))
      if (isRemoved(Buffer.from(name, "latin1").toString("utf8")) && !calls.isFile(name)) removeEntry(calls, name);
  } catch (error) {
    throw systemError(error, `removing what is left over in ${directory}`, directory);
  }
}

function removeEntry(calls: TreeCalls, top: ByteString): void {
  if (unlinked(calls, top)) return;
  const pending: ByteString[] = [top];
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    empty(calls, path, pending);
    removeDirectory(calls, path);
  }
}

function empty(calls: TreeCalls, path: ByteString, pending: ByteString[]): void {
  calls.permit(path);
  for (const name of namesIn(calls, path)) {
    const child = `${path}/${name}`;
    if (unlinked(calls, child)) continue;
    if (child.length > NEAR) {
      // Beside the others it is an orphan like them, should this be cut.
      const near = `.composefs-${randomBytes(8).toString("hex")}`;
      calls.rename(child, near);
      pending.push(near);
      continue;
    }
    empty(calls, child, pending);
    removeDirectory(calls, child);
  }
}

// False for a directory. Some file systems say EPERM of one.
function unlinked(calls: TreeCalls, path: ByteString): boolean {
  try {
    calls.unlink(path);
    return true;
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (code === "ENOENT") return true;
    if (code === "EISDIR" || code === "EPERM") return false;
    throw error;
  }
}

function namesIn(calls: TreeCalls, path: ByteString): ByteString[] {
  try {
    return calls.names(path);
  } catch (error) {
    if ((error as { code?: unknown }).code === "ENOENT") return [];
    throw error;
  }
}

function removeDirectory(calls: TreeCalls, path: ByteString): void {
  try {
    calls.removeDirectory(path);
  } catch (error) {
    if ((error as { code?: unknown }).code !== "ENOENT") throw error;
  }
}

// Without koffi names are bytes on Node and Bun; Deno has them as text then, and refuses what is none.
function treeCalls(directory: string): TreeCalls {
  const scan = scanCallsIfAny();
  const at = (path: ByteString) => Buffer.concat([Buffer.from(`${directory}/`), Buffer.from(path, "latin1")]);
  const isRoot = process.getuid?.() === 0;
  const permit = (path: ByteString) => {
    try {
      if (!isRoot) chmodSync(at(path), 0o700);
    } catch {
      // What follows says why it cannot be changed.
    }
  };
  if (scan === undefined) {
    return {
      permit,
      names: (path) => readdirSync(at(path), { encoding: "buffer" }).map((name) => name.toString("latin1")),
      isFile: (path) => lstatSync(at(path), { throwIfNoEntry: false })?.isFile() === true,
      unlink: (path) => unlinkSync(at(path)),
      removeDirectory: (path) => rmdirSync(at(path)),
      rename: (from, to) => renameSync(at(from), at(to)),
      [Symbol.dispose]: () => undefined,
    };
  }
  const calls = mergeCalls();
  const root = scan.openRoot(directory);
  return {
    permit,
    names(path) {
      const fd = scan.open(root, path, "directory", false);
      try {
        return scan.entries(fd).map(({ name }) => name);
      } finally {
        scan.close(fd);
      }
    },
    isFile: (path) => scan.look(root, path).type === 0o100000,
    unlink: (path) => calls.unlink(root, path),
    removeDirectory: (path) => calls.removeDirectory(root, path),
    rename: (from, to) => calls.rename(root, from, root, to),
    [Symbol.dispose]: () => scan.close(root),
  };
}
