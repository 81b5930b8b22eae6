// Other programs that the interop, privileged and crash suites compare with: where they are, and what to do without them.
// A missing one skips its tests with the remedy in their name; with CI=true it fails them, so that nothing is proven by absence.

import { execFileSync, spawnSync } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { describe, it } from "vitest";

/** The programs that can be asked for. */
export type PeerName =
  | "cfsctl"
  | "skopeo"
  | "podman"
  | "docker-registry"
  | "fsverity"
  | "mkfs.erofs"
  | "fsck.erofs"
  | "dump.erofs"
  | "mkfs.ext4"
  | "e2fsck"
  | "debugfs"
  | "dumpe2fs"
  | "resize2fs"
  | "fsck.vfat"
  | "mcopy"
  | "mkfs.xfs"
  | "mkfs.btrfs"
  | "mmdebstrap"
  | "zstd"
  | "setfattr"
  | "mount"
  | "strace"
  | "objcopy"
  | "objdump"
  | "openssl"
  | "sbsign"
  | "sbverify"
  | "tar"
  | "python3";

const REMEDIES: Record<PeerName, string> = {
  cfsctl: "cargo install composefs-ctl --version '^0.9' --locked, then put it on PATH or name it in COMPOSEFS_CFSCTL",
  skopeo: "apt-get install skopeo",
  podman: "apt-get install podman",
  "docker-registry": "apt-get install docker-registry",
  fsverity: "apt-get install fsverity",
  "mkfs.erofs": "apt-get install erofs-utils",
  "fsck.erofs": "apt-get install erofs-utils",
  "dump.erofs": "apt-get install erofs-utils",
  "mkfs.ext4": "apt-get install e2fsprogs",
  e2fsck: "apt-get install e2fsprogs",
  debugfs: "apt-get install e2fsprogs",
  dumpe2fs: "apt-get install e2fsprogs",
  resize2fs: "apt-get install e2fsprogs",
  "fsck.vfat": "apt-get install dosfstools",
  mcopy: "apt-get install mtools",
  "mkfs.xfs": "apt-get install xfsprogs",
  "mkfs.btrfs": "apt-get install btrfs-progs",
  mmdebstrap: "apt-get install mmdebstrap",
  zstd: "apt-get install zstd",
  setfattr: "apt-get install attr",
  mount: "apt-get install mount",
  strace: "apt-get install strace",
  python3: "apt-get install python3",
  objcopy: "apt-get install binutils",
  objdump: "apt-get install binutils",
  openssl: "apt-get install openssl",
  sbsign: "apt-get install sbsigntool",
  sbverify: "apt-get install sbsigntool",
  tar: "apt-get install tar",
};

/** Folder outside the checkout where the suites keep what is dear to make: cfsctl, a Debian root. */
export function ciCache(): string {
  return join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "composefs-ci");
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

const found = new Map<PeerName, string | undefined>();

/**
 * Path of a program, or undefined when it is not installed. COMPOSEFS_CFSCTL (for the others COMPOSEFS_SKOPEO,
 * COMPOSEFS_MKFS_EROFS, ...) names one explicitly, then PATH is searched, for cfsctl also the folder that .ci/run installs into.
 * A variable that names something else than a program is an error, not an absence.
 */
export function findPeer(name: PeerName): string | undefined {
  if (!found.has(name)) found.set(name, locate(name));
  return found.get(name);
}

function locate(name: PeerName): string | undefined {
  const variable = `COMPOSEFS_${name.toUpperCase().replace(".", "_")}`;
  const named = process.env[variable];
  if (named) {
    if (!isProgram(named)) throw new Error(`${variable}=${named} is not an executable file`);
    return named;
  }
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  folders.push("/usr/local/sbin", "/usr/sbin", "/sbin", join(ciCache(), "bin"));
  return folders.map((folder) => join(folder, name)).find(isProgram);
}

/** Path of a program that {@link describeWithPeers} has already asked for; throws with the remedy when it is missing. */
export function peer(name: PeerName): string {
  const path = findPeer(name);
  if (path === undefined) throw new Error(`${name} is not installed: ${REMEDIES[name]}`);
  return path;
}

/** A finished program. */
export interface PeerResult {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** Runs a program to its end without judging its exit status. */
export function runPeer(
  name: PeerName,
  args: readonly string[],
  options: { input?: Uint8Array | string; timeoutMs?: number; cwd?: string } = {},
): PeerResult {
  const result = spawnSync(peer(name), args, {
    encoding: "utf8",
    maxBuffer: 1 << 30,
    timeout: options.timeoutMs ?? 300_000,
    ...(options.input === undefined ? {} : { input: options.input }),
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  if (result.error) throw result.error;
  return { status: result.status, stdout: result.stdout, stderr: result.stderr };
}

/** Standard output of a program that must succeed; throws with its standard error otherwise. */
export function peerOutput(name: PeerName, args: readonly string[], options: { timeoutMs?: number } = {}): string {
  const result = runPeer(name, args, options);
  if (result.status !== 0) {
    throw new Error(`${name} ${args.join(" ")}: exit status ${result.status}\n${result.stdout}${result.stderr}`);
  }
  return result.stdout;
}

/** Like {@link peerOutput}, as bytes. */
export function peerBytes(name: PeerName, args: readonly string[]): Buffer {
  return execFileSync(peer(name), args, { maxBuffer: 1 << 30, timeout: 300_000, stdio: ["ignore", "pipe", "inherit"] });
}

/** What to do about programs that are not installed, undefined when all are. */
export function remedyFor(names: readonly PeerName[]): string | undefined {
  const missing = names.filter((name) => findPeer(name) === undefined);
  if (missing.length === 0) return undefined;
  return missing.map((name) => `${name} is not installed: ${REMEDIES[name]}`).join("; ");
}

/**
 * A `describe` block whose tests need other programs. Without them it becomes one test that carries the remedy in its name:
 * skipped, or failing when CI=true.
 */
export function describeWithPeers(names: readonly PeerName[], title: string, body: () => void): void {
  const remedy = remedyFor(names);
  if (remedy === undefined) describe(title, body);
  else describe(title, () => skipOrFail(remedy));
}

/** Registers one test that stands for those which cannot run: skipped with the reason in its name, failing when CI=true. */
export function skipOrFail(reason: string): void {
  if (process.env["CI"] === "true") {
    it(`cannot run: ${reason}`, () => {
      throw new Error(reason);
    });
  } else {
    it.skip(`skipped: ${reason}`, () => {});
  }
}
