// A directory to its image id, and to an image with an object store: our programs and cfsctl in turns, start-up included, the
// tree in memory. Sizes are log-normal like those of a distribution's files: 2 GB in 100 000 files.
//
//   node bench/scan.mjs [--quick] [--runs N]
//
// A ratio above 1 means that we are faster. `--quick` takes a tenth.

import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { cfsctl, mebibytes, median, run } from "./process.mjs";

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const COMPOSEFS = at("../dist/cli/main.js");
const MKCOMPOSEFS = at("../dist/cli/mkcomposefs.js");
const flags = process.argv.slice(2);
const FILES = flags.includes("--quick") ? 10_000 : 100_000;
const BYTES = 20_000 * FILES;
const FILES_PER_DIRECTORY = 40;
const runs = Number(flags[flags.indexOf("--runs") + 1]) || 5;
const peer = cfsctl();

/** mulberry32: small, fast, the same everywhere. */
function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function makeTree(root) {
  const next = random(7);
  const pool = Buffer.alloc(4 << 20);
  for (let i = 0; i < pool.length; i += 4) pool.writeUInt32LE((next() * 2 ** 32) >>> 0, i);
  const raw = Array.from({ length: FILES }, () => {
    const normal = Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
    return Math.exp(Math.log(3000) + 1.75 * normal);
  });
  const scale = BYTES / raw.reduce((sum, size) => sum + size, 0);
  mkdirSync(join(root, "usr"), { recursive: true });
  let directory = "";
  raw.forEach((size, i) => {
    if (i % FILES_PER_DIRECTORY === 0) {
      directory = join(root, "usr", `d${i % 50}`, `e${i / FILES_PER_DIRECTORY}`);
      mkdirSync(directory, { recursive: true });
    }
    const length = Math.min(pool.length, Math.max(20, Math.round(size * scale)));
    const content = Buffer.from(pool.subarray(0, length));
    content.writeUInt32LE(i, 0);
    writeFileSync(join(directory, `file-${i}`), content);
  });
}

/** Ours and theirs in turns; `agree` throws when the results differ. */
async function compare(name, ours, theirs, agree) {
  const pairs = [];
  for (let i = 0; i < runs; i++) {
    const b = await theirs();
    const a = await ours();
    agree(a.output, b.output);
    pairs.push({ a, b });
  }
  const of = (value) => median(pairs.map(value));
  const row = (fields) => console.log(JSON.stringify({ bench: "directory", ...fields }));
  row({
    case: `${name}, time`,
    ours: `${of(({ a }) => a.seconds).toFixed(2)} s`,
    peer: `${of(({ b }) => b.seconds).toFixed(2)} s`,
    result: of(({ a, b }) => b.seconds / a.seconds).toFixed(2),
    aim: "≥ 1.0",
  });
  row({
    case: `${name}, processor time`,
    ours: `${of(({ a }) => a.cpu).toFixed(2)} s`,
    peer: `${of(({ b }) => b.cpu).toFixed(2)} s`,
    result: of(({ a, b }) => b.cpu / a.cpu).toFixed(2),
    aim: "",
  });
  row({
    case: `${name}, memory`,
    ours: mebibytes(of(({ a }) => a.memory)),
    peer: mebibytes(of(({ b }) => b.memory)),
    result: of(({ a, b }) => a.memory / b.memory).toFixed(2),
    aim: "",
  });
}

const same = (a, b) => {
  if (a !== b) throw new Error(`our result ${a} is not the peer's, ${b}`);
};

const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "bench-scan-"));
try {
  const tree = join(folder, "tree");
  makeTree(tree);
  const size = `${FILES} files, ${Math.round(BYTES / 1e6)} MB`;
  const runtimes = [["Node", process.execPath]];
  const bun = at("../test/runtimes/node_modules/.bin/bun");
  if (existsSync(bun)) runtimes.push(["Bun", bun]);
  for (const [runtime, program] of runtimes) {
    for (const hash of ["sha256", "sha512"]) {
      const words = ["--no-repo", "--hash", hash, "compute-id", tree];
      await compare(
        `compute-id, ${size}, ${hash}, ${runtime}`,
        () => run(program, [COMPOSEFS, "--quiet", ...words]),
        () => run(peer, words),
        same,
      );
    }
    const store = (name) => {
      const path = join(folder, name);
      rmSync(path, { recursive: true, force: true });
      mkdirSync(path);
      return [`--digest-store=${path}`, tree, join(folder, `${name}.img`)];
    };
    await compare(
      `mkcomposefs --digest-store, ${size}, ${runtime}`,
      () => run(program, [MKCOMPOSEFS, ...store("ours")]),
      () => run(peer, ["mkcomposefs", ...store("theirs")]),
      () => {
        const [ours, theirs] = ["ours", "theirs"].map((name) => readFileSync(join(folder, `${name}.img`)));
        if (!ours.equals(theirs)) throw new Error("our image is not the peer's");
        same(readdirSync(join(folder, "ours")).length, readdirSync(join(folder, "theirs")).length);
      },
    );
  }
} finally {
  rmSync(folder, { recursive: true });
}
