// The system calls that the privileged suite makes itself, so that nothing of the code under test stands between it and
// the kernel: mount, umount2, listing and reading xattrs.

import koffi from "koffi";

const libc = koffi.load(null);
const mountCall = libc.func(
  "int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)",
);
const umountCall = libc.func("int umount2(const char *target, int flags)");
const llistxattr = libc.func("int64_t llistxattr(const void *path, _Out_ void *list, size_t size)");
const lgetxattr = libc.func("int64_t lgetxattr(const void *path, const void *name, _Out_ void *value, size_t size)");

const MS_RDONLY = 1;
const buffer = Buffer.alloc(65536);

function errnoName(): string {
  const errno = koffi.errno();
  return Object.entries(koffi.os.errno).find(([, value]) => value === errno)?.[0] ?? `errno ${errno}`;
}

/** Mounts read-only; answers the name of the error, or undefined on success. */
export function mountReadOnly(source: string, target: string, type: string, data: string): string | undefined {
  return mountCall(source, target, type, MS_RDONLY, data) === 0 ? undefined : errnoName();
}

/** Unmounts; answers the name of the error, or undefined on success. */
export function unmount(target: string): string | undefined {
  return umountCall(target, 0) === 0 ? undefined : errnoName();
}

function cString(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(1)]);
}

/**
 * The xattrs of a path, links not followed, names and values as byte strings. One that the kernel lists and then refuses to
 * read has `!` and the name of the error as its value.
 */
export function readXattrs(path: Buffer): Map<string, string> {
  const xattrs = new Map<string, string>();
  const length = llistxattr(cString(path), buffer, buffer.length) as number;
  if (length < 0) throw new Error(`listing xattrs of ${path.toString("latin1")}: ${errnoName()}`);
  const names = buffer.toString("latin1", 0, length).split("\0").slice(0, -1);
  for (const name of names) {
    const size = lgetxattr(cString(path), cString(Buffer.from(name, "latin1")), buffer, buffer.length) as number;
    xattrs.set(name, size < 0 ? `!${errnoName()}` : buffer.toString("latin1", 0, size));
  }
  return xattrs;
}
