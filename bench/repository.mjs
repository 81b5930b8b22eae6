// Upkeep of a repository of 100 000 objects and 20 images: ours and cfsctl as processes in turns on one repository. Two ratios: of
// the whole times, and beyond the start, where `node` with an empty file and `cfsctl --version` are subtracted, measured in the same
// turns. What changes the repository works on a copy each time.
//
//   node bench/repository.mjs [--quick] [--runs N] [--cpu]
//
// A ratio above 1 means that we are faster. --cpu compares processor time, user and system of all threads, instead of the time that
// passes: for machines that do other things meanwhile.

import { createHash } from "node:crypto";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { cfsctl, mean, mebibytes, median, run } from "./process.mjs";
import { header, writeLayout } from "./pull-layout.mjs";

const PROGRAM = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));
const flags = process.argv.slice(2);
const IMAGES = 20;
const FILES = flags.includes("--quick") ? 500 : 5000;
const TAGS = 500;
const runs = Number(flags[flags.indexOf("--runs") + 1]) || 5;
const peer = cfsctl();
const ours = (...words) => run(process.execPath, [PROGRAM, "--quiet", ...words]);

/** A layer of small files, none like another. */
function layer(image) {
  const parts = [header("usr/", "5", 0, 0o755), header(`usr/image${image}/`, "5", 0, 0o755)];
  for (let i = 0; i < FILES; i++) {
    const content = Buffer.alloc(1024, `${image}.${i} `);
    const size = 100 + ((i * 7919) % 900);
    parts.push(header(`usr/image${image}/file-${i}`, "0", size, 0o644));
    parts.push(content.fill(0, size).subarray(0, Math.ceil(size / 512) * 512));
  }
  const blob = Buffer.concat([...parts, Buffer.alloc(1024)]);
  const diffId = createHash("sha256").update(blob).digest("hex");
  return { diffId, blob, mediaType: "application/vnd.oci.image.layer.v1.tar" };
}

async function using(opened, work) {
  try {
    await work(opened);
  } finally {
    await opened.close();
  }
}

async function makeRepository(folder) {
  const layout = join(folder, "layout");
  const images = Array.from({ length: IMAGES }, (_, i) => ({ tag: `image${i}`, layers: [layer(i)] }));
  writeLayout(layout, images);
  const repository = join(folder, "repository");
  await ours("init", "--insecure", "--algorithm", "fsverity-sha256-12", repository);
  for (const { tag } of images) await ours("--repo", repository, "oci", "pull", `oci:${layout}:${tag}`, tag);
  return repository;
}

/** Runs both in turns; `prepare` gives each run its own repository. */
async function compare(name, words, { repository, prepare, same }) {
  const runsOf = { own: [], theirs: [], bare: [], version: [] };
  const fresh = prepare ?? (() => repository);
  for (let i = 0; i < runs; i++) {
    const theirs = await run(peer, ["--repo", fresh(), ...words]);
    const own = await ours("--repo", fresh(), ...words);
    if (same !== undefined && same(own.output) !== same(theirs.output))
      throw new Error(`${name}: not the peer's answer`);
    runsOf.own.push(own);
    runsOf.theirs.push(theirs);
    runsOf.bare.push(await run(process.execPath, [empty]));
    runsOf.version.push(await run(peer, ["--version"]));
  }
  const time = (key) =>
    flags.includes("--cpu") ? mean(runsOf[key].map(({ cpu }) => cpu)) : median(runsOf[key].map((one) => one.seconds));
  const memory = (key) => mebibytes(median(runsOf[key].map((one) => one.memory)));
  const told = (key, start) => `${time(key).toFixed(2)} s (start ${time(start).toFixed(2)} s), ${memory(key)}`;
  const beyond = (time("theirs") - time("version")) / (time("own") - time("bare"));
  console.log(
    JSON.stringify({
      bench: "repository",
      case: flags.includes("--cpu") ? `${name}, processor time` : name,
      ours: told("own", "bare"),
      peer: told("theirs", "version"),
      result: `${beyond.toFixed(2)} beyond start, ${(time("theirs") / time("own")).toFixed(2)} with it`,
      aim: "≥ 1.0 beyond start, ≤ 300 MiB",
    }),
  );
}

const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "bench-repository-"));
const empty = join(folder, "empty.mjs");
writeFileSync(empty, "");
try {
  const repository = await makeRepository(folder);
  const copy = join(folder, "copy");
  const lines = (text) => text.split("\n").toSorted().join("\n");
  const { composefs_erofs: id } = JSON.parse((await ours("--repo", repository, "oci", "inspect", "image0")).output);
  await compare("gc --dry-run", ["gc", "--dry-run"], { repository });
  await compare("fsck", ["fsck"], { repository });
  await compare("fsck --metadata-only", ["fsck", "--metadata-only"], { repository });
  await compare("image-objects", ["image-objects", id], { repository, same: lines });
  const { Repository, listTags, tagImage, untagImage } = await import("../dist/index.js");
  const tagOf = (i) => (i < IMAGES ? `image${i}` : `tag${i}`);
  await using(await Repository.open(repository, { write: true }), async (opened) => {
    const digests = new Map(listTags(opened).map(({ name, manifestDigest }) => [name, manifestDigest]));
    for (let i = IMAGES; i < TAGS; i++) await tagImage(opened, digests.get(tagOf(i % IMAGES)), tagOf(i));
  });
  await compare(`oci images, ${TAGS} tags`, ["oci", "images"], { repository });
  const half = () => {
    rmSync(copy, { recursive: true, force: true });
    execFileSync("cp", ["-a", repository, copy]);
    return copy;
  };
  await using(await Repository.open(repository, { write: true }), async (opened) => {
    for (let i = 0; i < TAGS; i++) if (i % IMAGES < IMAGES / 2) await untagImage(opened, tagOf(i));
  });
  await compare("gc of half", ["gc"], { repository, prepare: half });
} finally {
  rmSync(folder, { recursive: true, force: true });
}
