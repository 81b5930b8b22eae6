// Every known cause, seeded by hand into the text of a dump: explain finds it and names it, with one tree or with two.

import { describe, expect, it } from "vitest";
import type { Algorithm } from "../../src/bytes/algorithm.ts";
import { fsverityDigest } from "../../src/core/fsverity.ts";
import { explain } from "../../src/explain/explain.ts";
import type { ExplainSource } from "../../src/explain/source.ts";
import { SUSPICIONS } from "../../src/explain/suspicions.ts";
import type { FormatVersion } from "../../src/image/write.ts";
import { imageId } from "../../src/image/write.ts";
import { containerTransform } from "../../src/tree/container-transform.ts";
import { readDump } from "../../src/tree/dump-read.ts";
import type { Directory } from "../../src/tree/node.ts";

const ID = (fill: string) => fill.repeat(64);
const OBJECT = (fill: string) => `${fill.repeat(2)}/${fill.repeat(62)}`;

/** A root file system with one of everything that gets lost. Fields: size mode nlink uid gid rdev mtime payload content digest xattrs. */
const ROOT = [
  "/ 0 40700 2 0 0 0 50.000000005 - - - security.selinux=root",
  "/.dockerenv 0 100644 1 0 0 0 10.0 - - -",
  "/boot 0 40755 2 0 0 0 20.000000002 - - -",
  "/boot/kernel 3 100644 1 0 0 0 20.0 - abc -",
  "/dev 0 40755 2 0 0 0 20.0 - - -",
  "/dev/loop0 0 60644 1 0 0 1792 20.0 - - -",
  "/etc 0 40755 2 0 0 0 30.000000003 - - -",
  "/etc/hosts 4 100644 1 0 0 0 30.0 - host -",
  "/etc/link 0 120755 1 0 0 0 30.0 hosts - -",
  "/etc/machine-id 2 100644 1 0 0 0 30.0 - id -",
  "/etc/shared 3 100664 1 0 0 0 30.0 - sha -",
  "/lost+found 0 40700 2 0 0 0 1.0 - - -",
  "/run 0 40755 2 0 0 0 40.0 - - -",
  "/run/lock 0 40755 2 0 0 0 40.0 - - -",
  "/sysroot 0 40755 2 0 0 0 20.0 - - -",
  "/sysroot/ostree 0 40755 2 0 0 0 20.0 - - -",
  "/usr 0 40755 2 0 0 0 60.000000006 - - - security.selinux=usr",
  `/usr/big 5000 100755 1 0 0 0 61.000000007 ${OBJECT("a")} - ${ID("a")} security.capability=cap trusted.mark=1 user.note=n`,
  "/usr/cache 0 40755 2 0 0 0 60.0 - - -",
  "/usr/cache/__pycache__ 0 40755 2 0 0 0 60.0 - - -",
  "/usr/cache/__pycache__/m.pyc 3 100644 1 0 0 0 60.0 - pyc -",
  "/usr/fifo 0 10644 1 0 0 0 60.0 - - -",
  "/usr/first 1 100644 2 5 6 0 60.0 - x -",
  "/usr/second 0 @120644 2 5 6 0 60.0 /usr/first - -",
  "/usr/su 2 104755 1 0 0 0 60.0 - su -",
  "/usr/whiteout 0 20644 1 0 0 0 60.0 - - -",
  "/var 0 41777 2 0 0 0 60.0 - - -",
  "/var/log 0 40755 2 0 0 0 60.0 - - -",
];

const TIME = 7;
const MODE = 2;

function treeOf(lines: readonly string[]): Directory {
  return readDump([Buffer.from(`${lines.join("\n")}\n`)], { algorithm: "sha256" });
}

function source(lines: readonly string[], name = "tree"): ExplainSource {
  return {
    name,
    kind: "dump",
    layers: 0,
    readFile: ({ leaf: { content } }) => {
      if (content.kind !== "inline") throw new Error("not inline");
      return content.bytes;
    },
    tree: async () => treeOf(lines),
    [Symbol.asyncDispose]: async () => {},
  };
}

/** Each line with some of its fields changed. */
function edit(change: (fields: string[], path: string) => void, lines: readonly string[] = ROOT): string[] {
  return lines.map((line) => {
    const fields = line.split(" ");
    change(fields, fields[0] as string);
    return fields.join(" ");
  });
}

const without = (...paths: (string | RegExp)[]) =>
  ROOT.filter(
    (line) =>
      !paths.some((path) => {
        const name = line.split(" ")[0] as string;
        return typeof path === "string" ? name === path : path.test(name);
      }),
  );

const dropXattrs = (pattern: RegExp) =>
  ROOT.map((line) =>
    [
      ...line.split(" ").slice(0, 11),
      ...line
        .split(" ")
        .slice(11)
        .filter((x) => !pattern.test(x)),
    ].join(" "),
  );

