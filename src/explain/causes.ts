// The differences of two trees under the names of what causes them: what somebody did, not which field it changed.

import type { EntryChange, FieldChange } from "../tree/diff.ts";

/** A cause, and what it did. */
export interface Cause {
  /** A stable name for programs. */
  readonly id: string;
  /** What differs, as a clause. */
  readonly says: string;
  /** How it comes to that, and what to do. */
  readonly remedy: string;
  /** How many entries it concerns. */
  readonly count: number;
  /** The first of them in the order of dumps. */
  readonly first: string;
}

interface Kind {
  readonly id: string;
  readonly says: string;
  readonly remedy: string;
}

const KINDS = {
  "added-boot": {
    says: "files below /boot",
    remedy: "what is added to /boot changes the digest unless it is that of a bootable image: use --bootable",
  },
  "added-engine-files": {
    says: "files that container engines put into running containers",
    remedy: "take the tree from the image, not from a running container",
  },
  "added-caches": {
    says: "caches that programs wrote when they ran (__pycache__, *.pyc, ld.so.cache, ...)",
    remedy: "something ran in the tree after the digest was computed: compute the digest last",
  },
  "added-selinux-policy": {
    says: "files of an SELinux policy",
    remedy: "labels follow the policy in the image: compute the digest after the policy is installed",
  },
  added: {
    says: "files that were added after the digest was computed",
    remedy: "compute the digest as the last step of the build, of what is shipped",
  },
  removed: {
    says: "files that are missing",
    remedy:
      "something removed them after the digest was computed, or they were not copied (a .dockerignore, an rsync filter)",
  },
  "removed-devices": {
    says: "device nodes that are missing",
    remedy: "the tree was unpacked by a user who cannot make devices: unpack as root",
  },
  "removed-whiteouts": {
    says: "overlay whiteouts that are missing",
    remedy: "a mounted overlay hides character devices 0:0: take the tree from below the mount",
  },
  type: {
    says: "entries of another type",
    remedy: "a copy followed symlinks, or a package replaced a directory: compare the paths below",
  },
  "directory-mtimes": {
    says: "modification times of directories",
    remedy:
      "unpacking touches directories when later members of the archive go into them: unpack with a tool that sets their times last, or compute the digest of the image",
  },
  nanoseconds: {
    says: "nanoseconds of modification times",
    remedy:
      "one side went through a format that keeps whole seconds (tar without pax headers, some file systems): compute both digests from the same form",
  },
  "file-mtimes": {
    says: "modification times of files",
    remedy:
      "files were written again, or copied without their times: use SOURCE_DATE_EPOCH in builds, `cp -a` in copies",
  },
  "symlink-mtimes": {
    says: "modification times of symlinks",
    remedy: "the tool that unpacked them cannot set the times of symlinks: use GNU tar or the image itself",
  },
  "root-metadata": {
    says: "the root directory itself",
    remedy:
      "a container image has its root from /usr; leave --no-propagate-usr-to-root out on both sides, or set it on both",
  },
  owners: {
    says: "owners",
    remedy: "one side was unpacked without root, or ids were mapped: unpack as root with --numeric-owner",
  },
  "set-id-bits": {
    says: "setuid, setgid and sticky bits",
    remedy: "they are lost when files are copied or change their owner: unpack as root with the modes preserved",
  },
  "write-bits": {
    says: "write permissions of group and others",
    remedy: "a umask was applied: unpack with the modes preserved, `tar -p`",
  },
  "symlink-modes": {
    says: "modes of symlinks",
    remedy: "file systems know only 777, archives any: compute both digests from the same form",
  },
  modes: { says: "permissions", remedy: "something changed modes after the digest was computed (chmod, an installer)" },
  labels: {
    says: "SELinux labels",
    remedy: "they come from the policy in the image: another policy, or none, was there where the digest was computed",
  },
  "user-xattrs": {
    says: "user.* xattrs",
    remedy: "images keep them with --xattrs keep-user-xattrs only: use the same mode on both sides",
  },
  capabilities: {
    says: "file capabilities (security.capability)",
    remedy:
      "they are lost in copies without xattrs: use `tar --xattrs --xattrs-include='*'`, `cp -a` or `rsync -X`, as root",
  },
  acls: {
    says: "access control lists",
    remedy: "images of containers hold none: take them out, or compare with --no-propagate-usr-to-root on both sides",
  },
  "overlay-xattrs": {
    says: "xattrs of overlayfs (trusted.overlay.*, user.overlay.*)",
    remedy: "the tree is the upper directory of an overlay: take it from the mount",
  },
  xattrs: {
    says: "other xattrs",
    remedy: "images of containers keep security.capability alone: use the same transform on both sides",
  },
  "hard-links": {
    says: "hard links",
    remedy: "a copy made files of their own of them, or the other way round: use `cp -a`, `rsync -H` or tar",
  },
  "symlink-targets": {
    says: "targets of symlinks",
    remedy: "links were made absolute or relative, or an alternative was chosen anew: compare the paths below",
  },
  "file-content": {
    says: "contents of files",
    remedy: "files were built or written again after the digest was computed: compare them, they are named below",
  },
  "machine-id": {
    says: "the machine's identity",
    remedy: "/etc/machine-id was written at the first boot: take the tree from the image",
  },
  "caches-content": {
    says: "generated caches (ld.so.cache, *.pyc, ...)",
    remedy: "they hold times or orders that differ in every build: remove them, or generate them once",
  },
  hash: {
    says: "the hash of the digests of files",
    remedy: "one side has sha256 and the other sha512: compare trees of one hash, with --hash",
  },
  "object-paths": {
    says: "where the content of files is (an object under another name, or inside the image)",
    remedy: "another writer or another limit for small files made the image: make both with the same tool",
  },
  devices: { says: "numbers of device nodes", remedy: "device nodes were made again with other numbers" },
} satisfies Record<string, Omit<Kind, "id">>;

