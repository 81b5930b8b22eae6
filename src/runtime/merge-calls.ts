// The system calls that change a tree entry by entry, by way of koffi: relative to an open directory, never through a symlink, names as
// bytes, owners, xattrs, times to the nanosecond (docs/spec/deployments.md, section 5). Descriptors are those of scan-calls.ts.

import { createRequire } from "node:module";
import { constants } from "node:os";
import type { ByteString } from "../bytes/byte-string.ts";
import { scanCalls } from "./scan-calls.ts";
import { errnoError } from "./syscalls-koffi.ts";

/** Metadata that is set in one go: owner, then mode, then attributes, then times, because each may undo what follows it. */
export interface EntryMetadata {
  /** Undefined leaves the owner as it is. */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined;
  /** Permission bits; of no symlink. */
  readonly mode: number;
  /** Attributes to be set, and which of those that are there may go. */
  readonly xattrs: ReadonlyMap<ByteString, ByteString>;
  readonly ownsXattr: (name: ByteString) => boolean;
  readonly mtimeSec: bigint;
  readonly mtimeNsec: number;
}

/** The calls. All throw errors that have the symbolic errno as their code. */
export interface MergeCalls {
  /** Makes a directory that only its owner can use. */
  makeDirectory(parent: number, name: ByteString): void;
  /** Makes a file that was not there, and opens it for writing. */
  createFile(parent: number, name: ByteString): number;
  write(fd: number, bytes: Uint8Array, length: number): void;
  symlink(target: ByteString, parent: number, name: ByteString): void;
  /** Another name for a file; a symlink is not followed. */
  link(fromParent: number, from: ByteString, parent: number, name: ByteString): void;
  rename(fromParent: number, from: ByteString, parent: number, name: ByteString): void;
  unlink(parent: number, name: ByteString): void;
  removeDirectory(parent: number, name: ByteString): void;
  /** Sets the metadata of an open file or directory. */
  setMetadata(fd: number, metadata: EntryMetadata): void;
  /** Sets the metadata of a symlink. */
  setLinkMetadata(parent: number, name: ByteString, metadata: EntryMetadata): void;
  sync(fd: number): void;
}

type Call = (...args: (number | bigint | Uint8Array | null)[]) => number | bigint;
interface Koffi {
  load(path: null): { func(name: string, result: string, parameters: string[]): Call };
  errno(): number;
}

const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_REMOVEDIR = 0x200;
const CREATE = 0o1 | 0o100 | 0o200 | 0o2000000; // O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC
const E = constants.errno;

let chosen: MergeCalls | undefined;

/**
 * The calls of this thread.
 *
 * @throws ComposefsError `unsupported` without koffi
 */
export function mergeCalls(): MergeCalls {
  if (chosen) return chosen;
  // Says what helps where koffi is missing.
  scanCalls();
  chosen = bind(createRequire(import.meta.url)("koffi") as Koffi);
  return chosen;
}

function bind(koffi: Koffi): MergeCalls {
  const libc = koffi.load(null);
  const bytes = "uint8_t *";
  const mkdirat = libc.func("mkdirat", "int", ["int", bytes, "uint"]);
  const openat = libc.func("openat", "int", ["int", bytes, "int", "uint"]);
  const write = libc.func("write", "long", ["int", bytes, "size_t"]);
  const symlinkat = libc.func("symlinkat", "int", [bytes, "int", bytes]);
  const linkat = libc.func("linkat", "int", ["int", bytes, "int", bytes, "int"]);
  const renameat = libc.func("renameat", "int", ["int", bytes, "int", bytes]);
  const unlinkat = libc.func("unlinkat", "int", ["int", bytes, "int"]);
  const fchown = libc.func("fchown", "int", ["int", "uint", "uint"]);
  const fchownat = libc.func("fchownat", "int", ["int", bytes, "uint", "uint", "int"]);
  const fchmod = libc.func("fchmod", "int", ["int", "uint"]);
  const fsetxattr = libc.func("fsetxattr", "int", ["int", bytes, bytes, "size_t", "int"]);
  const lsetxattr = libc.func("lsetxattr", "int", [bytes, bytes, bytes, "size_t", "int"]);
  const fremovexattr = libc.func("fremovexattr", "int", ["int", bytes]);
  const futimens = libc.func("futimens", "int", ["int", bytes]);
  const utimensat = libc.func("utimensat", "int", ["int", bytes, bytes, "int"]);
  const fsync = libc.func("fsync", "int", ["int"]);

  const checked = (result: number | bigint): number => {
    if (result < 0) throw errnoError(koffi.errno());
    return Number(result);
  };
  const cString = (text: ByteString): Uint8Array => Buffer.from(`${text}\0`, "latin1");
  const times = ({ mtimeSec, mtimeNsec }: EntryMetadata): Uint8Array => {
    const area = new DataView(new ArrayBuffer(32));
    for (const at of [0, 16]) {
      area.setBigInt64(at, mtimeSec, true);
      area.setBigInt64(at + 8, BigInt(mtimeNsec), true);
    }
    return new Uint8Array(area.buffer);
  };

  return {
    makeDirectory: (parent, name) => void checked(mkdirat(parent, cString(name), 0o700)),
    createFile: (parent, name) => checked(openat(parent, cString(name), CREATE, 0o600)),
    write(fd, data, length) {
      for (let at = 0; at < length; ) {
        const count = write(fd, data.subarray(at), length - at);
        if (count < 0 && koffi.errno() === E.EINTR) continue;
        at += checked(count);
      }
    },
    symlink: (target, parent, name) => void checked(symlinkat(cString(target), parent, cString(name))),
    link: (fromParent, from, parent, name) => void checked(linkat(fromParent, cString(from), parent, cString(name), 0)),
    rename: (fromParent, from, parent, name) =>
      void checked(renameat(fromParent, cString(from), parent, cString(name))),
    unlink: (parent, name) => void checked(unlinkat(parent, cString(name), 0)),
    removeDirectory: (parent, name) => void checked(unlinkat(parent, cString(name), AT_REMOVEDIR)),
    setMetadata(fd, metadata) {
      const { owner, xattrs, ownsXattr, mode } = metadata;
      if (owner) checked(fchown(fd, owner.uid, owner.gid));
      checked(fchmod(fd, mode));
      const there = scanCalls().xattrs(fd, false);
      for (let at = 0; at < there.length; at += 2) {
        const name = there[at] as ByteString;
        if (ownsXattr(name) && !xattrs.has(name)) checked(fremovexattr(fd, cString(name)));
      }
      for (const [name, value] of xattrs)
        checked(fsetxattr(fd, cString(name), Buffer.from(value, "latin1"), value.length, 0));
      checked(futimens(fd, times(metadata)));
    },
    setLinkMetadata(parent, name, metadata) {
      const { owner, xattrs } = metadata;
      if (owner) checked(fchownat(parent, cString(name), owner.uid, owner.gid, AT_SYMLINK_NOFOLLOW));
      for (const [key, value] of xattrs) {
        const path = cString(`/proc/self/fd/${parent}/${name}`);
        checked(lsetxattr(path, cString(key), Buffer.from(value, "latin1"), value.length, 0));
      }
      checked(utimensat(parent, cString(name), times(metadata), AT_SYMLINK_NOFOLLOW));
    },
    sync: (fd) => void checked(fsync(fd)),
  };
}