const container = (lines: readonly string[]): Directory => {
  const tree = treeOf(lines);
  containerTransform(tree);
  return tree;
};

const boot = async (tree: Directory) => {
  for (const name of ["boot", "sysroot"]) {
    const directory = tree.entries.get(name) as Directory;
    const usr = tree.entries.get("usr") as Directory;
    directory.entries.clear();
    directory.stat = { ...directory.stat, mtimeSec: usr.stat.mtimeSec };
  }
};

async function idOf(tree: Directory, format: FormatVersion = 1, algorithm: Algorithm = "sha256") {
  return imageId(tree, { version: format, algorithm, dialect: "rs" }).id;
}

async function booted(lines: readonly string[]): Promise<Directory> {
  const tree = container(lines);
  await boot(tree);
  return tree;
}

const asked = (digest: string) => [
  { digest, algorithm: "sha256" as const, format: undefined, source: "digest" as const },
];

/** Tree with the expected digest, made by other means than those of the suspicion. */
const SEEDS: Record<string, () => Directory | Promise<Directory>> = {
  "nanoseconds-dropped": () =>
    container(edit((fields) => (fields[TIME] = (fields[TIME] as string).replace(/\..*/, ".0")))),
  "xattrs-dropped": () => container(dropXattrs(/./)),
  "hard-links-split": () =>
    container(
      ROOT.map((line) =>
        line.startsWith("/usr/second ")
          ? "/usr/second 1 100644 1 5 6 0 60.0 - x -"
          : line.replace(/^(\/usr\/first 1 100644) 2/, "$1 1"),
      ),
    ),
  "times-zero": () => container(edit((fields) => (fields[TIME] = "0.0"))),
  "times-one": () => container(edit((fields) => (fields[TIME] = "1.0"))),
  "owner-root": () => container(edit((fields) => fields.splice(4, 2, "0", "0"))),
  "owner-user": () => container(edit((fields) => fields.splice(4, 2, "1000", "1000"))),
  "set-id-bits-dropped": () =>
    container(edit((fields) => (fields[MODE] = (fields[MODE] as string).replace(/^(10|4)[1-7](...)$/, "$10$2")))),
  "umask-applied": () =>
    container(
      edit((fields, path) => {
        if (path === "/var") fields[MODE] = "41755";
        if (path === "/etc/shared") fields[MODE] = "100644";
      }),
    ),
  "devices-dropped": () => container(without("/dev/loop0", "/usr/whiteout")),
  "whiteouts-dropped": () => container(without("/usr/whiteout")),
  "sockets-dropped": () => container(without("/usr/fifo")),
  "engine-files-dropped": () => container(without("/.dockerenv", "/etc/hosts")),
  "mounts-included": () => container(without(/^\/dev\/./, /^\/run\/./)),
  "var-emptied": () => container(without("/var/log")),
  "machine-id": () =>
    container(
      ROOT.map((line) =>
        line.replace("/etc/machine-id 2 100644 1 0 0 0 30.0 - id", "/etc/machine-id 0 100644 1 0 0 0 30.0 - -"),
      ),
    ),
  "lost-found": () => container(without("/lost+found")),
  "symlink-modes": () => container(ROOT.map((line) => line.replace("120755", "120777"))),
  "caches-dropped": () => container(without(/__pycache__/)),
  "xattrs-kept": () => {
    const tree = treeOf(ROOT);
    const root = container(dropXattrs(/^(?!security.cap)/));
    copyXattrs(tree, root);
    return root;
  },
  "run-kept": () => {
    const root = container(ROOT);
    const run = root.entries.get("run") as Directory;
    for (const [name, node] of (treeOf(ROOT).entries.get("run") as Directory).entries) run.entries.set(name, node);
    return root;
  },
  "root-kept": () => {
    const root = container(ROOT);
    root.stat = { ...treeOf(ROOT).stat, xattrs: new Map() };
    return root;
  },
  "labels-of-the-source": () => {
    const lines = ROOT.map((line) => line.replace(/ (user\.|trusted\.|security\.cap)\S*/g, ""));
    const root = container(ROOT);
    copyXattrs(treeOf(lines), root);
    return root;
  },
  "boot-kept": async () => {
    const root = await booted(ROOT);
    refill(root, "boot");
    return root;
  },
  "sysroot-kept": async () => {
    const root = await booted(ROOT);
    refill(root, "sysroot");
    return root;
  },
  "boot-nanoseconds": async () => {
    const root = await booted(ROOT);
    for (const name of ["boot", "sysroot"]) {
      const directory = root.entries.get(name) as Directory;
      directory.stat = { ...directory.stat, mtimeNsec: 6 };
    }
    return root;
  },
};

