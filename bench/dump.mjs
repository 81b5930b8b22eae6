// From a dump to an image digest: our `mkcomposefs --from-file --print-digest-only` and cfsctl under that name, as processes in
// turns, start-up included. Then the same trees from memory, as the library does for merged layers: alone, for the record.
//
//   node bench/dump.mjs [--quick] [--runs N]
//
// A ratio above 1 means that we are faster; of memory, below 1 that we take less.

import { existsSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { writeDump } from "./dump-shape.mjs";
import { cfsctl, mebibytes, median, run } from "./process.mjs";

const PROGRAM = fileURLToPath(new URL("../dist/cli/mkcomposefs.js", import.meta.url));
const TREE_PROGRAM = fileURLToPath(new URL("./dump-tree.mjs", import.meta.url));
const WORDS = ["--from-file", "--print-digest-only"];
/** Aims: times faster, and share of the peer's memory. */
const AIMS = { 200_000: 4, 1_000_000: 7 };
const MEMORY_AIM = 0.4;

const flags = process.argv.slice(2);
const sizes = flags.includes("--quick") ? [200_000] : [200_000, 1_000_000];
const runsOf = (entries) => Number(flags[flags.indexOf("--runs") + 1]) || (entries > 500_000 ? 5 : 9);

const row = (fields) => console.log(JSON.stringify({ bench: "dump to digest", ...fields }));

/** Medians of runs in turns. Each ratio is of neighbours in time, so that other load on the machine weighs on both. */
async function compare(mkcomposefs, dump, entries) {
  const pairs = [];
  for (let i = 0; i < runsOf(entries); i++) {
    const theirs = await run(mkcomposefs, [...WORDS, dump]);
    const ours = await run(process.execPath, [PROGRAM, ...WORDS, dump]);
    if (ours.output !== theirs.output) throw new Error(`our digest is ${ours.output}, the peer's ${theirs.output}`);
    pairs.push({ ours, theirs });
  }
  const of = (value) => median(pairs.map(value));
  const name = `${entries} entries`;
  row({
    case: `${name}, time`,
    ours: `${of(({ ours }) => ours.seconds).toFixed(2)} s`,
    peer: `${of(({ theirs }) => theirs.seconds).toFixed(2)} s`,
    result: of(({ ours, theirs }) => theirs.seconds / ours.seconds).toFixed(1),
    aim: `≥ ${AIMS[entries]}`,
  });
  row({
    case: `${name}, peak memory`,
    ours: mebibytes(of(({ ours }) => ours.memory)),
    peer: mebibytes(of(({ theirs }) => theirs.memory)),
    result: of(({ ours, theirs }) => ours.memory / theirs.memory).toFixed(2),
    aim: `≤ ${MEMORY_AIM}`,
  });
}

/** A tree that the library holds: how long its image takes, without the time to make the tree. */
async function measureTree(dump, entries) {
  const results = [];
  for (let i = 0; i < 3; i++) results.push(JSON.parse((await run(process.execPath, [TREE_PROGRAM, dump])).output));
  const of = (key) => median(results.map((result) => result[key]));
  row({
    case: `${entries} nodes in memory, V1 sha256`,
    ours: `${of("seconds").toFixed(2)} s`,
    peer: "",
    result: `${((1e6 * of("seconds")) / entries).toFixed(2)} us per node`,
    aim: "",
  });
}

const peer = cfsctl();
const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "bench-dump-"));
try {
  // cfsctl is what it is called.
  const mkcomposefs = join(folder, "mkcomposefs");
  symlinkSync(peer, mkcomposefs);
  for (const entries of sizes) {
    const dump = join(folder, "dump");
    writeDump(dump, entries);
    await compare(mkcomposefs, dump, entries);
    await measureTree(dump, entries);
  }
} finally {
  rmSync(folder, { recursive: true });
}
