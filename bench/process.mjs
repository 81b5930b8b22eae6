// Programs as benchmarks run them: to their end, timed, with their peak of memory.

import { spawn } from "node:child_process";
import { accessSync, constants, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";

/** Peak of the resident memory so far, in bytes; 0 when the process has ended or the system does not say. */
function peakMemory(pid) {
  try {
    return 1024 * Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

/** Processor time of all children that have ended, in seconds, to the hundredth; 0 when the system does not say. */
function childrenTime() {
  try {
    const fields = readFileSync("/proc/self/stat", "latin1")
      .replace(/^.*\) /, "")
      .split(" ");
    // cutime and cstime, fields 16 and 17 of proc(5), in hundredths.
    return (Number(fields[13]) + Number(fields[14])) / 100;
  } catch {
    return 0;
  }
}

/**
 * Runs a program: seconds, processor time in seconds (of all threads; the mean of many runs is more exact than one), peak memory in
 * bytes, and what it printed.
 */
export async function run(command, args, { stdin = "ignore" } = {}) {
  const before = childrenTime();
  const start = performance.now();
  const child = spawn(command, args, { stdio: [stdin, "pipe", "inherit"] });
  let memory = 0;
  const poll = setInterval(() => {
    memory = Math.max(memory, peakMemory(child.pid));
  }, 20);
  const chunks = [];
  child.stdout.on("data", (chunk) => chunks.push(chunk));
  const status = await new Promise((resolve, reject) => child.once("close", resolve).once("error", reject));
  clearInterval(poll);
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: exit status ${status}`);
  const seconds = (performance.now() - start) / 1000;
  return { seconds, cpu: childrenTime() - before, memory, output: Buffer.concat(chunks).toString().trim() };
}

/** Path of cfsctl: COMPOSEFS_CFSCTL, on PATH, or where .ci/run installs it. Throws without it. */
export function cfsctl() {
  const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache");
  const folders = [...(process.env.PATH ?? "").split(delimiter), join(cache, "composefs-ci/bin")];
  const isProgram = (path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  };
  const found = [process.env.COMPOSEFS_CFSCTL ?? "", ...folders.map((folder) => join(folder, "cfsctl"))].find(
    isProgram,
  );
  if (found !== undefined) return found;
  throw new Error("the peer cfsctl is missing; put it on PATH or name it in COMPOSEFS_CFSCTL");
}

export const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
export const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
export const mebibytes = (bytes) => `${Math.round(bytes / 2 ** 20)} MiB`;
