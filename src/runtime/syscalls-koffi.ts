// System calls through koffi, an optional dependency: libc functions of the running process, Linux only
// (docs/spec/wasm-core.md, sections 7.1 and 7.2). Descriptors must come from `node:fs`; Deno knows no others.

import { createRequire } from "node:module";
import { constants } from "node:os";
import { ALGORITHM_NUMBER, type Algorithm, DIGEST_SIZE } from "../bytes/algorithm.ts";
import { toHex } from "../bytes/hex.ts";
import { type ComposefsError, systemError } from "../error.ts";
import type { LockKind, MeasuredVerity, RawCalls } from "./syscalls.ts";

type Call = (...args: (number | bigint | string | Uint8Array | null)[]) => number;

interface Koffi {
  load(path: null): { func(name: string, result: string, parameters: string[]): Call };
  errno(): number;
}

const FS_IOC_ENABLE_VERITY = 0x40806685;
const FS_IOC_MEASURE_VERITY = 0xc0046686;
const FICLONE = 0x40049409;
const LOCK = { shared: 1, exclusive: 2, unlock: 8 };
const LOCK_NB = 4;
const F_OFD_SETLK = 37;
const F_RDLCK = 0;
const AT_FDCWD = -100;
const AT_SYMLINK_FOLLOW = 0x400;
const RENAME_NOREPLACE = 1;
const RENAME_EXCHANGE = 2;

// Node has no names for these: the kernel wants a block device; it lacks a hash algorithm.
const E = { ...constants.errno, ENOTBLK: 15, ENOPKG: 65 };

/** The calls, or undefined where koffi is not installed, not permitted or not usable. */
export function koffiCalls(): RawCalls | undefined {
  if (process.platform !== "linux") return undefined;
  try {
    return bind(createRequire(import.meta.url)("koffi") as Koffi);
  } catch {
    return undefined;
  }
}

function bind(koffi: Koffi): RawCalls {
  const libc = koffi.load(null);
  const flock = libc.func("flock", "int", ["int", "int"]);
  const ioctl = libc.func("ioctl", "int", ["int", "ulong", "uint8_t *"]);
  const ioctlNumber = libc.func("ioctl", "int", ["int", "ulong", "long"]);
  const fcntl = libc.func("fcntl", "int", ["int", "int", "uint8_t *"]);
  const syncfs = libc.func("syncfs", "int", ["int"]);
  const linkat = libc.func("linkat", "int", ["int", "str", "int", "str", "int"]);
  const renameat2 = optional(() => libc.func("renameat2", "int", ["int", "str", "int", "str", "uint"]));

  return {
    provider: "koffi",

    tryLock(fd: number, kind: LockKind | "unlock"): boolean {
      for (;;) {
        if (flock(fd, LOCK[kind] | LOCK_NB) === 0) return true;
        const errno = koffi.errno();
        if (errno === E.EWOULDBLOCK || errno === E.EAGAIN) return false;
        if (errno !== E.EINTR) throw fail(errno, `taking a ${kind} lock`);
      }
    },

    tryReadRecordLock(fd: number): boolean | undefined {
      // struct flock of 64-bit kernels: type, whence, start, length, process. Of the open file and not of the process: closing another
      // descriptor of the same file does not release it.
      const whole = new Uint8Array(32);
      whole[0] = F_RDLCK;
      if (fcntl(fd, F_OFD_SETLK, whole) === 0) return true;
      const errno = koffi.errno();
      return errno === E.EAGAIN || errno === E.EACCES ? false : undefined;
    },

    enableVerity(fd: number, path: string, algorithm: Algorithm) {
      const argument = new Uint8Array(128);
      const view = new DataView(argument.buffer);
      view.setUint32(0, 1, true);
      view.setUint32(4, ALGORITHM_NUMBER[algorithm], true);
      view.setUint32(8, 4096, true);
      if (ioctl(fd, FS_IOC_ENABLE_VERITY, argument) === 0) return "enabled";
      const errno = koffi.errno();
      if (errno === E.EEXIST) return "already";
      if (errno === E.ETXTBSY) return "busy";
      if (isUnsupported(errno)) return "unsupported";
      throw fail(errno, `enabling fs-verity on ${path}`, path);
    },

    measureVerity(fd: number, path: string) {
      const argument = new Uint8Array(4 + 64);
      const view = new DataView(argument.buffer);
      view.setUint16(2, 64, true);
      if (ioctl(fd, FS_IOC_MEASURE_VERITY, argument) !== 0) {
        const errno = koffi.errno();
        if (errno === E.ENODATA) return undefined;
        if (isUnsupported(errno)) return "unsupported";
        if (errno === E.EOVERFLOW) return "foreign";
        throw fail(errno, `measuring fs-verity of ${path}`, path);
      }
      return measured(view.getUint16(0, true), argument.subarray(4, 4 + view.getUint16(2, true)));
    },

    cloneFile(destinationFd: number, sourceFd: number): boolean {
      return ioctlNumber(destinationFd, FICLONE, sourceFd) === 0;
    },

    syncfs(fd: number, path: string): void {
      if (syncfs(fd) !== 0) throw fail(koffi.errno(), `syncing the file system of ${path}`, path);
    },

    renameNoReplace(from: string, to: string): boolean | undefined {
      if (!renameat2) return undefined;
      if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) === 0) return true;
      const errno = koffi.errno();
      if (errno === E.EEXIST) return false;
      if (errno === E.EINVAL || errno === E.ENOSYS) return undefined;
      throw Object.assign(errnoError(errno), { path: to });
    },

    exchange(a: string, b: string): true | undefined {
      if (!renameat2) return undefined;
      if (renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) === 0) return true;
      const errno = koffi.errno();
      // EXDEV: a directory of a lower layer of an overlay.
      if (errno === E.EINVAL || errno === E.ENOSYS || errno === E.EXDEV) return undefined;
      throw Object.assign(errnoError(errno), { path: b });
    },

    linkDescriptor(fd: number, to: string): boolean | undefined {
      if (linkat(AT_FDCWD, `/proc/self/fd/${fd}`, AT_FDCWD, to, AT_SYMLINK_FOLLOW) === 0) return true;
      const errno = koffi.errno();
      if (errno === E.EEXIST) return false;
      if (errno === E.EXDEV || errno === E.EPERM || errno === E.EOPNOTSUPP) return undefined;
      throw Object.assign(errnoError(errno), { path: to });
    },
  };
}

function fail(errno: number, action: string, path?: string): ComposefsError {
  return systemError(errnoError(errno), action, path);
}

function optional<T>(make: () => T): T | undefined {
  try {
    return make();
  } catch {
    return undefined;
  }
}

function isUnsupported(errno: number): boolean {
  return errno === E.ENOTTY || errno === E.EOPNOTSUPP || errno === E.ENOTSUP || errno === E.ENOSYS;
}

/** What a MEASURE answer means. */
function measured(number: number, digest: Uint8Array): MeasuredVerity | "foreign" {
  for (const algorithm of ["sha256", "sha512"] as const)
    if (ALGORITHM_NUMBER[algorithm] === number && DIGEST_SIZE[algorithm] === digest.length)
      return { algorithm, digest: toHex(digest) };
  return "foreign";
}

/** An error like those of `node:fs`: with the symbolic name of the errno as its code. */
export function errnoError(errno: number): Error & { code: string } {
  const name = Object.entries(E).find(([, value]) => value === errno)?.[0] ?? `errno ${errno}`;
  return Object.assign(new Error(name), { code: name });
}
