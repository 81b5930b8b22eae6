// Fills `/etc` and `/var` of a deployment from its boot image (docs/spec/deployments.md, section 4.3): types, modes, owners, attributes,
// times and hard links. Sockets, pipes and devices are not copied, and nothing is followed.

import { setImmediate } from "node:timers/promises";
import { type ByteString, displayBytes, utf8ByteString } from "../bytes/byte-string.ts";
import { openImageFile } from "../boot/repository-files.ts";
import { ComposefsError, systemError, throwIfAborted } from "../error.ts";
import type { Repository } from "../repository/repository.ts";
import { type EntryMetadata, type MergeCalls, mergeCalls } from "../runtime/merge-calls.ts";
import { type ScanCalls, scanCalls } from "../runtime/scan-calls.ts";
import { Directory, type Leaf, type Node, NO_XATTRS, type Stat } from "../tree/node.ts";
import { isCarried, type XattrChoice } from "./carried-xattrs.ts";

/** What of the metadata is written. */
export interface SeedOptions {
  /** Owners, and with `full` the attributes that only root can set. True when left out. */
  readonly owners?: boolean | undefined;
  /** `full` when left out. */
  readonly xattrs?: XattrChoice | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** How many files are written before others get their turn. */
const TURN = 64;

/**
 * Makes a directory of a sysroot what a directory of an image is. It may be there already, and empty. Not durable by itself: the caller
 * syncs the file system.
 *
 * @param source the directory in the image; an empty one is made when it is undefined
 * @param parent path of the directory that gets it
 * @throws ComposefsError with the path for what the operating system refuses; `corrupt` and `not-found` for objects of the image;
 *   `unsupported` without koffi
 */
export async function seedDirectory(
  repository: Repository,
  source: Directory | undefined,
  parent: string,
  name: string,
  options: SeedOptions = {},
): Promise<void> {
  const scan = scanCalls();
  const fd = attempt(`opening ${parent}`, parent, () => scan.openRoot(parent));
  try {
    const target = utf8ByteString(name);
    const seeder = new Seeder(repository, fd, parent, options);
    await seeder.directory(source ?? new Directory(EMPTY), fd, target, target);
  } finally {
    scan.close(fd);
  }
}

const EMPTY: Stat = { mode: 0o755, uid: 0, gid: 0, mtimeSec: 0n, mtimeNsec: 0, xattrs: NO_XATTRS };

function attempt<T>(action: string, path: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    const failure = systemError(error, action, path);
    const { code } = error as { code?: unknown };
    if (failure === error || (code !== "EPERM" && code !== "EOPNOTSUPP" && code !== "ENOTSUP")) throw failure;
    throw new ComposefsError(failure.code, failure.message, {
      cause: error,
      path,
      hint: "owners and attributes are written as root only, and where the file system has them: --owner ignore and --xattrs user or none leave them away",
    });
  }
}

class Seeder {
  readonly #scan: ScanCalls = scanCalls();
  readonly #calls: MergeCalls = mergeCalls();
  readonly #repository: Repository;
  readonly #options: SeedOptions;
  readonly #root: number;
  readonly #shown: string;
  /** Where files with several names were put first. */
  readonly #placed = new Map<Leaf, ByteString>();
  #files = 0;

  constructor(repository: Repository, root: number, shown: string, options: SeedOptions) {
    this.#repository = repository;
    this.#root = root;
    this.#shown = shown;
    this.#options = options;
  }

