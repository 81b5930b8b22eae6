// The system calls of a directory scan, by way of koffi: entries relative to an open directory, names as bytes, times to the
// nanosecond, xattrs (docs/spec/tree.md, sections 2 and 7). `node:fs` has none of that on all runtimes. The descriptors belong
// to these calls: Deno's `node:fs` does not know them (see `fsDescriptor`).

import { closeSync, constants as fsConstants, openSync } from "node:fs";
import { createRequire } from "node:module";
import { constants } from "node:os";
import type { ByteString } from "../bytes/byte-string.ts";
import { ComposefsError } from "../error.ts";
import { errnoError } from "./syscalls-koffi.ts";

/** Metadata of an open file. */
export interface FileStat {
  /** Type and permissions, as in st_mode. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes. */
  readonly size: bigint;
  /** Bytes that are allocated, in units of 512. */
  readonly blocks: bigint;
  readonly mtimeSec: bigint;
  readonly mtimeNsec: number;
  readonly ctimeSec: bigint;
  readonly ctimeNsec: number;
  readonly inode: bigint;
  /** Device that the file is on. */
  readonly device: number;
  /** Device that a device node stands for, in the kernel's 32-bit encoding. */
  readonly rdev: number;
}

/** One entry of a directory. */
export interface DirectoryEntry {
  readonly name: ByteString;
  /** Type bits of st_mode, 0 where the file system does not say. */
  readonly type: number;
}

/** What {@link ScanCalls.look} sees. */
export interface Look {
  /** Type bits of st_mode. */
  type: number;
  /** Bytes. */
  size: number;
}

/** The calls. All throw errors that have the symbolic errno as their code, like those of `node:fs`. */
export interface ScanCalls {
  /** Opens a directory by its path; a symlink is not followed. */
  openRoot(path: string): number;
  /** Opens what is to be read, a directory or a regular file; never blocks. The name can be a path, and bytes that end with NUL. */
  open(parent: number, name: ByteString | Uint8Array, kind: "directory" | "file", noAtime: boolean): number;
  /** Opens anything without touching it: for metadata. */
  openPath(parent: number, name: ByteString): number;
  close(fd: number): void;
  stat(fd: number): FileStat;
  /** What has a path below an open directory; a symlink that comes last is not followed. Valid until the next call. */
  look(parent: number, path: ByteString | Uint8Array): Readonly<Look>;
  /** Removes what has a path below an open directory and is none itself. */
  unlink(parent: number, path: ByteString): void;
  /** What an open directory holds, without `.` and `..`. */
  entries(fd: number): DirectoryEntry[];
  /** The names alone, for very many: each as a part of one text. */
  names(fd: number, visit: (text: ByteString, start: number, end: number) => void): void;
  /** Names and values of all xattrs, flat, sorted by nothing; empty where there are none. `pathOnly`: of a descriptor of {@link openPath}. */
  xattrs(fd: number, pathOnly: boolean): ByteString[];
  /** Target of a symlink that was opened with {@link openPath}. */
  readLink(fd: number): ByteString;
  /** Reads up to `length` bytes from `position`; 0 at the end. */
  readonly read: (fd: number, target: Uint8Array, length: number, position: number) => number;
  /** Where data begins at or after a position; -1 when there is none. A file system without holes says `position`. */
  nextData(fd: number, position: number): number;
  /** Where the data at a position ends. */
  nextHole(fd: number, position: number): number;
}

type Call = (...args: (number | bigint | Uint8Array | null)[]) => number | bigint;
interface Koffi {
  load(path: null): { func(name: string, result: string, parameters: string[]): Call };
  errno(): number;
}

const E = constants.errno;
const AT_FDCWD = -100;
const AT_EMPTY_PATH = 0x1000;
const AT_SYMLINK_NOFOLLOW = 0x100;
const STATX_BASIC = 0x7ff;
const STATX_TYPE_SIZE = 0x201;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const O_CLOEXEC = 0o2000000;
// The same on every architecture of Linux.
const O_PATH = 0o10000000;
const { O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_NOATIME, O_NOCTTY } = fsConstants;

const TYPES: readonly number[] = [
  0, 0o010000, 0o020000, 0, 0o040000, 0, 0o060000, 0, 0o100000, 0, 0o120000, 0, 0o140000,
];
const XATTR_LIST_MAX = 65536;
const XATTR_VALUE_MAX = 65536;

let chosen: ScanCalls | undefined;
let missing = false;

/**
 * The calls of this thread.
 *
 * @throws ComposefsError `unsupported` with what helps: without them the digest of a directory would be a wrong one
 */
export function scanCalls(): ScanCalls {
  chosen ??= bind(loadKoffi());
  return chosen;
}

