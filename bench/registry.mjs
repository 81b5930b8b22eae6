// Pull of the 500 MB layout out of a registry on the loopback, against `skopeo copy` into a layout and `cfsctl oci pull` of that, which is
// how it is done without us; in turns, into fresh repositories.
//   node bench/registry.mjs [--runs=3] [--compression=gzip] [--hash=sha256]
// COMPOSEFS_BENCH_DIR names a folder for the repositories (default: the temporary folder).

import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { cfsctl, mebibytes, median, run } from "./process.mjs";
import { pullLayout } from "./pull-layout.mjs";

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "3" },
    compression: { type: "string", default: "gzip" },
    hash: { type: "string", default: "sha256" },
  },
});
const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const MAIN = at("../dist/cli/main.js");
const PEER = cfsctl();
const layout = await pullLayout(values.compression);
const folder = mkdtempSync(join(process.env.COMPOSEFS_BENCH_DIR ?? tmpdir(), "composefs-bench-registry-"));
const server = spawn(process.execPath, [at("./registry-server.mjs"), layout], { stdio: ["ignore", "pipe", "inherit"] });
let count = 0;

/** The programs of one pull, one after the other, into a new repository: seconds, processor time and peak memory in bytes. */
async function pull(who, reference) {
  const repository = join(folder, `${who}-${count++}`);
  execFileSync(PEER, ["init", "--insecure", "--algorithm", `fsverity-${values.hash}-12`, repository]);
  execFileSync("sync");
  const steps =
    who === "ours"
      ? [[process.execPath, MAIN, "-q", "--repo", repository, "oci", "pull", reference, "bench", "--tls-verify=false"]]
      : [
          [
            "skopeo",
            "--insecure-policy",
            "copy",
            "-q",
            "--src-tls-verify=false",
            reference,
            `oci:${repository}.oci:bench`,
          ],
          [PEER, "--repo", repository, "oci", "pull", `oci:${repository}.oci:bench`, "bench"],
        ];
  const sum = { seconds: 0, cpu: 0, memory: 0 };
  for (const [command, ...args] of steps) {
    const { seconds, cpu, memory } = await run(command, args);
    sum.seconds += seconds;
    sum.cpu += cpu;
    sum.memory = Math.max(sum.memory, memory);
  }
  return sum;
}

try {
  const [port] = await new Promise((resolve) =>
    createInterface({ input: server.stdout }).once("line", (line) => resolve([line])),
  );
  const reference = `docker://127.0.0.1:${port}/bench/image:bench`;
  const runs = { ours: [], peer: [] };
  for (let i = 0; i < Number(values.runs); i++) {
    for (const who of i % 2 === 0 ? ["ours", "peer"] : ["peer", "ours"]) runs[who].push(await pull(who, reference));
  }
  const show = (list) =>
    `${median(list.map(({ seconds }) => seconds)).toFixed(2)} s, CPU ${median(list.map(({ cpu }) => cpu)).toFixed(1)} s, ` +
    mebibytes(Math.max(...list.map(({ memory }) => memory)));
  console.log(
    JSON.stringify({
      bench: "registry",
      case: `500 MB ${values.compression}, ${values.hash}, loopback`,
      ours: show(runs.ours),
      peer: `${show(runs.peer)} (skopeo, then cfsctl)`,
      result: median(runs.ours.map(({ seconds }, i) => runs.peer[i].seconds / seconds)).toFixed(2),
      aim: "≥ 1.0",
    }),
  );
} finally {
  server.kill();
  rmSync(folder, { recursive: true, force: true });
}
