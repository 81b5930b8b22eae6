// Mounting through the kernel's newer interface, by way of koffi: a mount is complete before anybody sees it.

import { createRequire } from "node:module";
import { errnoError } from "./syscalls-koffi.ts";

/** A mount that is not attached anywhere; it ends with its descriptor unless it is attached. */
export interface DetachedMount extends Disposable {
  readonly fd: number;
}

/** What the kernel refused: the code is the symbolic errno, the message has what the file system said. */
export interface MountError extends Error {
  readonly code: string;
}

/** The calls. All throw a {@link MountError}. */
export interface MountCalls {
  /** Makes a mount of a file system of its own. */
  create(
    type: string,
    source: string,
    options: readonly (readonly [string, string])[],
    readOnly: boolean,
  ): DetachedMount;
  /** Shows the ids of a user namespace, which is given by a descriptor of it. The mount must not be attached yet. */
  mapIds(mount: DetachedMount, userNamespace: number): void;
  /** Attaches it to a directory. */
  attach(mount: DetachedMount, target: string): void;
  /** Takes away what is mounted on a directory, at once for all who look. */
  detach(target: string): void;
}

type Call = (...args: (number | string | Uint8Array | null)[]) => number;
interface Koffi {
  load(path: null): { func(name: string, result: string, parameters: string[]): Call };
  errno(): number;
}

// The same on every architecture of Linux but alpha.
const SYS = { move_mount: 429, fsopen: 430, fsconfig: 431, fsmount: 432, mount_setattr: 442 };
const CLOEXEC = 1;
const CONFIG = { flag: 0, string: 1, create: 6 };
const MOUNT_ATTR_RDONLY = 1;
const MOUNT_ATTR_IDMAP = 0x100000n;
const AT_EMPTY_PATH = 0x1000;
const MOVE_MOUNT_F_EMPTY_PATH = 4;
const AT_FDCWD = -100;
const MNT_DETACH = 2;

/** The calls, or undefined where koffi is not installed or the kernel has none of them (before Linux 5.2). */
export function mountCalls(): MountCalls | undefined {
  if (process.platform !== "linux" || process.env.COMPOSEFS_SYSCALLS === "commands") return undefined;
  try {
    return bind(createRequire(import.meta.url)("koffi") as Koffi);
  } catch {
    return undefined;
  }
}

function bind(koffi: Koffi): MountCalls {
  const libc = koffi.load(null);
  const fsopen = libc.func("syscall", "long", ["long", "str", "uint"]);
  const fsconfig = libc.func("syscall", "long", ["long", "int", "uint", "str", "str", "int"]);
  const fsmount = libc.func("syscall", "long", ["long", "int", "uint", "uint"]);
  const moveMount = libc.func("syscall", "long", ["long", "int", "str", "int", "str", "uint"]);
  const mountSetattr = libc.func("syscall", "long", ["long", "int", "str", "uint", "uint8_t *", "size_t"]);
  const umount2 = libc.func("umount2", "int", ["str", "int"]);
  const read = libc.func("read", "long", ["int", "_Out_ uint8_t *", "size_t"]);
  const close = libc.func("close", "int", ["int"]);

  return {
    create(type, source, options, readOnly) {
      const context = fsopen(SYS.fsopen, type, CLOEXEC);
      if (context < 0) throw failure(koffi.errno(), "");
      try {
        const configure = (command: number, name: string | null, value: string | null) => {
          if (fsconfig(SYS.fsconfig, context, command, name, value, 0) < 0) throw failure(koffi.errno(), said(context));
        };
        configure(CONFIG.string, "source", source);
        if (readOnly) configure(CONFIG.flag, "ro", null);
        for (const [name, value] of options) configure(CONFIG.string, name, value);
        configure(CONFIG.create, null, null);
        const fd = fsmount(SYS.fsmount, context, CLOEXEC, readOnly ? MOUNT_ATTR_RDONLY : 0);
        if (fd < 0) throw failure(koffi.errno(), said(context));
        return { fd, [Symbol.dispose]: () => void close(fd) };
      } finally {
        close(context);
      }
    },

    mapIds({ fd }, userNamespace) {
      // attr_set, attr_clr, propagation, userns_fd
      const attributes = new BigUint64Array([MOUNT_ATTR_IDMAP, 0n, 0n, BigInt(userNamespace)]);
      const bytes = new Uint8Array(attributes.buffer);
      if (mountSetattr(SYS.mount_setattr, fd, "", AT_EMPTY_PATH, bytes, bytes.length) < 0)
        throw failure(koffi.errno(), "");
    },

    attach({ fd }, target) {
      if (moveMount(SYS.move_mount, fd, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        throw failure(koffi.errno(), "");
    },

    detach(target) {
      if (umount2(target, MNT_DETACH) < 0) throw failure(koffi.errno(), "");
    },
  };

  // The file system's own words lie in the context, one message a read: "e overlay: ...".
  function said(context: number): string {
    const messages: string[] = [];
    const buffer = new Uint8Array(1024);
    for (let size = read(context, buffer, 1024); size > 0 && messages.length < 16; size = read(context, buffer, 1024))
      messages.push(
        Buffer.from(buffer.subarray(0, size))
          .toString("utf8")
          .replace(/^[ewi] /, "")
          .trim(),
      );
    return messages.join("; ");
  }
}

function failure(errno: number, said: string): MountError {
  const error = errnoError(errno);
  if (said !== "") error.message = `${said} (${error.code})`;
  return error;
}
