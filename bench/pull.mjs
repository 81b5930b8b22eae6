// Pull of a 500 MB, 27 000-object OCI layout against cfsctl, in turns, into fresh repositories, start-up included.
//   node bench/pull.mjs [--runs=5] [--compression=gzip,none,zstd] [--hash=sha256,sha512] [--on=ext4,tmpfs] [--runtime=PATH]
// cfsctl comes from COMPOSEFS_CFSCTL or PATH. COMPOSEFS_BENCH_DIR names a folder on ext4 (default: the temporary folder).

import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { COMPRESSIONS, pullLayout } from "./pull-layout.mjs";

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "5" },
    compression: { type: "string", default: COMPRESSIONS.join() },
    hash: { type: "string", default: "sha256,sha512" },
    on: { type: "string", default: "ext4,tmpfs" },
    runtime: { type: "string", default: process.execPath },
  },
});

const MAIN = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));
const RUNTIME = values.runtime.endsWith("deno") ? [values.runtime, "run", "-A"] : [values.runtime];

function findCfsctl() {
  if (process.env.COMPOSEFS_CFSCTL) return process.env.COMPOSEFS_CFSCTL;
  const folders = (process.env.PATH ?? "").split(delimiter);
  return folders.map((folder) => join(folder, "cfsctl")).find((path) => existsSync(path));
}

const FOLDERS = { ext4: process.env.COMPOSEFS_BENCH_DIR ?? tmpdir(), tmpfs: "/dev/shm" };
const MAGIC = { 0xef53: "ext4", 0x01021994: "tmpfs", 0x9123683e: "btrfs", 0x58465342: "xfs" };

function fileSystem(folder) {
  return MAGIC[statfsSync(folder).type] ?? "another file system";
}

/** Runs a program to its end: wall seconds, CPU seconds and peak memory. */
async function measure(command, args) {
  const start = performance.now();
  const child = spawn(command, args, { stdio: ["ignore", "ignore", "pipe"] });
  let stderr = "";
  child.stderr.on("data", (text) => {
    stderr += text;
  });
  const ended = new Promise((resolve) => child.once("close", resolve));
  const usage = { rss: 0, cpu: 0 };
  const poll = setInterval(() => {
    try {
      const status = readFileSync(`/proc/${child.pid}/status`, "utf8");
      usage.rss = Math.max(usage.rss, Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024);
      const fields = readFileSync(`/proc/${child.pid}/stat`, "utf8").replace(/.*\) /, "").split(" ");
      usage.cpu = (Number(fields[11]) + Number(fields[12])) / 100;
    } catch {
      // It has just ended.
    }
  }, 20);
  const status = await ended;
  const wall = (performance.now() - start) / 1000;
  clearInterval(poll);
  if (status !== 0) throw new Error(`${command} ${args.join(" ")} failed (${status}): ${stderr}`);
  return { wall, ...usage };
}

function median(numbers) {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

const cfsctl = findCfsctl();
if (cfsctl === undefined) {
  console.error("pull: cfsctl was not found: put it on PATH or name it in COMPOSEFS_CFSCTL");
  process.exit(1);
}

const doomed = [];
let count = 0;

async function once(who, folder, layout, hash) {
  const repository = join(folder, `${who}-${count++}`);
  execFileSync(cfsctl, ["init", "--insecure", "--algorithm", `fsverity-${hash}-12`, repository]);
  // What earlier runs left dirty must not be written on this one's time.
  execFileSync("sync");
  const pull = ["--repo", repository, "oci", "pull", `oci:${layout}:bench`, "bench"];
  const result =
    who === "peer"
      ? await measure(cfsctl, pull)
      : await measure(RUNTIME[0], [...RUNTIME.slice(1), MAIN, "--progress=none", ...pull]);
  // ext4 passes over inodes that were freed within the last minute when it looks for one, which makes creating files up
  // to ten times slower: there, repositories stay until the end.
  if (folder.startsWith("/dev/shm")) rmSync(repository, { recursive: true });
  return result;
}

try {
  for (const compression of values.compression.split(",")) {
    const layout = await pullLayout(compression);
    for (const on of values.on.split(",")) {
      if (!existsSync(FOLDERS[on])) continue;
      const folder = mkdtempSync(join(FOLDERS[on], "composefs-bench-"));
      doomed.push(folder);
      mkdirSync(folder, { recursive: true });
      for (const hash of values.hash.split(",")) {
        const ours = [];
        const peer = [];
        for (let i = 0; i < Number(values.runs); i++) {
          for (const who of i % 2 === 0 ? ["ours", "peer"] : ["peer", "ours"]) {
            (who === "ours" ? ours : peer).push(await once(who, folder, layout, hash));
          }
        }
        const mine = median(ours.map(({ wall }) => wall));
        const theirs = median(peer.map(({ wall }) => wall));
        const ratios = ours.map(({ wall }, i) => peer[i].wall / wall);
        const show = (runs, wall) =>
          `${wall.toFixed(2)} s, CPU ${median(runs.map(({ cpu }) => cpu)).toFixed(1)} s, ${Math.max(...runs.map(({ rss }) => rss)).toFixed(0)} MiB`;
        const row = {
          bench: "pull",
          case: `500 MB ${compression}, ${hash}, ${fileSystem(folder)}`,
          ours: show(ours, mine),
          peer: show(peer, theirs),
          result: median(ratios).toFixed(2),
          aim: "≥ 1.0, ≤ 300 MB",
        };
        console.log(JSON.stringify(row));
      }
    }
  }
} finally {
  for (const folder of doomed) rmSync(folder, { recursive: true, force: true });
}
