// From a directory to a tree (docs/spec/tree.md, section 2, column "cfsctl create-image"; the transforms come after).
// Depth first, every entry relative to its open directory, so that neither long paths nor renames lead astray.

import { setImmediate } from "node:timers/promises";
import type { Algorithm, ObjectId } from "../../bytes/algorithm.ts";
import { type ByteString, displayBytes, utf8ByteString } from "../../bytes/byte-string.ts";
import { backendChoice } from "../../core/backend.ts";
import { ComposefsError } from "../../error.ts";
import type { ProgressListener } from "../../progress.ts";
import { type DirectoryEntry, type FileStat, type ScanCalls, scanCalls } from "../../runtime/scan-calls.ts";
import { workerEntry } from "../../runtime/workers.ts";
import { type Content, Directory, Leaf, NO_XATTRS, type Stat } from "../node.ts";
import { changedError, contentDigests, readWhole } from "./content.ts";
import { FilePool, type FileWork, locateError, timeStamp } from "./file-pool.ts";
import type { HashWorkerData } from "./hash-worker.ts";
import { XattrSets } from "./xattr-sets.ts";

/** Largest content that lies in the image; a constant of the format, as another one would change every digest. */
const INLINE_LIMIT = 64;

/** Directories that stay open at once; those above are opened again through `..`. */
const OPEN_DIRECTORIES = 64;

/** How long the scan keeps the thread to itself, in milliseconds. */
const SLICE = 15;

const TYPE = 0o170000;
const DIRECTORY = 0o040000;
const REGULAR = 0o100000;
const SYMLINK = 0o120000;
const SPECIAL: Record<number, "char" | "block" | "fifo" | "socket"> = {
  0o010000: "fifo",
  0o020000: "char",
  0o060000: "block",
  0o140000: "socket",
};

/** Options of {@link scanDirectory}. */
export interface ScanOptions {
  /** Algorithms of the digests of files; the tree has those of the first. sha512 when left out. */
  readonly algorithms?: readonly Algorithm[] | undefined;
  /** false leaves all xattrs unread. */
  readonly xattrs?: boolean | undefined;
  /** Threads, the calling one included; as many as there are processors, at most 4, when left out. */
  readonly threads?: number | undefined;
  /** What is done with the contents instead of computing their digests: they are stored, for example. */
  readonly work?: FileWork | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

/** A directory that was scanned. */
export interface ScannedTree {
  readonly root: Directory;
  /** Digests by file content, in the order of the algorithms. */
  readonly digests: ReadonlyMap<Content, readonly ObjectId[]>;
  /** Names, the root included. */
  readonly entries: number;
  /** Files whose content was read for a digest. */
  readonly files: number;
  /** Bytes of those. */
  readonly bytes: bigint;
}

/**
 * Reads a directory with everything below it, other file systems that are mounted there too: exact to the nanosecond and to
 * the byte. Names of the same inode become hard links. Needs the npm package koffi.
 *
 * @throws ComposefsError `not-found`, `permission`, `invalid` (no directory), `io` when something changes meanwhile,
 * `unsupported` without koffi; `path` says where
 * @example
 * ```ts
 * const { root } = await scanDirectory("./rootfs", { algorithms: ["sha256"] });
 * console.log(imageId(root, { version: 1, algorithm: "sha256" }).id);
 * ```
 */
export async function scanDirectory(path: string, options: ScanOptions = {}): Promise<ScannedTree> {
  const { algorithms = ["sha512"], threads } = options;
  const data: HashWorkerData = { algorithms, choice: backendChoice() };
  const work = options.work ?? {
    here: (fd: number, size: number) => contentDigests(fd, size, algorithms),
    entry: workerEntry("./hash-worker", import.meta.url),
    data,
  };
  const workers = threads === undefined ? undefined : threads - 1;
  await using pool = new FilePool(work, { workers, signal: options.signal });
  const scanner = new Scanner(path, pool, options);
  try {
    return await scanner.run();
  } finally {
    scanner.close();
  }
}

/** A directory on the way from the root to where the scan is. */
interface Frame {
  readonly node: Directory;
  readonly stat: FileStat;
  readonly name: ByteString;
  readonly parent: Frame | undefined;
  /** -1 while it is closed. */
  fd: number;
  /** Directories in it that are still to be scanned. */
  readonly pending: ByteString[];
}

/** The digest is filled in when it is known. */
type ExternalContent = { kind: "external"; size: number; digest: ObjectId | undefined };

class Scanner {
  readonly #path: string;
  readonly #pool: FilePool;
  readonly #options: ScanOptions;
  readonly #calls: ScanCalls = scanCalls();
  readonly #stack: Frame[] = [];
  readonly #sets = new XattrSets();
  readonly #leaves = new Map<number, Map<bigint, Leaf>>();
  readonly #digests = new Map<Content, readonly ObjectId[]>();
  #entries = 1;
  #files = 0;
  #bytes = 0n;
  #sliceEnd = 0;

