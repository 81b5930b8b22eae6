// The directory that becomes a file system, as plain data: names as bytes, owners, times, xattrs, hard links (docs/spec/vm-testing.md,
// section 6). Nothing is written, and no file's content is read.

import type { ByteString } from "../../bytes/byte-string.ts";
import { compareBytes, displayBytes } from "../../bytes/byte-string.ts";
import { ComposefsError, systemError, throwIfAborted } from "../../error.ts";
import { type FileStat, type ScanCalls, scanCalls } from "../../runtime/scan-calls.ts";

/** Type bits of st_mode. */
export const TYPE = {
  mask: 0o170000,
  fifo: 0o010000,
  character: 0o020000,
  directory: 0o040000,
  block: 0o060000,
  regular: 0o100000,
  symlink: 0o120000,
  socket: 0o140000,
} as const;

/** Something that gets an inode. */
export interface SourceNode {
  /** As in st_mode. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of a regular file. */
  readonly size: number;
  /** Whether less is allocated for it than that. */
  readonly hasHoles: boolean;
  readonly seconds: number;
  readonly nanoseconds: number;
  readonly rdev: number;
  /** Names and values in turns. */
  readonly xattrs: readonly ByteString[];
  /** Of a symlink. */
  readonly target: ByteString | undefined;
  /** Of a directory, sorted. */
  readonly children: readonly SourceName[] | undefined;
  /** A path of it relative to the root. */
  readonly path: ByteString;
  /** How many names it has; counted for what is no directory. */
  links: number;
  /** Its number in the file system, once given. */
  inode: number;
}

/** A name in a directory. */
export interface SourceName {
  readonly name: ByteString;
  readonly node: SourceNode;
}

/** How a directory is read. */
export interface SourceOptions {
  /** Owners on the disk for those in the directory. */
  readonly owner: (id: number, kind: "user" | "group") => number;
  /** No time is later than this second; it makes the bytes independent of the moment of the build. */
  readonly latest: number | undefined;
  /** Paths of directories that become empty: what lies in them belongs to another file system. */
  readonly mountPoints: ReadonlySet<ByteString>;
  readonly signal: AbortSignal | undefined;
}

/** Deeper directories are taken for a loop of mounts. */
const MAX_DEPTH = 512;

/**
 * Reads the directory. Sockets are left out, as is `lost+found` of a file system whose root it is.
 *
 * @throws ComposefsError `unsupported` without koffi; what the operating system refuses, with the path
 */
export async function readSourceTree(root: string, options: SourceOptions): Promise<SourceNode> {
  const reader = new Reader(scanCalls(), root, options);
  try {
    return await reader.read();
  } catch (error) {
    throw systemError(error, `reading ${root}`, root);
  }
}

class Reader {
  readonly #calls: ScanCalls;
  readonly #root: string;
  readonly #options: SourceOptions;
  /** What has been seen and is no directory, by its place on this machine: more names of one file are one inode. */
  readonly #seen = new Map<string, SourceNode>();
  #count = 0;

  constructor(calls: ScanCalls, root: string, options: SourceOptions) {
    this.#calls = calls;
    this.#root = root;
    this.#options = options;
  }

  async read(): Promise<SourceNode> {
    const fd = this.#calls.openRoot(this.#root);
    try {
      return await this.#directory(fd, "", 0);
    } finally {
      this.#calls.close(fd);
    }
  }

  async #directory(fd: number, path: ByteString, depth: number): Promise<SourceNode> {
    if (depth > MAX_DEPTH)
      throw new ComposefsError("limit", `${this.#shown(path)}: directories are nested deeper than ${MAX_DEPTH}`, {
        path: this.#shown(path),
      });
    const children: SourceName[] = [];
    const entries = this.#options.mountPoints.has(path)
      ? []
      : this.#calls.entries(fd).sort((a, b) => compareBytes(a.name, b.name));
    for (const { name } of entries) {
      if (path === "" && name === "lost+found") continue;
      const below = path === "" ? name : `${path}/${name}`;
      const node = await this.#entry(fd, name, below, depth);
      if (node !== undefined) children.push({ name, node });
    }
    return this.#node(this.#calls.stat(fd), path, this.#calls.xattrs(fd, false), { children });
  }

  async #entry(parent: number, name: ByteString, path: ByteString, depth: number): Promise<SourceNode | undefined> {
    if (++this.#count % 1024 === 0) {
      await new Promise((resolve) => setImmediate(resolve));
      throwIfAborted(this.#options.signal);
    }
    let fd = -1;
    try {
      fd = this.#calls.openPath(parent, name);
      const stat = this.#calls.stat(fd);
      const type = stat.mode & TYPE.mask;
      if (type === TYPE.socket) return undefined;
      if (type === TYPE.directory) {
        const opened = this.#calls.open(parent, name, "directory", false);
        try {
          return await this.#directory(opened, path, depth + 1);
        } finally {
          this.#calls.close(opened);
        }
      }
      const key = `${stat.device}:${stat.inode}`;
      const known = this.#seen.get(key);
      if (known !== undefined) {
        known.links++;
        return known;
      }
      const target = type === TYPE.symlink ? this.#calls.readLink(fd) : undefined;
      const node = this.#node(stat, path, this.#calls.xattrs(fd, true), { target });
      this.#seen.set(key, node);
      return node;
    } catch (error) {
      throw systemError(error, `reading ${this.#shown(path)}`, this.#shown(path));
    } finally {
      if (fd >= 0) this.#calls.close(fd);
    }
  }

  #node(
    stat: FileStat,
    path: ByteString,
    xattrs: readonly ByteString[],
    more: { target?: ByteString | undefined; children?: readonly SourceName[] },
  ): SourceNode {
    const { owner, latest } = this.#options;
    const seconds = Number(stat.mtimeSec);
    const isRegular = (stat.mode & TYPE.mask) === TYPE.regular;
    const isLate = latest !== undefined && seconds >= latest;
    return {
      mode: stat.mode,
      uid: owner(stat.uid, "user"),
      gid: owner(stat.gid, "group"),
      size: isRegular ? Number(stat.size) : 0,
      hasHoles: isRegular && stat.blocks * 512n < stat.size,
      seconds: isLate ? latest : seconds,
      nanoseconds: isLate ? 0 : stat.mtimeNsec,
      rdev: stat.rdev,
      xattrs,
      target: more.target,
      children: more.children,
      path,
      links: 1,
      inode: 0,
    };
  }

  #shown(path: ByteString): string {
    return path === "" ? this.#root : `${this.#root}/${displayBytes(path)}`;
  }
}