  async directory(source: Directory, parent: number, name: ByteString, path: ByteString): Promise<void> {
    throwIfAborted(this.#options.signal);
    const shown = `${this.#shown}/${displayBytes(path)}`;
    const fd = attempt(`making ${shown}`, shown, () => {
      try {
        this.#calls.makeDirectory(parent, name);
      } catch (error) {
        if (parent !== this.#root || (error as { code?: unknown }).code !== "EEXIST") throw error;
      }
      return this.#scan.open(parent, name, "directory", false);
    });
    try {
      for (const [entry, node] of source.entries) {
        const below = `${path}/${entry}`;
        if (node instanceof Directory) await this.directory(node, fd, entry, below);
        else await this.#leaf(node, fd, entry, below);
      }
      // Last: the time changes with every entry, and the mode may forbid them.
      attempt(`setting the metadata of ${shown}`, shown, () =>
        this.#calls.setMetadata(fd, this.#metadata(source.stat)),
      );
    } finally {
      this.#scan.close(fd);
    }
  }

  async #leaf(node: Leaf, parent: number, name: ByteString, path: ByteString): Promise<void> {
    const { content, stat } = node;
    const shown = `${this.#shown}/${displayBytes(path)}`;
    const first = this.#placed.get(node);
    if (first !== undefined) {
      attempt(`linking ${shown}`, shown, () =>
        this.#inParent(first, (other) => this.#calls.link(other, nameOf(first), parent, name)),
      );
      return;
    }
    if (content.kind === "symlink") {
      attempt(`making ${shown}`, shown, () => {
        this.#calls.symlink(content.target, parent, name);
        this.#calls.setLinkMetadata(parent, name, this.#metadata(stat));
      });
    } else if (content.kind === "inline" || content.kind === "external") {
      const fd = attempt(`making ${shown}`, shown, () => this.#calls.createFile(parent, name));
      try {
        this.#write(fd, node, path, shown);
        attempt(`setting the metadata of ${shown}`, shown, () => this.#calls.setMetadata(fd, this.#metadata(stat)));
      } finally {
        this.#scan.close(fd);
      }
      if (++this.#files % TURN === 0) {
        throwIfAborted(this.#options.signal);
        await setImmediate();
      }
    } else return;
    this.#placed.set(node, path);
  }

  #write(fd: number, leaf: Leaf, path: ByteString, shown: string): void {
    const write = (chunk: Uint8Array) =>
      attempt(`writing ${shown}`, shown, () => this.#calls.write(fd, chunk, chunk.length));
    const { content } = leaf;
    if (content.kind === "external" && content.digest === undefined) {
      const zeros = new Uint8Array(Math.min(content.size, 1 << 20));
      for (let left = content.size; left > 0; left -= zeros.length)
        write(zeros.subarray(0, Math.min(left, zeros.length)));
      return;
    }
    using file = openImageFile(this.#repository, { path: `/${path}`, leaf });
    for (const chunk of file.chunks()) write(chunk);
  }

  // Every directory on the way is opened for itself: a symlink is never followed.
  #inParent(path: ByteString, work: (parent: number) => void): void {
    let fd = this.#root;
    try {
      for (const part of path.split("/").slice(0, -1)) {
        const below = this.#scan.open(fd, part, "directory", false);
        if (fd !== this.#root) this.#scan.close(fd);
        fd = below;
      }
      work(fd);
    } finally {
      if (fd !== this.#root) this.#scan.close(fd);
    }
  }

  #metadata(stat: Stat): EntryMetadata {
    const { owners = true, xattrs = "full" } = this.#options;
    return {
      owner: owners ? { uid: stat.uid, gid: stat.gid } : undefined,
      mode: stat.mode,
      xattrs: new Map([...stat.xattrs].filter(([name]) => isCarried(name, xattrs, owners))),
      // Nothing is there yet but what this machine gives every new file, such as a label, and does not let go.
      ownsXattr: () => false,
      mtimeSec: stat.mtimeSec,
      mtimeNsec: stat.mtimeNsec,
    };
  }
}

function nameOf(path: ByteString): ByteString {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** A directory of the image by a name in its root; undefined when there is none. */
export function rootDirectory(tree: Directory, name: string): Directory | undefined {
  const node: Node | undefined = tree.entries.get(utf8ByteString(name));
  return node instanceof Directory ? node : undefined;
}
