// A boot directory or ESP on disk, as the few operations that its executors need (docs/spec/boot.md, section 11): the tests put one in
// its place that loses power at any moment.

import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmdirSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { ComposefsError, systemError, throwIfAborted } from "../../error.ts";
import { syscalls } from "../../runtime/syscalls.ts";

/** An entry of a directory. */
export interface VolumeEntry {
  readonly name: string;
  readonly type: "file" | "directory" | "other";
}

/** An open file that is read from its beginning. */
export interface OpenVolumeFile extends Disposable {
  readonly size: number;
  /** The content in pieces of at most 1 MiB. A piece is valid until the next one. */
  chunks(): Iterable<Uint8Array>;
  /** Makes the content durable. */
  sync(): void;
}

/** File operations below one directory. Paths are relative, with `/`; the empty path is the directory itself. */
export interface BootVolume {
  /** The directory, for messages. */
  readonly root: string;
  /** Undefined when the directory does not exist. */
  list(directory: string): VolumeEntry[] | undefined;
  /** Undefined when the file does not exist. */
  open(path: string): OpenVolumeFile | undefined;
  /** Permission bits of a file; undefined when it does not exist. */
  mode(path: string): number | undefined;
  /** How long ago a file was changed, in milliseconds; undefined when it does not exist. */
  age(path: string): number | undefined;
  /** False when something has the name already. */
  makeDirectory(path: string): boolean;
  /** Makes a new file whose content, but not yet its name, is durable afterwards. The umask applies unless a mode is given. */
  createFile(path: string, chunks: Iterable<Uint8Array>, options: CreateFileOptions): Promise<void>;
  /** Replaces what has the new name. */
  rename(from: string, to: string): void;
  /** Exchanges two names in one step; false when this cannot be done here, and then nothing has happened. */
  exchange(a: string, b: string): boolean;
  /** Removes a name that is not a directory's; nothing happens when it is not there. */
  unlink(path: string): void;
  /** Removes an empty directory; nothing happens when it is not there. */
  removeDirectory(path: string): void;
  /** Makes the names of a directory durable. */
  sync(directory: string): void;
}

/** Options of {@link BootVolume.createFile}. */
export interface CreateFileOptions {
  readonly mode?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

const CHUNK = 1 << 20;

/** A directory of this machine. It need not exist yet. */
export class DirectoryVolume implements BootVolume {
  readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  list(directory: string): VolumeEntry[] | undefined {
    return this.#missing(directory, "reading the directory", (path) =>
      readdirSync(path, { withFileTypes: true }).map((entry) => ({
        name: entry.name,
        type: entry.isFile() ? ("file" as const) : entry.isDirectory() ? ("directory" as const) : ("other" as const),
      })),
    );
  }

  open(path: string): OpenVolumeFile | undefined {
    // O_NONBLOCK: a FIFO with the name must not make us wait for ever.
    const flags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);
    const fd = this.#missing(path, "opening", (full) => openSync(full, flags));
    if (fd === undefined) return undefined;
    const stat = fstatSync(fd);
    if (!stat.isFile()) {
      closeSync(fd);
      throw new ComposefsError("invalid", `${join(this.root, path)} is not a regular file`, { path });
    }
    return {
      size: stat.size,
      *chunks() {
        const buffer = Buffer.allocUnsafe(Math.min(CHUNK, stat.size + 1));
        for (let at = 0; ; ) {
          const count = readSync(fd, buffer, 0, buffer.length, at);
          if (count === 0) return;
          yield buffer.subarray(0, count);
          at += count;
        }
      },
      sync: () => fsyncSync(fd),
      [Symbol.dispose]: () => closeSync(fd),
    };
  }

  mode(path: string): number | undefined {
    return this.#missing(path, "looking at", (full) => statSync(full).mode & 0o7777);
  }

  age(path: string): number | undefined {
    return this.#missing(path, "looking at", (full) => Date.now() - lstatSync(full).mtimeMs);
  }

  makeDirectory(path: string): boolean {
    try {
      mkdirSync(join(this.root, path));
      return true;
    } catch (error) {
      if ((error as { code?: unknown }).code === "EEXIST") return false;
      throw this.#failure(error, "making the directory", path);
    }
  }

  async createFile(path: string, chunks: Iterable<Uint8Array>, { mode, signal }: CreateFileOptions): Promise<void> {
    const fd = this.#call("making", path, (full) => openSync(full, "wx", 0o666));
    try {
      for (const chunk of chunks) {
        throwIfAborted(signal);
        for (let at = 0; at < chunk.length; )
          at += this.#call("writing", path, () => writeSync(fd, chunk, at, chunk.length - at));
        // Signals and progress get their turn.
        if (chunk.length === CHUNK) await new Promise((resolve) => setImmediate(resolve));
      }
      this.#call("writing", path, () => {
        // FAT has no modes: it is asked for nothing that it has already.
        if (mode !== undefined && (fstatSync(fd).mode & 0o7777) !== mode) fchmodSync(fd, mode);
        fsyncSync(fd);
      });
    } finally {
      closeSync(fd);
    }
  }

  rename(from: string, to: string): void {
    this.#call("renaming a new file to", to, (full) => renameSync(join(this.root, from), full));
  }

  exchange(a: string, b: string): boolean {
    return this.#call("exchanging", b, (full) => syscalls().exchange?.(join(this.root, a), full) ?? false);
  }

  unlink(path: string): void {
    this.#missing(path, "removing", unlinkSync);
  }

  removeDirectory(path: string): void {
    this.#missing(path, "removing the directory", (full) => rmdirSync(full));
  }

  sync(directory: string): void {
    this.#call("making durable", directory, (path) => {
      const fd = openSync(path, constants.O_RDONLY | (constants.O_DIRECTORY ?? 0));
      try {
        fsyncSync(fd);
      } catch (error) {
        // Some file systems cannot sync a directory on its own.
        if ((error as { code?: unknown }).code !== "EINVAL") throw error;
        syscalls().syncfs(fd, path);
      } finally {
        closeSync(fd);
      }
    });
  }

  #call<T>(action: string, path: string, call: (full: string) => T): T {
    try {
      return call(join(this.root, path));
    } catch (error) {
      throw this.#failure(error, action, path);
    }
  }

  #missing<T>(path: string, action: string, call: (full: string) => T): T | undefined {
    try {
      return call(join(this.root, path));
    } catch (error) {
      if ((error as { code?: unknown }).code === "ENOENT") return undefined;
      throw this.#failure(error, action, path);
    }
  }

  #failure(error: unknown, action: string, path: string): ComposefsError {
    const full = join(this.root, path);
    return systemError(error, `${action} ${full}`, full);
  }
}
