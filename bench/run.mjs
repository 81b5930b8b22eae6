// `npm run bench [-- NAME...]`: runs the benchmarks one after the other and prints one table with the machine's name.
// A benchmark is bench/NAME.mjs. Each line of its output that is a JSON object with the key `bench` is a row of the table:
//   {"bench": "fs-verity", "case": "1 GiB, native", "ours": "1.02 s", "peer": "1.00 s", "result": "0.98", "aim": "≥ 0.95"}
// its other lines are shown as they are. Timings never fail: only a benchmark that cannot run does.

import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { arch, cpus, hostname, release, totalmem } from "node:os";
import { fileURLToPath } from "node:url";
import { createInterface } from "node:readline";

const BENCHMARKS = [
  "startup",
  "fsverity",
  "dump",
  "pull",
  "registry",
  "zero-copy",
  "objects",
  "info",
  "scan",
  "repository",
  "boot",
  "deploy",
];
const at = (path) => fileURLToPath(new URL(path, import.meta.url));

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !BENCHMARKS.includes(name));
if (unknown.length > 0) {
  console.error(`bench: unknown benchmark ${unknown.join(", ")}; known: ${BENCHMARKS.join(", ")}`);
  process.exit(2);
}

function readRow(line) {
  if (!line.startsWith("{")) return undefined;
  try {
    const row = JSON.parse(line);
    return typeof row.bench === "string" ? row : undefined;
  } catch {
    return undefined;
  }
}

/** Runs one benchmark; its rows, and whether it ended well. */
async function runBenchmark(name) {
  const rows = [];
  const child = spawn(process.execPath, [at(`./${name}.mjs`)], { stdio: ["ignore", "pipe", "inherit"] });
  for await (const line of createInterface({ input: child.stdout })) {
    const row = readRow(line);
    if (row) rows.push(row);
    else console.log(`  ${line}`);
  }
  const status = child.exitCode ?? (await new Promise((resolve) => child.once("close", resolve)));
  return { rows, status };
}

function table(rows) {
  const columns = ["bench", "case", "ours", "peer", "result", "aim"];
  const cells = [columns, ...rows.map((row) => columns.map((column) => String(row[column] ?? "")))];
  const widths = columns.map((_, i) => Math.max(...cells.map((line) => line[i].length)));
  const lines = cells.map((line) => `| ${line.map((cell, i) => cell.padEnd(widths[i])).join(" | ")} |`);
  lines.splice(1, 0, `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`);
  return lines.join("\n");
}

const runtimes = { Node: process.versions.node };
for (const [name, folder] of [
  ["Node (current)", "node-current"],
  ["Deno", "deno"],
  ["Bun", "bun"],
]) {
  const manifest = at(`../test/runtimes/node_modules/${folder}/package.json`);
  if (existsSync(manifest)) runtimes[name] = JSON.parse(readFileSync(manifest, "utf8")).version;
}

const rows = [];
const broken = [];
for (const name of asked.length > 0 ? asked : BENCHMARKS) {
  if (!existsSync(at(`./${name}.mjs`))) {
    console.log(`${name}: there is no such benchmark yet`);
    continue;
  }
  console.log(`${name}:`);
  const result = await runBenchmark(name);
  rows.push(...result.rows);
  if (result.status !== 0) {
    broken.push(name);
    console.log(`${name}: exit status ${result.status}`);
  }
}

const [cpu] = cpus();
console.log(`
machine: ${hostname()}: ${cpus().length} x ${cpu?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB, ${arch()}, kernel ${release()}
runtimes: ${Object.entries(runtimes)
  .map(([name, version]) => `${name} ${version}`)
  .join(", ")}
`);
if (rows.length > 0) console.log(table(rows));
if (broken.length > 0) console.log(`could not run: ${broken.join(", ")}`);
process.exitCode = broken.length === 0 ? 0 : 1;