/** The name of a kind of cause. */
export type CauseId = keyof typeof KINDS;

const ENGINE_FILES = new Set([
  "/etc/hostname",
  "/etc/hosts",
  "/etc/resolv.conf",
  "/etc/mtab",
  "/.dockerenv",
  "/run/.containerenv",
]);

function isCache(path: string): boolean {
  return /\/__pycache__(\/|$)|\.py[co]$|^\/etc\/ld\.so\.cache$|^\/var\/cache\/|\/(mimeinfo|icon-theme)\.cache$/.test(
    path,
  );
}

function ofAdded({ path }: EntryChange): CauseId {
  if (path.startsWith("/boot/")) return "added-boot";
  if (ENGINE_FILES.has(path)) return "added-engine-files";
  if (path.startsWith("/etc/selinux")) return "added-selinux-policy";
  return isCache(path) ? "added-caches" : "added";
}

function ofRemoved({ type }: EntryChange, whiteout: boolean): CauseId {
  if (whiteout) return "removed-whiteouts";
  return type === "char" || type === "block" ? "removed-devices" : "removed";
}

function ofField(entry: EntryChange, { field, xattr, a, b }: FieldChange): CauseId {
  const { path, type } = entry;
  switch (field) {
    case "type":
      return "type";
    case "mtime":
      if (path === "/") return "root-metadata";
      if (a?.split(".")[0] === b?.split(".")[0]) return "nanoseconds";
      return type === "directory" ? "directory-mtimes" : type === "symlink" ? "symlink-mtimes" : "file-mtimes";
    case "uid":
    case "gid":
      return path === "/" ? "root-metadata" : "owners";
    case "mode": {
      if (path === "/") return "root-metadata";
      if (type === "symlink") return "symlink-modes";
      const changed = Number.parseInt(a ?? "0", 8) ^ Number.parseInt(b ?? "0", 8);
      if ((changed & ~0o7000) === 0) return "set-id-bits";
      return (changed & ~0o022) === 0 ? "write-bits" : "modes";
    }
    case "xattr":
      return ofXattr(xattr ?? "");
    case "links":
      return "hard-links";
    case "target":
      return "symlink-targets";
    case "rdev":
      return "devices";
    case "object":
      return "object-paths";
    default:
      return ofContent(path, a, b);
  }
}

function ofContent(path: string, a: string | undefined, b: string | undefined): CauseId {
  if (path === "/etc/machine-id") return "machine-id";
  if (isHex(a) && isHex(b) && a.length !== b.length) return "hash";
  return isCache(path) ? "caches-content" : "file-content";
}

function isHex(text: string | undefined): text is string {
  return text !== undefined && /^(?:[0-9a-f]{64}|[0-9a-f]{128})$/.test(text);
}

function ofXattr(name: string): CauseId {
  if (name === "security.selinux") return "labels";
  if (name === "security.capability") return "capabilities";
  if (name.startsWith("system.posix_acl_")) return "acls";
  if (/^(?:trusted|user)\.overlay\./.test(name)) return "overlay-xattrs";
  return name.startsWith("user.") ? "user-xattrs" : "xattrs";
}

/** The transforms of images give these directories metadata of /usr. */
function followsUsr({ path, fields }: EntryChange): boolean {
  if (path === "/") return true;
  return (
    ["/run", "/boot", "/sysroot"].includes(path) && fields.length > 0 && fields.every(({ field }) => field === "mtime")
  );
}

/** Collects causes while differences go by, in memory that does not grow with them. */
export class CauseCounter {
  readonly #found = new Map<CauseId, { count: number; first: string }>();
  readonly #rootIsUsr: boolean;

  /** @param rootIsUsr whether the root has the metadata of /usr, so that what differs there says nothing of its own */
  constructor(rootIsUsr = false) {
    this.#rootIsUsr = rootIsUsr;
  }

  /**
   * Takes a difference; the first tree is the one with the expected digest.
   *
   * @param whiteout whether the entry, which was removed, is an overlay whiteout
   */
  add(entry: EntryChange, whiteout = false): void {
    if (this.#rootIsUsr && followsUsr(entry)) return;
    const ids = new Set<CauseId>();
    if (entry.change === "added") ids.add(ofAdded(entry));
    else if (entry.change === "removed") ids.add(ofRemoved(entry, whiteout));
    else for (const field of entry.fields) ids.add(ofField(entry, field));
    // What follows from another cause is none of its own: a file that was written again has a new time, another type another mode.
    if (ids.has("file-content")) ids.delete("file-mtimes");
    if (ids.has("type")) {
      ids.clear();
      ids.add("type");
    }
    for (const id of ids) {
      const known = this.#found.get(id);
      if (known === undefined) this.#found.set(id, { count: 1, first: entry.path });
      else known.count++;
    }
  }

  /** What was found, the cause of the most differences first. */
  causes(): Cause[] {
    return [...this.#found]
      .map(([id, { count, first }]) => ({ id, ...KINDS[id], count, first }))
      .sort((a, b) => b.count - a.count);
  }
}