/** The calls of this thread, where they are only faster than `node:fs`; undefined where there are none. */
export function scanCallsIfAny(): ScanCalls | undefined {
  if (chosen === undefined && !missing) {
    try {
      return scanCalls();
    } catch {
      missing = true;
    }
  }
  return chosen;
}

/**
 * A descriptor that `node:fs` can use, for one of {@link ScanCalls}. Deno keeps a table of its own, so the file is opened
 * again there; `release` closes that.
 */
export function fsDescriptor(fd: number): { readonly fd: number; release(): void } {
  if (process.versions["deno"] === undefined) return { fd, release: () => undefined };
  const again = openSync(`/proc/self/fd/${fd}`, fsConstants.O_RDONLY);
  return { fd: again, release: () => closeSync(again) };
}

function loadKoffi(): Koffi {
  const refused = (cause?: unknown) =>
    new ComposefsError(
      "unsupported",
      process.platform === "linux"
        ? "directories cannot be read: extended attributes need the npm package koffi, and without them the digest would be wrong"
        : `directories can be read on Linux only, this is ${process.platform}`,
      {
        ...(cause === undefined ? {} : { cause }),
        hint:
          process.platform === "linux"
            ? "install it with `npm install koffi` (on Deno also permit --allow-ffi), or give a dump of the directory to `mkcomposefs --from-file`"
            : "make a dump of the directory on Linux, and its image with `mkcomposefs --from-file`",
      },
    );
  if (process.platform !== "linux" || process.env["COMPOSEFS_SYSCALLS"] === "commands") throw refused();
  try {
    return createRequire(import.meta.url)("koffi") as Koffi;
  } catch (error) {
    throw refused(error);
  }
}