  constructor(path: string, pool: FilePool, options: ScanOptions) {
    this.#path = path;
    this.#pool = pool;
    this.#options = options;
  }

  async run(): Promise<ScannedTree> {
    const { onProgress } = this.#options;
    const id = `scan ${this.#path}`;
    onProgress?.({ type: "start", id, kind: "files", label: this.#path });
    const root = await this.#openRoot();
    for (let top = this.#stack.at(-1); top !== undefined; top = this.#stack.at(-1)) {
      const name = top.pending.pop();
      if (name === undefined) this.#leave(top);
      else {
        await this.#enter(this.#openDirectory(top, name), name, top);
        onProgress?.({ type: "advance", id, done: this.#entries });
      }
    }
    await this.#pool.finish();
    onProgress?.({ type: "done", id });
    return { root, digests: this.#digests, entries: this.#entries, files: this.#files, bytes: this.#bytes };
  }

  /** Closes what is still open after a failure. */
  close(): void {
    for (const { fd } of this.#stack) if (fd >= 0) this.#calls.close(fd);
  }

  async #openRoot(): Promise<Directory> {
    let fd: number;
    try {
      fd = this.#calls.openRoot(this.#path);
    } catch (error) {
      throw rootError(error, this.#path);
    }
    return this.#enter(fd, "", undefined);
  }

  /** Takes an open directory onto the stack, with all in it but directories. */
  async #enter(fd: number, name: ByteString, parent: Frame | undefined): Promise<Directory> {
    const frame = this.#push(fd, name, parent);
    parent?.node.entries.set(name, frame.node);
    let entries: DirectoryEntry[];
    try {
      entries = this.#calls.entries(fd);
    } catch (error) {
      throw this.#located(error, frame);
    }
    this.#entries += entries.length;
    // Whether the files in it allow O_NOATIME: those of other owners do not, and rarely come alone.
    let noAtime = true;
    for (const { name: child, type } of entries) {
      if (performance.now() > this.#sliceEnd) await this.#breathe();
      try {
        if (type === DIRECTORY) frame.pending.push(child);
        else if (type === REGULAR) noAtime = this.#file(frame, child, noAtime);
        else this.#other(frame, child);
        if (this.#pool.isFull) await this.#pool.room();
      } catch (error) {
        throw this.#located(error, frame, child);
      }
    }
    return frame.node;
  }

  #push(fd: number, name: ByteString, parent: Frame | undefined): Frame {
    let stat: FileStat;
    let node: Directory;
    try {
      stat = this.#calls.stat(fd);
      node = new Directory(this.#stat(stat, fd, false));
    } catch (error) {
      this.#calls.close(fd);
      throw error;
    }
    const frame: Frame = { node, stat, name, parent, fd, pending: [] };
    this.#stack.push(frame);
    const surplus = this.#stack[this.#stack.length - 1 - OPEN_DIRECTORIES];
    if (surplus !== undefined && surplus.fd >= 0) {
      this.#calls.close(surplus.fd);
      surplus.fd = -1;
    }
    return frame;
  }

  /** Goes back to the parent of a directory that is done. */
  #leave(frame: Frame): void {
    const { parent } = frame;
    try {
      if (timeStamp(this.#calls.stat(frame.fd)) !== timeStamp(frame.stat)) throw directoryChanged();
      if (parent !== undefined && parent.fd < 0) {
        parent.fd = this.#open(frame.fd, "..", "directory", true);
        const { inode, device } = this.#calls.stat(parent.fd);
        if (inode !== parent.stat.inode || device !== parent.stat.device) throw directoryChanged();
      }
    } catch (error) {
      throw this.#located(error, frame);
    }
    this.#calls.close(frame.fd);
    this.#stack.pop();
  }

  #openDirectory(parent: Frame, name: ByteString): number {
    try {
      return this.#open(parent.fd, name, "directory", true);
    } catch (error) {
      throw this.#located(error, parent, name);
    }
  }

  #open(parent: number, name: ByteString, kind: "directory" | "file", noAtime: boolean): number {
    try {
      return this.#calls.open(parent, name, kind, noAtime);
    } catch (error) {
      if (!noAtime || (error as { code?: unknown }).code !== "EPERM") throw error;
      return this.#calls.open(parent, name, kind, false);
    }
  }

  /** A regular file. Answers whether O_NOATIME is still worth a try. */
  #file(frame: Frame, name: ByteString, noAtime: boolean): boolean {
    const calls = this.#calls;
    let allowed = noAtime;
    let fd: number;
    try {
      fd = calls.open(frame.fd, name, "file", noAtime);
    } catch (error) {
      if (!noAtime || (error as { code?: unknown }).code !== "EPERM") throw error;
      fd = calls.open(frame.fd, name, "file", false);
      allowed = false;
    }
    let taken = false;
    try {
      const stat = calls.stat(fd);
      if ((stat.mode & TYPE) !== REGULAR) throw typeChanged();
      if (this.#knownLeaf(stat, frame, name)) return allowed;
      const metadata = this.#stat(stat, fd, false);
      const size = Number(stat.size);
      if (size <= INLINE_LIMIT) {
        this.#add(new Leaf(metadata, { kind: "inline", bytes: this.#inline(fd, stat) }), stat, frame, name);
        return allowed;
      }
      const content: ExternalContent = { kind: "external", size, digest: undefined };
      this.#add(new Leaf(metadata, content), stat, frame, name);
      this.#files++;
      this.#bytes += stat.size;
      taken = true;
      this.#pool.add({ fd, stat, path: () => this.#pathOf(frame, name) }, (digests) => {
        content.digest = digests[0];
        if (digests.length > 1) this.#digests.set(content, digests);
      });
      return allowed;
    } finally {
      if (!taken) calls.close(fd);
    }
  }

  #inline(fd: number, stat: FileStat): Uint8Array {
    if (stat.size === 0n) return new Uint8Array(0);
    const bytes = new Uint8Array(readWhole(fd, Number(stat.size)));
    if (timeStamp(this.#calls.stat(fd)) !== timeStamp(stat)) throw changedError();
    return bytes;
  }

  /** Anything that is neither directory nor regular file, or of which the file system did not say what it is. */
  #other(frame: Frame, name: ByteString): void {
    const fd = this.#calls.openPath(frame.fd, name);
    try {
      const stat = this.#calls.stat(fd);
      const type = stat.mode & TYPE;
      if (type === DIRECTORY) {
        frame.pending.push(name);
        return;
      }
      if (type === REGULAR) {
        this.#file(frame, name, true);
        return;
      }
      if (this.#knownLeaf(stat, frame, name)) return;
      const metadata = this.#stat(stat, fd, true);
      this.#add(new Leaf(metadata, this.#otherContent(fd, type, stat)), stat, frame, name);
    } finally {
      this.#calls.close(fd);
    }
  }

  #otherContent(fd: number, type: number, { rdev }: FileStat): Content {
    if (type === SYMLINK) return { kind: "symlink", target: this.#calls.readLink(fd) };
    const kind = SPECIAL[type];
    if (kind === undefined) throw new ComposefsError("unsupported", "a file of an unknown type");
    return kind === "char" || kind === "block" ? { kind, rdev } : { kind };
  }

  #stat(stat: FileStat, fd: number, pathOnly: boolean): Stat {
    const { mode, uid, gid, mtimeSec, mtimeNsec } = stat;
    const xattrs = this.#options.xattrs === false ? NO_XATTRS : this.#sets.set(this.#calls.xattrs(fd, pathOnly));
    return { mode: mode & 0o7777, uid, gid, mtimeSec, mtimeNsec, xattrs };
  }

  /** Gives a leaf that is there already another name. */
  #knownLeaf({ device, inode }: FileStat, frame: Frame, name: ByteString): boolean {
    const leaf = this.#leaves.get(device)?.get(inode);
    if (leaf === undefined) return false;
    frame.node.entries.set(name, leaf);
    return true;
  }

  // Also when the file has one link: a bind mount shows it twice.
  #add(leaf: Leaf, { device, inode }: FileStat, frame: Frame, name: ByteString): void {
    frame.node.entries.set(name, leaf);
    let leaves = this.#leaves.get(device);
    if (leaves === undefined) this.#leaves.set(device, (leaves = new Map()));
    leaves.set(inode, leaf);
  }

  async #breathe(): Promise<void> {
    await setImmediate();
    this.#pool.check();
    this.#sliceEnd = performance.now() + SLICE;
  }

  #located(error: unknown, frame: Frame, name?: ByteString): ComposefsError {
    const path = this.#pathOf(frame, name);
    // What the pool throws knows its path already.
    return error instanceof ComposefsError && error.path !== undefined ? error : locateError(error, path);
  }

