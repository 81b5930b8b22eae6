// Kernels for the virtual machine (docs/spec/vm-testing.md, sections 2 and 3): Debian's packages, fetched once by apt without
// being installed, reduced to the kernel and the modules that the guest needs, and kept in the cache of the suites.

import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { ciCache } from "../peer.ts";

/** The kernels of this suite: what they have in common is a Debian package each. */
export type KernelName = "6.1" | "6.12";

/** A kernel that can be booted. */
export interface Kernel {
  readonly name: KernelName;
  /** Path of the compressed kernel. */
  readonly image: string;
  /** Paths of modules, in the order in which they have to be loaded. */
  readonly modules: readonly string[];
  /** Modules that a test loads when it wants to. */
  readonly lateModules: readonly string[];
}

/** The suites that hold the packages, and the names of those. */
const PACKAGES: Record<KernelName, { suite: string; name: RegExp }> = {
  "6.1": { suite: "bookworm", name: /^linux-image-6\.1\.0-\d+-cloud-amd64$/ },
  "6.12": { suite: "bookworm-backports", name: /^linux-image-6\.12\.[\w.+]+-cloud-amd64$/ },
};

const MODULES = ["virtio_pci", "virtio_blk", "virtio_console", "erofs", "overlay", "loop"];
const LATE_MODULES = ["sha512_generic", "vfat", "nls_cp437", "nls_ascii"];
/** Raise it when the lists above change: older caches are then not used. */
const REVISION = 2;

/**
 * The kernel, from the cache or the Debian archive that this machine uses.
 *
 * @throws Error that says what is missing
 */
export function kernel(name: KernelName): Kernel {
  const folder = join(ciCache(), `vm-kernel-${name}-${REVISION}`);
  if (!existsSync(folder)) fetchKernel(name, folder);
  const modulesIn = (subfolder: string) =>
    readdirSync(join(folder, subfolder))
      .toSorted()
      .map((file) => join(folder, subfolder, file));
  return {
    name,
    image: join(folder, "vmlinuz"),
    modules: modulesIn("modules"),
    lateModules: modulesIn("late"),
  };
}

function fetchKernel(name: KernelName, folder: string): void {
  const work = `${folder}.${process.pid}`;
  rmSync(work, { recursive: true, force: true });
  mkdirSync(join(work, "unpacked"), { recursive: true });
  try {
    execFileSync("dpkg-deb", ["-x", download(name, work), join(work, "unpacked")]);
    const ready = join(work, "ready");
    reduce(join(work, "unpacked"), ready);
    renameSync(ready, folder);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Fetches the newest package into a folder, without touching the lists of packages of the machine. */
function download(name: KernelName, folder: string): string {
  const { suite, name: pattern } = PACKAGES[name];
  const sources = join(folder, "sources.list");
  const lists = join(folder, "lists");
  mkdirSync(join(lists, "partial"), { recursive: true });
  writeFileSync(sources, `deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${archive()} ${suite} main\n`);
  const settings = [
    `Dir::Etc::sourcelist=${sources}`,
    "Dir::Etc::sourceparts=/dev/null",
    `Dir::State::lists=${lists}`,
    "Dir::Cache::pkgcache=",
    "Dir::Cache::srcpkgcache=",
    "Acquire::Languages=none",
    "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
    "APT::Sandbox::User=root",
    "APT::Update::Error-Mode=any",
  ].flatMap((setting) => ["-o", setting]);
  const run = (program: string, args: string[]) =>
    execFileSync(program, [...settings, ...args], { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  run("apt-get", ["update", "-q"]);
  const byVersion = new Intl.Collator("en", { numeric: true });
  const newest = run("apt-cache", ["pkgnames", "linux-image-6"])
    .split("\n")
    .filter((each) => pattern.test(each))
    .toSorted((a, b) => byVersion.compare(a, b))
    .at(-1);
  if (newest === undefined) throw new Error(`the suite ${suite} has no package like ${pattern.source}`);
  run("apt-get", ["download", newest]);
  const file = readdirSync(folder).find((each) => each.endsWith(".deb"));
  if (file === undefined) throw new Error(`apt-get download ${newest} left no package`);
  return join(folder, file);
}

/** The Debian archive that this machine is set up for. */
function archive(): string {
  const targets = execFileSync("apt-get", ["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"], {
    encoding: "utf8",
  });
  const found = targets.split("\n").find((uri) => /\/debian\/?$/.test(uri));
  if (found === undefined) throw new Error("apt knows no Debian archive that kernels could come from");
  return found;
}

/** Takes from an unpacked package what the guest needs. */
function reduce(unpacked: string, target: string): void {
  const version = readdirSync(join(unpacked, "lib/modules"))[0] as string;
  const tree = join(unpacked, "lib/modules", version);
  for (const folder of ["modules", "late"]) mkdirSync(join(target, folder), { recursive: true });
  copyFileSync(join(unpacked, "boot", `vmlinuz-${version}`), join(target, "vmlinuz"));

  const moduleName = (path: string) =>
    basename(path)
      .replace(/\.ko(\.xz)?$/, "")
      .replaceAll("-", "_");
  const files = new Map(
    readdirSync(tree, { recursive: true, encoding: "utf8" })
      .filter((path) => /\.ko(\.xz)?$/.test(path))
      .map((path) => [moduleName(path), join(tree, path)]),
  );
  const builtIn = new Set(readFileSync(join(tree, "modules.builtin"), "utf8").trim().split("\n").map(moduleName));
  const placed = new Set<string>();
  const place = (name: string, folder: string) => {
    if (placed.has(name)) return;
    placed.add(name);
    const path = files.get(name);
    if (path === undefined) {
      if (!builtIn.has(name)) throw new Error(`kernel ${version} has no module ${name}`);
      return;
    }
    const module = readModule(path);
    for (const needed of dependencies(module)) place(needed, folder);
    const number = String(readdirSync(join(target, folder)).length).padStart(2, "0");
    writeFileSync(join(target, folder, `${number}-${name}.ko`), module);
  };
  for (const name of MODULES) place(name, "modules");
  for (const name of LATE_MODULES) place(name, "late");
}

/** Decompressed, because busybox's insmod lets the kernel complain about a compressed one before it decompresses it. */
function readModule(path: string): Buffer {
  if (!path.endsWith(".xz")) return readFileSync(path);
  return execFileSync("busybox", ["xz", "-dc", path], { maxBuffer: 1 << 28 });
}

/** What a module needs; an unpacked package has no modules.dep, but every module says it itself. */
function dependencies(module: Buffer): string[] {
  const text = module.toString("latin1");
  const [, list = ""] = /\0depends=([\w,-]*)\0/.exec(text) ?? [];
  return list
    .split(",")
    .filter((name) => name !== "")
    .map((name) => name.replaceAll("-", "_"));
}