function bind(koffi: Koffi): ScanCalls {
  const libc = koffi.load(null);
  const openat = libc.func("openat", "int", ["int", "uint8_t *", "int", "uint"]);
  const closeCall = libc.func("close", "int", ["int"]);
  const statx = libc.func("statx", "int", ["int", "uint8_t *", "int", "uint", "uint8_t *"]);
  const getdents64 = libc.func("getdents64", "long", ["int", "uint8_t *", "size_t"]);
  const pread64 = libc.func("pread64", "long", ["int", "uint8_t *", "size_t", "int64_t"]);
  const lseek64 = libc.func("lseek64", "int64_t", ["int", "int64_t", "int"]);
  const unlinkat = libc.func("unlinkat", "int", ["int", "uint8_t *", "int"]);
  const readlinkat = libc.func("readlinkat", "long", ["int", "uint8_t *", "uint8_t *", "size_t"]);
  const flistxattr = libc.func("flistxattr", "long", ["int", "uint8_t *", "size_t"]);
  const fgetxattr = libc.func("fgetxattr", "long", ["int", "uint8_t *", "uint8_t *", "size_t"]);
  const listxattr = libc.func("listxattr", "long", ["uint8_t *", "uint8_t *", "size_t"]);
  const getxattr = libc.func("getxattr", "long", ["uint8_t *", "uint8_t *", "uint8_t *", "size_t"]);

  const nameArea = Buffer.alloc(4096);
  const procArea = Buffer.alloc(64);
  const list = Buffer.alloc(XATTR_LIST_MAX);
  const value = Buffer.alloc(XATTR_VALUE_MAX);
  const direntArea = Buffer.alloc(1 << 16);
  const statArea = new Uint8Array(256);
  const stat = new DataView(statArea.buffer);
  const empty = new Uint8Array(1);
  // Returned again and again: an object for each of very many would cost as much as the call.
  const looked: Look = { type: 0, size: 0 };

  const failure = () => errnoError(koffi.errno());
  const checked = (result: number | bigint): number => {
    if (result < 0) throw failure();
    return Number(result);
  };
  const cString = (text: ByteString | Uint8Array, area: Buffer): Uint8Array => {
    if (typeof text !== "string") return text;
    if (text.length >= area.length) throw errnoError(E.ENAMETOOLONG);
    area[area.write(text, 0, "latin1")] = 0;
    return area;
  };
  const openAt = (parent: number, name: ByteString | Uint8Array, flags: number): number => {
    for (;;) {
      const fd = openat(parent, cString(name, nameArea), flags | O_CLOEXEC, 0);
      if (fd >= 0) return Number(fd);
      if (koffi.errno() !== E.EINTR) throw failure();
    }
  };
  const seek = (fd: number, position: number, whence: number): number => {
    const found = lseek64(fd, position, whence);
    if (found >= 0) return Number(found);
    if (koffi.errno() === E.ENXIO) return -1;
    throw failure();
  };

  return {
    openRoot(path) {
      const bytes = Buffer.from(`${path}\0`, "utf8");
      return checked(openat(AT_FDCWD, bytes, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0));
    },

    open(parent, name, kind, noAtime) {
      const flags = O_NOFOLLOW | (kind === "directory" ? O_DIRECTORY : O_NONBLOCK | O_NOCTTY);
      return openAt(parent, name, noAtime ? flags | O_NOATIME : flags);
    },

    openPath: (parent, name) => openAt(parent, name, O_PATH | O_NOFOLLOW),

    close: (fd) => void closeCall(fd),

    stat(fd) {
      checked(statx(fd, empty, AT_EMPTY_PATH, STATX_BASIC, statArea));
      return {
        mode: stat.getUint16(28, true),
        uid: stat.getUint32(20, true),
        gid: stat.getUint32(24, true),
        size: stat.getBigUint64(40, true),
        blocks: stat.getBigUint64(48, true),
        mtimeSec: stat.getBigInt64(112, true),
        mtimeNsec: stat.getUint32(120, true),
        ctimeSec: stat.getBigInt64(96, true),
        ctimeNsec: stat.getUint32(104, true),
        inode: stat.getBigUint64(32, true),
        device: encodeDevice(stat.getUint32(136, true), stat.getUint32(140, true)),
        rdev: encodeDevice(stat.getUint32(128, true), stat.getUint32(132, true)),
      };
    },

    look(parent, path) {
      checked(statx(parent, cString(path, nameArea), AT_SYMLINK_NOFOLLOW, STATX_TYPE_SIZE, statArea));
      looked.type = stat.getUint16(28, true) & 0o170000;
      looked.size = stat.getUint32(40, true) + stat.getUint32(44, true) * 2 ** 32;
      return looked;
    },

    unlink: (parent, path) => void checked(unlinkat(parent, cString(path, nameArea), 0)),

    entries(fd) {
      const found: DirectoryEntry[] = [];
      for (;;) {
        const length = checked(getdents64(fd, direntArea, direntArea.length));
        if (length === 0) return found;
        for (let at = 0; at < length; at += direntArea.readUInt16LE(at + 16)) {
          const name = direntArea.toString("latin1", at + 19, direntArea.indexOf(0, at + 19));
          if (name === "." || name === "..") continue;
          found.push({ name, type: TYPES[direntArea[at + 18] as number] ?? 0 });
        }
      }
    },

    names(fd, visit) {
      for (;;) {
        const length = checked(getdents64(fd, direntArea, direntArea.length));
        if (length === 0) return;
        const text = direntArea.toString("latin1", 0, length);
        for (let at = 0, next = 0; at < length; at = next) {
          next = at + ((direntArea[at + 16] as number) | ((direntArea[at + 17] as number) << 8));
          const start = at + 19;
          // Records are padded to 8 bytes: the NUL is among the last ones.
          let end = Math.max(start, next - 8);
          while (direntArea[end] !== 0) end++;
          // `.` and `..`
          if (direntArea[start] === 46 && (end - start === 1 || (end - start === 2 && direntArea[start + 1] === 46)))
            continue;
          visit(text, start, end);
        }
      }
    },

    xattrs(fd, pathOnly) {
      const path = pathOnly ? cString(`/proc/self/fd/${fd}`, procArea) : empty;
      const length = pathOnly ? listxattr(path, list, list.length) : flistxattr(fd, list, list.length);
      if (length === 0) return NONE;
      if (length < 0) {
        const errno = koffi.errno();
        // The file system has none at all.
        if (errno === E.EOPNOTSUPP || errno === E.ENOTSUP) return NONE;
        throw failure();
      }
      const found: ByteString[] = [];
      for (let at = 0; at < length; ) {
        const end = list.indexOf(0, at);
        const name = list.subarray(at, end + 1);
        const size = pathOnly ? getxattr(path, name, value, value.length) : fgetxattr(fd, name, value, value.length);
        // Gone since it was listed, or only visible to others: then it is not there for this scan.
        if (size >= 0) found.push(list.toString("latin1", at, end), value.toString("latin1", 0, Number(size)));
        else if (koffi.errno() !== E.ENODATA) throw failure();
        at = end + 1;
      }
      return found;
    },

    readLink(fd) {
      const length = checked(readlinkat(fd, empty, nameArea, nameArea.length));
      return nameArea.toString("latin1", 0, length);
    },

    read(fd, target, length, position) {
      for (;;) {
        const count = pread64(fd, target, length, position);
        if (count >= 0) return Number(count);
        if (koffi.errno() !== E.EINTR) throw failure();
      }
    },

    nextData: (fd, position) => seek(fd, position, SEEK_DATA),
    nextHole: (fd, position) => seek(fd, position, SEEK_HOLE),
  };
}

const NONE: ByteString[] = [];

// The kernel's 32-bit encoding; numbers that do not fit it do not exist in the kernel.
function encodeDevice(major: number, minor: number): number {
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}
