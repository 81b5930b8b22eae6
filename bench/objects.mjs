// The objects of a stored image: our `image-objects` and cfsctl's, as processes in turns on one repository, start-up included.
// Both verify the image first. The bare start-up of the runtime is told beside it, and the time in the library alone.
//
//   node bench/objects.mjs [--quick] [--runs N]
//
// A ratio above 1 means that we are faster.

import { closeSync, existsSync, mkdtempSync, openSync, rmSync, statSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { dumpPieces } from "./dump-shape.mjs";
import { cfsctl, mebibytes, median, run } from "./process.mjs";

const PROGRAM = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));
const flags = process.argv.slice(2);
const sizes = flags.includes("--quick") ? [100_000] : [100_000, 1_000_000];
const runs = Number(flags[flags.indexOf("--runs") + 1]) || 7;
const peer = cfsctl();

const row = (fields) => console.log(JSON.stringify({ bench: "objects of an image", ...fields }));

/** Puts an image of that many entries into a new repository, under the name `bench`. */
async function makeRepository(folder, entries) {
  const { writeImageFromDump } = await import("../dist/image/write.js");
  const path = join(folder, "image");
  const fd = openSync(path, "w");
  const options = { version: 1, algorithm: "sha256" };
  await writeImageFromDump(dumpPieces(entries), options, (piece) => writeSync(fd, piece));
  closeSync(fd);
  const repository = join(folder, "repository");
  await run(peer, ["--repo", repository, "init", "--insecure", "--algorithm", "fsverity-sha256-12"]);
  const stdin = openSync(path, "r");
  await run(peer, ["--repo", repository, "import-image", "bench"], { stdin });
  closeSync(stdin);
  return { repository, image: path };
}

async function compare(folder, entries) {
  const { repository, image } = await makeRepository(folder, entries);
  const empty = join(folder, "empty.mjs");
  writeFileSync(empty, "");
  const words = ["--repo", repository, "image-objects", "refs/bench"];
  const pairs = [];
  for (let i = 0; i < runs; i++) {
    const theirs = await run(peer, words);
    const ours = await run(process.execPath, [PROGRAM, ...words]);
    const bare = await run(process.execPath, [empty]);
    const sorted = theirs.output.split("\n").toSorted().join("\n");
    if (ours.output !== sorted) throw new Error("our list is not the peer's");
    pairs.push({ ours, theirs, bare });
  }
  const of = (value) => median(pairs.map(value));
  const name = `${entries} entries`;
  const aim = "≥ 1.0";
  row({
    case: `${name}, time (start-up of Node: ${of(({ bare }) => bare.seconds).toFixed(2)} s)`,
    ours: `${of(({ ours }) => ours.seconds).toFixed(2)} s`,
    peer: `${of(({ theirs }) => theirs.seconds).toFixed(2)} s`,
    result: of(({ ours, theirs }) => theirs.seconds / ours.seconds).toFixed(1),
    aim,
  });
  row({
    case: `${name}, peak memory (image: ${mebibytes(statSync(image).size)})`,
    ours: mebibytes(of(({ ours }) => ours.memory)),
    peer: mebibytes(of(({ theirs }) => theirs.memory)),
    result: of(({ ours, theirs }) => ours.memory / theirs.memory).toFixed(2),
    aim: "",
  });
  await measureLibrary(image, name);
}

/** Each operation of the reader, in process and warm, for the record. */
async function measureLibrary(image, name) {
  const { imageObjects } = await import("../dist/image/objects.js");
  const { dumpImage } = await import("../dist/image/dump.js");
  const { readTree } = await import("../dist/image/read.js");
  const operations = {
    imageObjects: (fd) => imageObjects(fd, { algorithm: "sha256" }),
    dumpImage: (fd) => dumpImage(fd, () => {}),
    readTree: (fd) => readTree(fd),
  };
  for (const [operation, call] of Object.entries(operations)) {
    const seconds = [];
    for (let i = 0; i < 3; i++) {
      const fd = openSync(image, "r");
      const start = performance.now();
      call(fd);
      seconds.push((performance.now() - start) / 1000);
      closeSync(fd);
    }
    row({
      case: `${name}, ${operation} in process`,
      ours: `${median(seconds).toFixed(2)} s`,
      peer: "",
      result: "",
      aim: "",
    });
  }
}

for (const entries of sizes) {
  const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "bench-objects-"));
  try {
    await compare(folder, entries);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
