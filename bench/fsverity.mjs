// fs-verity digests of whole files: `composefs measure-file` and `fsverity digest` as processes in turns, start-up included.
//
//   node bench/fsverity.mjs [--quick] [--runs N]
//
// The files lie on a memory file system and are warm. A ratio above 1 means that we are faster. Two threads cannot gain more than
// the machine gives two processes: the peer is run twice at once, on a half each, to know that.

import { execFileSync, spawnSync } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { closeSync, existsSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const PROGRAM = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));
const MEBIBYTE = 1 << 20;

const WAYS = [
  { name: "native, 1 thread", hash: "native", jobs: 1, aim: "≥ 0.95" },
  { name: "wasm, 1 thread", hash: "wasm", jobs: 1, aim: "≥ 0.6" },
  { name: "native, 2 threads", hash: "native", jobs: 2, aim: "≥ 1.7" },
  { name: "wasm, 2 threads", hash: "wasm", jobs: 2 },
];

function makeFile(path, size) {
  const fd = openSync(path, "w");
  const piece = randomFillSync(Buffer.alloc(MEBIBYTE));
  for (let done = 0; done < size; done += MEBIBYTE) {
    // Random enough: hashing does not depend on the content.
    piece.writeDoubleLE(done, 0);
    writeSync(fd, piece);
  }
  closeSync(fd);
}

/** Seconds of wall time, and what the command printed. */
function timed(command, args, env = {}) {
  const start = performance.now();
  const { status, stdout, stderr } = spawnSync(command, args, {
    encoding: "utf8",
    env: { ...process.env, ...env },
  });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")} failed: ${stderr}`);
  return { seconds: (performance.now() - start) / 1000, output: stdout.trim() };
}

const ours = ({ hash, jobs }, algorithm, path) =>
  timed(process.execPath, [PROGRAM, "measure-file", "--hash", algorithm, "--jobs", String(jobs), path], {
    COMPOSEFS_HASH: hash,
  });

const peer = (algorithm, path) => timed("fsverity", ["digest", "--compact", `--hash-alg=${algorithm}`, path]);

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

/** Medians of runs in turns. Each ratio is of neighbours in time, so that other load on the machine weighs on both. */
function compare(way, algorithm, path, runs) {
  const pairs = Array.from({ length: runs }, () => {
    const theirs = peer(algorithm, path);
    const own = ours(way, algorithm, path);
    if (theirs.output !== own.output) throw new Error(`${way.name}: digest ${own.output}, expected ${theirs.output}`);
    return { ours: own.seconds, peer: theirs.seconds };
  });
  return {
    ours: median(pairs.map((pair) => pair.ours)),
    peer: median(pairs.map((pair) => pair.peer)),
    ratio: median(pairs.map((pair) => pair.peer / pair.ours)),
  };
}

/** What two cores give: the peer on the whole file against two of it at once, each on a half. */
function ceiling(algorithm, path, halves, runs) {
  const pairs = Array.from({ length: runs }, () => {
    const whole = peer(algorithm, path).seconds;
    const script = `fsverity digest --hash-alg=${algorithm} "$1" & fsverity digest --hash-alg=${algorithm} "$2" & wait`;
    return { whole, both: timed("sh", ["-c", script, "sh", ...halves]).seconds };
  });
  return {
    ours: median(pairs.map((pair) => pair.both)),
    peer: median(pairs.map((pair) => pair.whole)),
    ratio: median(pairs.map((pair) => pair.whole / pair.both)),
  };
}

const flags = process.argv.slice(2);
const runs = Number(flags[flags.indexOf("--runs") + 1] ?? Number.NaN) || 5;
const sizes = flags.includes("--quick") ? [64] : [64, 1024];

try {
  execFileSync("fsverity", ["--version"]);
} catch {
  console.error("bench/fsverity: the peer `fsverity` is missing (Debian package fsverity)");
  process.exit(1);
}
const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "bench-fsverity-"));
try {
  for (const size of sizes) {
    const path = join(folder, "file");
    makeFile(path, size * MEBIBYTE);
    const halves = [`${path}-a`, `${path}-b`];
    for (const half of halves) makeFile(half, (size / 2) * MEBIBYTE);
    for (const algorithm of ["sha256", "sha512"]) {
      for (const way of [...WAYS, { name: "the peer twice, on halves" }]) {
        const {
          ours: own,
          peer: theirs,
          ratio,
        } = way.hash === undefined ? ceiling(algorithm, path, halves, runs) : compare(way, algorithm, path, runs);
        const row = {
          bench: "fs-verity",
          case: `${algorithm}, ${size} MiB, ${way.name}`,
          ours: `${own.toFixed(3)} s`,
          peer: `${theirs.toFixed(3)} s`,
          result: ratio.toFixed(2),
          // The aims are for a file that takes longer than starting a runtime.
          aim: size >= 1024 ? (way.aim ?? "") : "",
        };
        console.log(JSON.stringify(row));
      }
    }
  }
} finally {
  rmSync(folder, { recursive: true });
}
