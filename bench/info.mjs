// What is in an image: our `composefs-info` and cfsctl's, as processes in turns on one image file, start-up included. The dumps are
// compared line by line where the two tools print the same, the listings and objects whole.
//
//   node bench/info.mjs [--quick] [--runs N]
//
// A ratio above 1 means that we are faster.

import { closeSync, existsSync, mkdtempSync, openSync, rmSync, statSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { dumpPieces } from "./dump-shape.mjs";
import { cfsctl, mebibytes, median, run } from "./process.mjs";

const PROGRAM = fileURLToPath(new URL("../dist/cli/composefs-info.js", import.meta.url));
const flags = process.argv.slice(2);
const entries = flags.includes("--quick") ? 100_000 : 1_000_000;
const runs = Number(flags[flags.indexOf("--runs") + 1]) || 5;
const peer = cfsctl();

const row = (fields) => console.log(JSON.stringify({ bench: "composefs-info", ...fields }));

async function makeImage(path) {
  const { writeImageFromDump } = await import("../dist/image/write.js");
  const fd = openSync(path, "w");
  await writeImageFromDump(dumpPieces(entries), { version: 1, algorithm: "sha256" }, (piece) => writeSync(fd, piece));
  closeSync(fd);
}

/** The peer does not sort objects, and repeats those that several files have. */
const sorted = (lines) => {
  const all = lines.split("\n").toSorted((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  return all.filter((line, i) => line !== all[i - 1]).join("\n");
};

/** What both print, given what the peer printed. */
const COMMANDS = {
  // The form of the C tools tells the size of directories, which the peer does not.
  dump: { words: ["dump"], same: (ours, theirs) => ours.replace(/^(\S+) \d+ 4/gm, "$1 0 4") === theirs },
  ls: { words: ["ls"], same: (ours, theirs) => ours === theirs },
  objects: { words: ["objects"], same: (ours, theirs) => ours === sorted(theirs) },
};

async function compare(image, name, { words, same }) {
  const pairs = [];
  for (let i = 0; i < runs; i++) {
    const theirs = await run(peer, ["composefs-info", ...words, image]);
    const ours = await run(process.execPath, [PROGRAM, ...words, image]);
    if (!same(ours.output, theirs.output)) throw new Error(`${name}: our output is not the peer's`);
    pairs.push({
      ours: { seconds: ours.seconds, memory: ours.memory },
      theirs: { seconds: theirs.seconds, memory: theirs.memory },
    });
  }
  const of = (value) => median(pairs.map(value));
  row({
    case: `${name} of ${entries} entries, time`,
    ours: `${of(({ ours }) => ours.seconds).toFixed(2)} s`,
    peer: `${of(({ theirs }) => theirs.seconds).toFixed(2)} s`,
    result: of(({ ours, theirs }) => theirs.seconds / ours.seconds).toFixed(1),
    aim: "≥ 1.0",
  });
  row({
    case: `${name} of ${entries} entries, peak memory (image: ${mebibytes(statSync(image).size)})`,
    ours: mebibytes(of(({ ours }) => ours.memory)),
    peer: mebibytes(of(({ theirs }) => theirs.memory)),
    result: of(({ ours, theirs }) => ours.memory / theirs.memory).toFixed(2),
    aim: "",
  });
}

const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "bench-info-"));
try {
  const image = join(folder, "image");
  await makeImage(image);
  for (const [name, command] of Object.entries(COMMANDS)) await compare(image, name, command);
} finally {
  rmSync(folder, { recursive: true });
}