  #pathOf(frame: Frame, name?: ByteString): string {
    const parts = name === undefined ? [] : [name];
    for (let at: Frame | undefined = frame; at?.parent !== undefined; at = at.parent) parts.unshift(at.name);
    return displayBytes([utf8ByteString(this.#path.replace(/(?<=.)\/+$/, "")), ...parts].join("/"));
  }
}

function rootError(error: unknown, path: string): ComposefsError {
  const { code } = error as { code?: unknown };
  if (code === "ENOTDIR") {
    return new ComposefsError("invalid", `${path}: not a directory`, {
      path,
      hint: `images are made of directories; if it is a symlink to one, write "${path}/"`,
    });
  }
  if (code === "ENOENT") {
    return new ComposefsError("not-found", `${path}: there is no such directory`, {
      path,
      cause: error,
      hint: `check the spelling; relative paths begin in ${process.cwd()}`,
    });
  }
  return locateError(error, path);
}

function typeChanged(): ComposefsError {
  return new ComposefsError("io", "it became a file of another type while it was looked at", {
    hint: "run the command again when nothing writes to the directory, or scan a snapshot of it",
  });
}

function directoryChanged(): ComposefsError {
  return new ComposefsError("io", "the directory was changed while it was read", {
    hint: "run the command again when nothing writes to the directory, or scan a snapshot of it",
  });
}
