// Known causes of a wrong digest that can be tried without a second tree: each changes the tree to what it may have been where the
// digest was computed. If the id is the expected one then, the cause is found (docs/spec/boot.md, 17.2; docs/spec/tree.md).

import type { ByteString } from "../bytes/byte-string.ts";
import { cloneTree } from "../tree/clone.ts";
import { Directory, Leaf, type Node, type Stat } from "../tree/node.ts";
import { filterXattrs } from "../tree/xattr-filter.ts";
import { directoryAt, keepXattrs, mapStats, removeEntries, splitHardLinks } from "./visit.ts";

/** What has happened to a tree, perhaps. */
export interface Suspicion {
  /** A stable name for programs. */
  readonly id: string;
  /** What the tree with the expected digest has been like, as a clause: `files have whole seconds`. */
  readonly says: string;
  /** How it comes to that, and what to do. */
  readonly remedy: string;
  /** Whether the change is made before the transform or after it. */
  readonly when: "before" | "after";
  /**
   * Changes the tree; answers whether there was anything to change.
   *
   * @param before the tree as it was before the transform; the same tree when `when` is `before`
   */
  readonly apply: (tree: Directory, before: Directory) => boolean;
}

const TOUCH_REMEDY =
  "give every step of the build the same SOURCE_DATE_EPOCH, or compute the digest of what is shipped";

function timeOf(id: string, says: string, remedy: string, change: (stat: Stat, node: Node) => Stat): Suspicion {
  return { id, says, remedy, when: "before", apply: (tree) => mapStats(tree, change) };
}

function atTime(seconds: bigint): (stat: Stat) => Stat {
  return (stat) =>
    stat.mtimeSec === seconds && stat.mtimeNsec === 0 ? stat : { ...stat, mtimeSec: seconds, mtimeNsec: 0 };
}

function owned(by: number): (stat: Stat) => Stat {
  return (stat) => (stat.uid === by && stat.gid === by ? stat : { ...stat, uid: by, gid: by });
}

function withoutBits(bits: number): (stat: Stat, node: Node) => Stat {
  return (stat, node) =>
    (stat.mode & bits) === 0 || (node instanceof Leaf && node.content.kind === "symlink")
      ? stat
      : { ...stat, mode: stat.mode & ~bits };
}

function isWhiteout(node: Node): boolean {
  return node instanceof Leaf && node.content.kind === "char" && node.content.rdev === 0;
}

/** Files that container engines put into the containers that they run. */
const ENGINE_FILES: readonly (readonly ByteString[])[] = [
  ["etc", "hostname"],
  ["etc", "hosts"],
  ["etc", "resolv.conf"],
  ["etc", "mtab"],
  [".dockerenv"],
  ["run", ".containerenv"],
];

/** Directories where a running system has file systems of its own. */
const MOUNT_POINTS: readonly ByteString[] = ["dev", "proc", "sys", "tmp", "run", "mnt", "media"];

function emptied(tree: Directory, ...path: ByteString[]): boolean {
  const directory = directoryAt(tree, ...path);
  if (directory === undefined || directory.entries.size === 0) return false;
  directory.entries.clear();
  return true;
}

/** Puts back what the transform took out of a directory of the root. */
function refilled(tree: Directory, before: Directory, name: ByteString): boolean {
  const [now, then] = [directoryAt(tree, name), directoryAt(before, name)];
  if (now === undefined || then === undefined || now.entries.size > 0 || then.entries.size === 0) return false;
  const copy = cloneTree(then);
  filterXattrs(copy, "allowlist-only");
  for (const [child, node] of copy.entries) now.entries.set(child, node);
  return true;
}

/** Gives nodes the xattrs back that the transform took, where a function picks them; labels may have come since. */
function restored(tree: Directory, before: Directory, picks: (name: ByteString) => boolean): boolean {
  let changed = false;
  const give = (now: Node, then: Node): void => {
    const lost = [...then.stat.xattrs].filter(([name, value]) => picks(name) && now.stat.xattrs.get(name) !== value);
    if (lost.length === 0) return;
    now.stat = { ...now.stat, xattrs: new Map([...now.stat.xattrs, ...lost]) };
    changed = true;
  };
  const pending: [Directory, Directory][] = [[tree, before]];
  give(tree, before);
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const [now, then] = next;
    for (const [name, node] of now.entries) {
      const other = then.entries.get(name);
      if (other === undefined) continue;
      give(node, other);
      if (node instanceof Directory && other instanceof Directory) pending.push([node, other]);
    }
  }
  return changed;
}

