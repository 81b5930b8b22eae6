// Import of the 500 MB, 27 000-object image out of podman's store without copying its files, against cfsctl, in turns, into fresh
// repositories, start-up included. Needs root, skopeo and podman's store format: a loop device with the file system of --on.
//   node bench/zero-copy.mjs [--runs=3] [--hash=sha256,sha512] [--on=xfs,btrfs]

import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, statfsSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { pullLayout } from "./pull-layout.mjs";

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "3" },
    hash: { type: "string", default: "sha256,sha512" },
    on: { type: "string", default: "xfs,btrfs" },
  },
});
const MAIN = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));
const MAKE = { xfs: ["mkfs.xfs", "-q", "-m", "reflink=1"], btrfs: ["mkfs.btrfs", "-q"] };

function find(name) {
  const folders = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/sbin"];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

const cfsctl = process.env.COMPOSEFS_CFSCTL ?? find("cfsctl");
if (process.getuid?.() !== 0 || find("skopeo") === undefined) {
  console.log("zero-copy: not run: it needs root (mounts) and skopeo");
  process.exit(0);
}

/** Wall seconds and the growth of the disk in bytes of one import. */
function importOnce(command, words, disk, env) {
  const used = () => {
    execFileSync("sync", ["-f", disk]);
    const { blocks, bfree, bsize } = statfsSync(disk);
    return (blocks - bfree) * bsize;
  };
  const before = used();
  const begin = performance.now();
  const { status, stderr } = spawnSync(command, words, { encoding: "utf8", env: { ...process.env, ...env } });
  const seconds = (performance.now() - begin) / 1000;
  if (status !== 0) throw new Error(`${command} ${words.join(" ")}: ${stderr}`);
  return { seconds, grown: used() - before };
}

const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];
const layout = await pullLayout("gzip");

for (const name of values.on.split(",")) {
  const work = mkdtempSync(join(tmpdir(), "composefs-zero-copy-"));
  const disk = join(work, "disk");
  mkdirSync(disk);
  writeFileSync(join(work, "image"), "");
  truncateSync(join(work, "image"), 6 * 2 ** 30);
  const [make, ...options] = MAKE[name];
  execFileSync(find(make), [...options, join(work, "image")]);
  execFileSync("mount", ["-o", "loop", join(work, "image"), disk]);
  try {
    const store = join(disk, "store");
    const reference = `containers-storage:[overlay@${store}+${work}/run]localhost/bench:1`;
    execFileSync("skopeo", ["copy", "-q", "--insecure-policy", `oci:${layout}:bench`, reference]);
    for (const hash of values.hash.split(",")) {
      const ours = [];
      const theirs = [];
      for (let run = 0; run < Number(values.runs); run++) {
        const repository = join(disk, "repository");
        const turn = (command, before, after, results, env) => {
          const init = ["init", "--insecure", "--algorithm", `fsverity-${hash}-12`];
          execFileSync(command, [...before, "--repo", repository, ...init], { stdio: "ignore" });
          const words = [...before, "--repo", repository, "oci", "pull", "--local-fetch", "zerocopy", ...after];
          results.push(importOnce(command, [...words, "containers-storage:localhost/bench:1", "bench"], disk, env));
          rmSync(repository, { recursive: true });
        };
        turn(process.execPath, [MAIN], ["--storage-root", store], ours, {});
        if (cfsctl !== undefined) turn(cfsctl, [], [], theirs, { CONTAINERS_STORAGE_ROOT: store });
      }
      const seconds = median(ours.map((one) => one.seconds));
      const peer = theirs.length === 0 ? undefined : median(theirs.map((one) => one.seconds));
      console.log(
        JSON.stringify({
          bench: "zero-copy import",
          case: `${name}, ${hash}, ${(median(ours.map((one) => one.grown)) / 1e6).toFixed(0)} MB written`,
          ours: `${seconds.toFixed(2)} s`,
          peer: peer === undefined ? "no cfsctl" : `${peer.toFixed(2)} s`,
          result: peer === undefined ? "" : (peer / seconds).toFixed(2),
          aim: "≥ 1.0",
        }),
      );
    }
  } finally {
    spawnSync("umount", ["-R", disk]);
    rmSync(work, { recursive: true, force: true });
  }
}
