#!/usr/bin/env node
// Makes the working tree runnable: installs the dependencies, builds the core into src/core/generated and the library
// into dist. Does only what is out of date, needs nothing but Node to start, and may run several times at once.
//
//   node wasm-build/setup.mjs [--force]

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { takeLock } from "./lock.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const at = (path) => join(root, path);
const say = (message) => process.stderr.write(`${message}\n`);

const GENERATED = "src/core/generated";
const CORE_STAMP = `${GENERATED}/inputs.sha256`;
const DIST_STAMP = ".build/dist.sha256";
const PROGRAMS = ["main", "mkcomposefs", "composefs-info", "composefs-dump", "mount-composefs"].map(
  (name) => `dist/cli/${name}.js`,
);

/** Files below a folder, relative to the root, sorted; generated files and names with a leading dot are left out. */
function filesBelow(folder) {
  if (!existsSync(at(folder))) return [];
  return readdirSync(at(folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && !entry.name.startsWith("."))
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length))
    .filter((path) => !path.startsWith(GENERATED))
    .toSorted();
}

function fingerprint(paths) {
  const hash = createHash("sha256");
  for (const path of paths) {
    const content = readFileSync(at(path));
    hash.update(`${path}\0${content.length}\0`).update(content);
  }
  return hash.digest("hex");
}

function isStamped(stamp, value) {
  return existsSync(at(stamp)) && readFileSync(at(stamp), "utf8") === value;
}

/** Writes a file so that a process which reads it at this moment sees the old or the new content, never a part. */
function replaceFile(path, content) {
  if (existsSync(path) && readFileSync(path).equals(Buffer.from(content))) return;
  mkdirSync(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, content);
  renameSync(temporary, path);
}

/** Whether node_modules holds the versions that package-lock.json asks for. */
function dependenciesAreInstalled() {
  if (!existsSync(at("node_modules/.package-lock.json"))) return false;
  const { packages: wanted } = JSON.parse(readFileSync(at("package-lock.json"), "utf8"));
  const { packages: present } = JSON.parse(readFileSync(at("node_modules/.package-lock.json"), "utf8"));
  return Object.entries(wanted).every(
    ([path, { version, optional }]) => path === "" || optional || present[path]?.version === version,
  );
}

function installDependencies() {
  say("installing the development dependencies");
  const { status } = spawnSync("npm", ["ci", "--no-audit", "--no-fund", "--loglevel", "error"], {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (status !== 0) throw new Error("npm ci failed; see its output above");
}

const coreFingerprint = () =>
  fingerprint([...filesBelow("asm"), "wasm-build/core.mjs", "wasm-build/export-names.mjs", "package-lock.json"]);

const coreIsBuilt = () => existsSync(at(`${GENERATED}/core.js`)) && isStamped(CORE_STAMP, coreFingerprint());

async function buildGenerated() {
  const value = coreFingerprint();
  say("building the core");
  const { buildCore } = await import("./core.mjs");
  const files = await buildCore();
  for (const [name, content] of files) replaceFile(at(`${GENERATED}/${name}`), content);
  replaceFile(at(CORE_STAMP), value);
}

/** dist depends on the sources, on how they are compiled, and on the core that is copied into it. */
const distFingerprint = () =>
  fingerprint([
    ...filesBelow("src"),
    "tsconfig.json",
    "tsconfig.build.json",
    "package-lock.json",
    "wasm-build/setup.mjs",
    CORE_STAMP,
  ]);

/** What the sources are compiled to; declarations are not. */
const compiledNames = () =>
  filesBelow("src")
    .filter((path) => !path.endsWith(".d.ts"))
    .map((path) => path.replace(/^src\//, "dist/").replace(/\.ts$/, ".js"));

function distIsBuilt() {
  if (!existsSync(at(CORE_STAMP)) || !isStamped(DIST_STAMP, distFingerprint())) return false;
  return [...compiledNames(), "dist/core/generated/core.js"].every((path) => existsSync(at(path)));
}

/** Compiles beside dist and moves file by file, so that programs running from dist are never cut off. */
function buildDist() {
  const value = distFingerprint();
  say("compiling src to dist");
  // As deep in the tree as dist itself, as source maps hold relative paths.
  const staging = `.dist-${process.pid}`;
  try {
    const { status } = spawnSync(
      process.execPath,
      [at("node_modules/typescript/bin/tsc"), "-p", at("tsconfig.build.json"), "--outDir", at(staging)],
      { cwd: root, stdio: ["ignore", 2, 2] },
    );
    const built = new Map();
    for (const entry of readdirSync(at(staging), { withFileTypes: true, recursive: true })) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name);
      built.set(`dist/${path.slice(at(staging).length + 1)}`, path);
    }
    for (const entry of readdirSync(at(GENERATED), { withFileTypes: true, recursive: true })) {
      if (!entry.isFile() || entry.name === "inputs.sha256" || entry.name.endsWith(".tmp")) continue;
      const path = join(entry.parentPath, entry.name);
      built.set(`dist/core/generated/${path.slice(at(GENERATED).length + 1)}`, path);
    }
    for (const [target, path] of built) replaceFile(at(target), readFileSync(path));
    for (const path of filesBelow("dist")) if (!built.has(path)) rmSync(at(path), { force: true });
    for (const path of PROGRAMS) if (existsSync(at(path))) chmodSync(at(path), 0o755);
    if (status !== 0) throw new Error("type errors in src, see above (dist was written all the same)");
    replaceFile(at(DIST_STAMP), value);
  } finally {
    rmSync(at(staging), { recursive: true, force: true });
  }
}

async function main() {
  const force = process.argv.includes("--force");
  if (!force && dependenciesAreInstalled() && coreIsBuilt() && distIsBuilt()) return;
  mkdirSync(at(".build"), { recursive: true });
  const giveBack = takeLock(at(".build/lock"));
  try {
    if (!dependenciesAreInstalled()) installDependencies();
    if (force || !coreIsBuilt()) await buildGenerated();
    if (force || !distIsBuilt()) buildDist();
  } finally {
    giveBack();
  }
}

try {
  await main();
} catch (error) {
  say(`setup: ${error.message}`);
  process.exitCode = 1;
}