const isLabel = (name: ByteString): boolean => name === "security.selinux";

/** Every suspicion, the likeliest first. */
export const SUSPICIONS: readonly Suspicion[] = [
  timeOf(
    "nanoseconds-dropped",
    "all times are whole seconds",
    "a tar archive without pax headers, as most layers are, keeps no nanoseconds: compute the digest of the image, not of the directory that it was made of",
    (stat) => (stat.mtimeNsec === 0 ? stat : { ...stat, mtimeNsec: 0 }),
  ),
  {
    id: "labels-missing",
    says: "no file has an SELinux label",
    remedy:
      "the policy was not found where the digest was computed: compute it where /etc/selinux of the image can be read",
    when: "after",
    apply: (tree) => mapStats(tree, (stat) => keepXattrs(stat, (name) => !isLabel(name))),
  },
  {
    id: "labels-of-the-source",
    says: "files keep the SELinux labels that they have in the source",
    remedy:
      "labels come from the policy in the image; compute the digest with the transform that does that, --bootable",
    when: "after",
    apply: (tree, before) => restored(tree, before, isLabel),
  },
  {
    id: "xattrs-dropped",
    says: "no file has an xattr, security.capability included",
    remedy:
      "the tree was copied without xattrs: use `tar --xattrs --xattrs-include='*'`, `cp -a` or `rsync -X`, as root",
    when: "before",
    apply: (tree) => mapStats(tree, (stat) => keepXattrs(stat, () => false)),
  },
  {
    id: "xattrs-kept",
    says: "files keep all xattrs that they have in the source",
    remedy: "the image of a container keeps security.capability alone (and user.* with --xattrs keep-user-xattrs)",
    when: "after",
    apply: (tree, before) => restored(tree, before, () => true),
  },
  {
    id: "hard-links-split",
    says: "every name of a hard link is a file of its own",
    remedy: "the tree was copied without its hard links: use `cp -a`, `rsync -H` or tar",
    when: "before",
    apply: splitHardLinks,
  },
  {
    id: "boot-kept",
    says: "/boot is not emptied",
    remedy: "the digest of a bootable image leaves the content of /boot out; compute it with --bootable",
    when: "after",
    apply: (tree, before) => refilled(tree, before, "boot"),
  },
  {
    id: "sysroot-kept",
    says: "/sysroot is not emptied",
    remedy: "the digest of a bootable image leaves the content of /sysroot out; compute it with --bootable",
    when: "after",
    apply: (tree, before) => refilled(tree, before, "sysroot"),
  },
  {
    id: "run-kept",
    says: "/run is not emptied",
    remedy: "the digest of a container image leaves the content of /run out",
    when: "after",
    apply: (tree, before) => refilled(tree, before, "run"),
  },
  {
    id: "root-kept",
    says: "the root directory has its own mode, owner and time, not those of /usr",
    remedy: "the root of a layer is rarely recorded, so it is taken from /usr; leave --no-propagate-usr-to-root out",
    when: "after",
    apply: (tree, before) => {
      if (tree.stat === before.stat) return false;
      tree.stat = { ...before.stat, xattrs: tree.stat.xattrs };
      return true;
    },
  },
  {
    id: "boot-nanoseconds",
    says: "/boot and /sysroot have the time of /usr to the nanosecond",
    remedy:
      "the transform gives them the seconds of /usr and leaves their nanoseconds; the tool that computed the digest does otherwise",
    when: "after",
    apply: (tree) => {
      const usr = directoryAt(tree, "usr");
      let changed = false;
      for (const name of ["boot", "sysroot"]) {
        const directory = directoryAt(tree, name);
        if (usr === undefined || directory === undefined) continue;
        const { mtimeSec, mtimeNsec } = usr.stat;
        if (directory.stat.mtimeSec === mtimeSec && directory.stat.mtimeNsec === mtimeNsec) continue;
        directory.stat = { ...directory.stat, mtimeSec, mtimeNsec };
        changed = true;
      }
      return changed;
    },
  },
  timeOf("times-zero", "all times are 1970-01-01", TOUCH_REMEDY, atTime(0n)),
  timeOf("times-one", "all times are one second after 1970-01-01, as ostree has them", TOUCH_REMEDY, atTime(1n)),
  timeOf(
    "owner-root",
    "root owns everything",
    "the tree was unpacked by a user who cannot give files away: unpack it as root, or compute the digest of the image",
    owned(0),
  ),
  timeOf(
    "owner-user",
    "user 1000 owns everything",
    "the digest was computed from a copy that an ordinary user unpacked: compute it from the image",
    owned(1000),
  ),
  timeOf(
    "set-id-bits-dropped",
    "no file is setuid, setgid or sticky",
    "these bits are lost when files are copied or change their owner: unpack as root with the modes preserved",
    withoutBits(0o7000),
  ),
  timeOf(
    "umask-applied",
    "nobody but the owner may write to anything",
    "the tree was unpacked under umask 022: unpack with the modes preserved, `tar -p`",
    withoutBits(0o022),
  ),
  {
    id: "devices-dropped",
    says: "there are no device nodes",
    remedy:
      "the tree was unpacked by a user who cannot make devices: unpack it as root, or compute the digest of the image",
    when: "before",
    apply: (tree) =>
      removeEntries(
        tree,
        (node) => node instanceof Leaf && (node.content.kind === "char" || node.content.kind === "block"),
      ),
  },
  {
    id: "whiteouts-dropped",
    says: "there are no overlay whiteouts",
    remedy:
      "character devices 0:0 mean something to overlayfs: the digest was computed from a mounted tree, which hides them",
    when: "before",
    apply: (tree) => removeEntries(tree, isWhiteout),
  },
  {
    id: "sockets-dropped",
    says: "there are no sockets and fifos",
    remedy: "archives do not hold sockets: remove what a service left behind, and compute both digests again",
    when: "before",
    apply: (tree) =>
      removeEntries(
        tree,
        (node) => node instanceof Leaf && (node.content.kind === "socket" || node.content.kind === "fifo"),
      ),
  },
  {
    id: "engine-files-dropped",
    says: "the files are missing that container engines put into running containers (/etc/resolv.conf, /etc/hosts, ...)",
    remedy: "take the tree from the image, not from a running container",
    when: "before",
    apply: (tree) => {
      let removed = false;
      for (const path of ENGINE_FILES) {
        const directory = directoryAt(tree, ...path.slice(0, -1));
        removed = directory?.entries.delete(path.at(-1) as ByteString) === true || removed;
      }
      return removed;
    },
  },
  {
    id: "mounts-included",
    says: "directories where a running system mounts something are empty (/dev, /proc, /sys, /tmp, /run, ...)",
    remedy: "take the tree from the image or an unmounted root, not from a running system",
    when: "before",
    apply: (tree) => MOUNT_POINTS.map((name) => emptied(tree, name)).includes(true),
  },
  {
    id: "var-emptied",
    says: "/var is empty",
    remedy: "the content of /var belongs to the machine: empty it in the image before the digest is computed",
    when: "before",
    apply: (tree) => emptied(tree, "var"),
  },
  {
    id: "machine-id",
    says: "/etc/machine-id is empty or missing",
    remedy: "an identity was written into the tree at its first boot: take the tree from the image",
    when: "before",
    apply: (tree) => {
      const etc = directoryAt(tree, "etc");
      const file = etc?.entries.get("machine-id");
      if (etc === undefined || !(file instanceof Leaf) || file.content.kind !== "inline") return false;
      if (file.content.bytes.length === 0) return false;
      etc.entries.set("machine-id", new Leaf(file.stat, { kind: "inline", bytes: new Uint8Array(0) }));
      return true;
    },
  },
  {
    id: "lost-found",
    says: "there is no /lost+found",
    remedy: "the tree was taken from the root of an ext4 file system: leave that directory out",
    when: "before",
    apply: (tree) => tree.entries.delete("lost+found"),
  },
  {
    id: "symlink-modes",
    says: "symlinks have the mode 777",
    remedy: "file systems know no other mode of symlinks, archives do: compute both digests from the same form",
    when: "before",
    apply: (tree) =>
      mapStats(tree, (stat, node) =>
        node instanceof Leaf && node.content.kind === "symlink" && stat.mode !== 0o777
          ? { ...stat, mode: 0o777 }
          : stat,
      ),
  },
  {
    id: "caches-dropped",
    says: "there are no Python caches (__pycache__)",
    remedy: "something ran in the tree after the digest was computed: compute the digest last",
    when: "before",
    apply: (tree) => removeEntries(tree, (node, name) => node instanceof Directory && name === "__pycache__"),
  },
];
