// Stores that podman itself makes, for the suites that read them: an image of two layers with what makes stores hard.

import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { tar, type TarEntry } from "../fixtures/tar.ts";
import { peer } from "../peer.ts";

/** Who runs podman, and where its store is. */
export interface PodmanPlace {
  /** Words before the command: `--root DIR ...`. */
  readonly words: readonly string[];
  /** Another user. */
  readonly user?: { readonly name: string; readonly home: string; readonly runtime: string };
}

/** A finished command. */
export interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Words for a store of its own below a folder. */
export function storeIn(folder: string): PodmanPlace {
  return { words: ["--root", join(folder, "store"), "--runroot", join(folder, "run"), "--storage-driver", "overlay"] };
}

/** Runs a command as the user of a place, with an environment that has nothing of root's. */
export function asUser({ user }: PodmanPlace, command: readonly string[], cwd?: string): Ran {
  const words =
    user === undefined
      ? command
      : [
          "runuser",
          "-u",
          user.name,
          "--",
          "env",
          "-u",
          "XDG_DATA_HOME",
          "-u",
          "XDG_CONFIG_HOME",
          `HOME=${user.home}`,
          `XDG_RUNTIME_DIR=${user.runtime}`,
          ...command,
        ];
  const [program, ...rest] = words as [string, ...string[]];
  // Files and not pipes: podman leaves a process behind that would keep those open.
  const folder = mkdtempSync(join(tmpdir(), "composefs-output-"));
  const files = ["stdout", "stderr"].map((name) => join(folder, name));
  const [stdout = 1, stderr = 2] = files.map((file) => openSync(file, "w"));
  try {
    const stdio = ["ignore", stdout, stderr] as const;
    const { status, error } = spawnSync(program, rest, { timeout: 60_000, cwd: cwd ?? "/tmp", stdio: [...stdio] });
    if (error) throw error;
    const [out = "", errors = ""] = files.map((file) => readFileSync(file, "utf8"));
    return { status, stdout: out, stderr: errors };
  } finally {
    closeSync(stdout);
    closeSync(stderr);
    rmSync(folder, { recursive: true });
  }
}

/** Runs podman, which must succeed. */
export function podman(place: PodmanPlace, words: readonly string[], cwd?: string): string {
  const result = asUser(place, [peer("podman"), ...place.words, ...words], cwd);
  if (result.status !== 0) throw new Error(`podman ${words.join(" ")}: ${result.stderr}`);
  return result.stdout.trim();
}

const BIG = 12 << 20;

/** The files of the lower layer, as its archive has them. */
function baseEntries(): TarEntry[] {
  return [
    { path: "usr", type: "directory" },
    { path: "usr/bin", type: "directory" },
    { path: "usr/bin/su", mode: 0o4755, content: randomBytes(5000) },
    { path: "usr/lib", type: "directory" },
    { path: "usr/lib/big", content: randomBytes(BIG) },
    { path: "usr/lib/more", content: randomBytes(100_000) },
    { path: "usr/lib/small", content: randomBytes(64) },
    { path: "usr/lib/same", type: "hardlink", target: "usr/lib/more" },
    { path: "etc", type: "directory" },
    { path: "etc/shadow", mode: 0, content: randomBytes(700) },
    { path: "srv", type: "directory", uid: 33, gid: 33, mode: 0o700 },
    { path: "srv/private", uid: 33, gid: 33, mode: 0o600, content: randomBytes(70_000) },
    { path: "srv/none", uid: 33, gid: 33, mode: 0, content: randomBytes(40) },
  ];
}

/** Bytes of the contents that become objects. */
export const CONTENT_BYTES = BIG + 100_000 + 5000 + 700 + 70_000 + 3000;

/** How many objects they are. */
export const CONTENT_OBJECTS = 6;

/**
 * Makes the image `localhost/os:1`: a base by `podman import`, a layer on it by `podman build`.
 *
 * @param folder where the files for it go; the user of the place must be able to read it
 */
export function makeImage(place: PodmanPlace, folder: string): void {
  mkdirSync(join(folder, "context"), { recursive: true, mode: 0o755 });
  writeFileSync(join(folder, "base.tar"), tar(baseEntries()));
  podman(place, ["import", "-q", join(folder, "base.tar"), "localhost/base:1"]);
  writeFileSync(join(folder, "context/Containerfile"), "FROM localhost/base:1\nCOPY tool /usr/bin/tool\n");
  writeFileSync(join(folder, "context/tool"), randomBytes(3000));
  build(place, join(folder, "context"), "localhost/os:1");
}

/** Builds a context, which runs nothing and needs no network. */
export function build(place: PodmanPlace, context: string, name: string): void {
  podman(place, ["build", "-q", "--isolation", "chroot", "--pull=never", "-t", name, context]);
}