function refill(root: Directory, name: string): void {
  const now = root.entries.get(name) as Directory;
  for (const [child, node] of (container(ROOT).entries.get(name) as Directory).entries) now.entries.set(child, node);
}

function copyXattrs(from: Directory, to: Directory): void {
  const xattrs = new Map([...to.stat.xattrs, ...from.stat.xattrs]);
  if (xattrs.size > 0) to.stat = { ...to.stat, xattrs };
  for (const [name, node] of to.entries) {
    const other = from.entries.get(name);
    if (other === undefined) continue;
    if ("entries" in node && "entries" in other) copyXattrs(other, node);
    else if (other.stat.xattrs.size > 0)
      node.stat = { ...node.stat, xattrs: new Map([...node.stat.xattrs, ...other.stat.xattrs]) };
  }
}

describe("the known causes, found with one tree", () => {
  it.each(Object.keys(SEEDS))("%s", async (id) => {
    const digest = await idOf(await (SEEDS[id] as () => Directory | Promise<Directory>)());
    const { matches, suspicion, tried } = await explain(asked(digest), source(ROOT), {});
    expect({ matches, found: suspicion?.id, digest: suspicion?.digest, several: tried > 10 }).toEqual({
      matches: [],
      found: id,
      digest,
      several: true,
    });
  });

  it("labels-missing", async () => {
    const policy = [
      "/etc/selinux 0 40755 2 0 0 0 30.0 - - -",
      "/etc/selinux/config 13 100644 1 0 0 0 30.0 - SELINUXTYPE=t -",
      "/etc/selinux/t 0 40755 2 0 0 0 30.0 - - -",
      "/etc/selinux/t/contexts 0 40755 2 0 0 0 30.0 - - -",
      "/etc/selinux/t/contexts/files 0 40755 2 0 0 0 30.0 - - -",
      "/etc/selinux/t/contexts/files/file_contexts 16 100644 1 0 0 0 30.0 - /usr(/.*)?\\x20u:usr -",
    ];
    const lines = [...ROOT, ...policy];
    const digest = await idOf(await booted(lines));
    const { suspicion, notTried } = await explain(asked(digest), source(lines), {});
    expect([suspicion?.id, suspicion?.words, notTried]).toEqual([
      "labels-missing",
      "format 1, sha256, bootable, xattrs allowlist-only",
      [],
    ]);
  });

  it("has a seed for each of them", () => {
    expect(SUSPICIONS.map(({ id }) => id).toSorted()).toEqual([...Object.keys(SEEDS), "labels-missing"].toSorted());
  });

  it("finds none where the cause is another", async () => {
    const digest = await idOf(container(ROOT.map((line) => line.replace("- abc -", "- abd -"))));
    const { matches, suspicion } = await explain(asked(digest), source(ROOT), {});
    expect([matches, suspicion]).toEqual([[], undefined]);
  });

  it("finds what was computed before layers were added", async () => {
    const layered: ExplainSource = {
      ...source(ROOT),
      kind: "container image",
      layers: 3,
      tree: async (_, count = 3) => treeOf(ROOT.slice(0, ROOT.length - 3 + count)),
    };
    const digest = await idOf(container(ROOT.slice(0, -2)), 2);
    const { suspicion } = await explain(asked(digest), layered, {});
    expect([suspicion?.id, suspicion?.variant.format, suspicion?.says]).toEqual([
      "layers-added",
      2,
      "there are only the lowest 1 of the 3 layers",
    ]);
  });
});

