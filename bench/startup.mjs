// Start-up: `composefs --version` and `oci images` of an empty repository against the bare runtime with an empty script, in
// turns, median of 15. Aim: --version within 15 ms of the bare runtime.

import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROUNDS = 15;
const at = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const program = at("dist/cli/main.js");
const folder = mkdtempSync(join(tmpdir(), "composefs-bench-"));
const empty = join(folder, "empty.mjs");
writeFileSync(empty, "export {};\n");
const repository = join(folder, "repository");

const runtimes = [
  { name: `node ${process.versions.node}`, command: process.execPath, args: [] },
  { name: "node (current)", command: at("test/runtimes/node_modules/.bin/node"), args: [] },
  { name: "deno", command: at("test/runtimes/node_modules/.bin/deno"), args: ["run", "-A"] },
  { name: "bun", command: at("test/runtimes/node_modules/.bin/bun"), args: ["--bun"] },
].filter(({ command }) => existsSync(command));

function time(command, args) {
  const start = performance.now();
  const { status, stderr } = spawnSync(command, args, { stdio: ["ignore", "ignore", "pipe"], encoding: "utf8" });
  const elapsed = performance.now() - start;
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: exit status ${status}\n${stderr}`);
  return elapsed;
}

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

try {
  time(process.execPath, [program, "init", "--insecure", repository]);
  for (const { name, command, args } of runtimes) {
    const cases = {
      bare: [empty],
      "--version": [program, "--version"],
      "oci images": [program, "--repo", repository, "oci", "images"],
    };
    const times = Object.fromEntries(Object.keys(cases).map((key) => [key, []]));
    for (let round = 0; round < ROUNDS; round++) {
      for (const [key, script] of Object.entries(cases)) times[key].push(time(command, [...args, ...script]));
    }
    const bare = median(times.bare);
    for (const key of ["--version", "oci images"]) {
      const ours = median(times[key]);
      console.log(
        JSON.stringify({
          bench: "start-up",
          case: `${key}, ${name}`,
          ours: `${ours.toFixed(1)} ms`,
          peer: `${bare.toFixed(1)} ms (bare)`,
          result: `+${(ours - bare).toFixed(1)} ms`,
          aim: key === "--version" ? "≤ +15 ms" : "",
        }),
      );
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