/** What was done to the tree that has the digest so that it became the one that has not. */
const CHANGES: Record<string, (lines: readonly string[]) => string[]> = {
  "added-boot": (lines) => [...lines, "/boot/uki.efi 3 100644 1 0 0 0 20.0 - uki -"],
  "added-engine-files": (lines) => [...lines, "/etc/resolv.conf 0 100644 1 0 0 0 30.0 - - -"],
  "added-caches": (lines) => [...lines, "/usr/cache/b.pyc 1 100644 1 0 0 0 30.0 - b -"],
  "added-selinux-policy": (lines) => [...lines, "/etc/selinux 0 40755 2 0 0 0 30.0 - - -"],
  added: (lines) => [...lines, "/usr/new 1 100644 1 0 0 0 30.0 - b -"],
  removed: (lines) => lines.filter((line) => !line.startsWith("/usr/su ")),
  "removed-devices": (lines) => lines.filter((line) => !line.startsWith("/dev/loop0")),
  "removed-whiteouts": (lines) => lines.filter((line) => !line.startsWith("/usr/whiteout")),
  type: (lines) => lines.map((line) => (line.startsWith("/usr/su ") ? "/usr/su 0 120777 1 0 0 0 60.0 big - -" : line)),
  "directory-mtimes": (lines) => edit((f, path) => path === "/var" && (f[TIME] = "99.0"), lines),
  nanoseconds: (lines) => edit((f, path) => path === "/usr/big" && (f[TIME] = "61.0"), lines),
  "file-mtimes": (lines) => edit((f, path) => path === "/usr/su" && (f[TIME] = "99.0"), lines),
  "symlink-mtimes": (lines) => edit((f, path) => path === "/etc/link" && (f[TIME] = "99.0"), lines),
  owners: (lines) => edit((f, path) => path === "/usr/su" && (f[4] = "1"), lines),
  "set-id-bits": (lines) => edit((f, path) => path === "/usr/su" && (f[MODE] = "100755"), lines),
  "write-bits": (lines) => edit((f, path) => path === "/etc/shared" && (f[MODE] = "100644"), lines),
  "symlink-modes": (lines) => edit((f, path) => path === "/etc/link" && (f[MODE] = "120777"), lines),
  modes: (lines) => edit((f, path) => path === "/etc/shared" && (f[MODE] = "100600"), lines),
  "user-xattrs": (lines) => lines.map((line) => line.replace("user.note=n", "user.note=m")),
  capabilities: (lines) => lines.map((line) => line.replace(" security.capability=cap", "")),
  labels: (lines) => lines.map((line) => line.replace("selinux=usr", "selinux=other")),
  acls: (lines) => lines.map((line) => line.replace("user.note", "system.posix_acl_access=a user.note")),
  "overlay-xattrs": (lines) => lines.map((line) => line.replace("user.note", "trusted.overlay.opaque=y user.note")),
  xattrs: (lines) => lines.map((line) => line.replace("user.note", "security.ima=a user.note")),
  "hard-links": (lines) =>
    lines.map((line) =>
      line.startsWith("/usr/second ")
        ? "/usr/second 1 100644 1 5 6 0 60.0 - x -"
        : line.replace(/^(\/usr\/first 1 100644) 2/, "$1 1"),
    ),
  "symlink-targets": (lines) => lines.map((line) => line.replace(" hosts - -", " hostx - -")),
  "file-content": (lines) =>
    lines.map((line) => line.replace("/usr/su 2 104755 1 0 0 0 60.0 - su", "/usr/su 3 104755 1 0 0 0 70.0 - sus")),
  "machine-id": (lines) => lines.map((line) => line.replace("- id -", "- ie -")),
  "caches-content": (lines) => lines.map((line) => line.replace("- pyc -", "- pyd -")),
  devices: (lines) => lines.map((line) => line.replace(" 1792 ", " 1793 ")),
  "object-paths": (lines) => {
    const id = fsverityDigest("sha256", Buffer.from("su"));
    const object = `${id.slice(0, 2)}/${id.slice(2)}`;
    return lines.map((line) => line.replace(/^(\/usr\/su .*) - su -/, `$1 ${object} - ${id}`));
  },
  "root-metadata": (lines) => edit((f, path) => path === "/" && (f[MODE] = "40711"), lines),
};

describe("the causes of differences, named with two trees", () => {
  it.each(Object.keys(CHANGES))("%s", async (id) => {
    // As it is: every xattr counts, and so does the root.
    const digest = await idOf(treeOf(ROOT));
    const changed = source((CHANGES[id] as (lines: readonly string[]) => string[])(ROOT));
    const { matches, comparison } = await explain(asked(digest), changed, {
      other: source(ROOT, "right"),
    });
    expect({
      matches: matches.length,
      other: comparison?.match?.digest,
      causes: comparison?.causes.map((cause) => cause.id),
    }).toEqual({ matches: 0, other: digest, causes: [id] });
    expect(comparison?.first?.path).toBe(comparison?.causes[0]?.first);
  });

  it("tells the root of an image, which is that of /usr, once", async () => {
    const digest = await idOf(container(ROOT));
    const changed = source(edit((f, path) => path === "/usr" && (f[TIME] = "99.0")));
    const { comparison } = await explain(asked(digest), changed, { other: source(ROOT, "right") });
    expect(comparison?.causes.map(({ id, count, first }) => [id, count, first])).toEqual([
      ["directory-mtimes", 1, "/usr"],
    ]);
  });

  it("compares bootable images as bootable: what is below /boot makes no difference", async () => {
    const digest = await idOf(await booted(ROOT), 2);
    const changed = source([...ROOT, "/boot/uki.efi 3 100644 1 0 0 0 20.0 - uki -"]);
    const { matches } = await explain(asked(digest), changed, { other: source(ROOT, "right") });
    expect(matches.map(({ words }) => words)).toEqual(["format 2, sha256, bootable, xattrs allowlist-only"]);
  });
});
