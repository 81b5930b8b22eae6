// Which way digests are computed, chosen once per process and algorithm (docs/spec/wasm-core.md, section 4.4).

import { closeSync, openSync, readSync } from "node:fs";
import type { Algorithm } from "../bytes/algorithm.ts";
import { ComposefsError } from "../error.ts";
import { NativeBackend } from "./native-backend.ts";
import { type Backend, BLOCK_SIZE } from "./tree-hasher.ts";
import { WasmBackend } from "./wasm-backend.ts";

const backends = { native: new NativeBackend(), wasm: new WasmBackend() };

/** The name of a back end, or `auto` for the faster one. */
export type BackendChoice = "wasm" | "native" | "auto";

/** From this size on it pays to find out which back end is faster, where that is not known. */
const CALIBRATION_THRESHOLD = 8 << 20;

let forced: BackendChoice | undefined;
const measured = new Map<Algorithm, Backend>();

/** The environment's choice, `COMPOSEFS_HASH`. */
function environmentChoice(): BackendChoice {
  const value = process.env["COMPOSEFS_HASH"] ?? "auto";
  if (value === "wasm" || value === "native" || value === "auto") return value;
  throw new ComposefsError("usage", `COMPOSEFS_HASH is "${value}", expected wasm, native or auto`);
}

/** Fixes the back end for this thread, in place of `COMPOSEFS_HASH`; undefined goes back to that. */
export function chooseBackend(choice: BackendChoice | undefined): void {
  forced = choice;
}

/** What {@link chooseBackend} or the environment asks for. */
export function backendChoice(): BackendChoice {
  forced ??= environmentChoice();
  return forced;
}

/**
 * The back end to use for about `size` bytes of input.
 *
 * @throws ComposefsError `usage` if `COMPOSEFS_HASH` has an unknown value
 */
export function backend(algorithm: Algorithm, size = 0): Backend {
  const choice = backendChoice();
  if (choice !== "auto") return backends[choice];
  const known = measured.get(algorithm);
  if (known !== undefined) return known;
  const faster = knownToBeFaster(algorithm);
  if (faster !== undefined) {
    measured.set(algorithm, backends[faster]);
    return backends[faster];
  }
  if (size < CALIBRATION_THRESHOLD) return backends.native;
  const winner = calibrate(algorithm);
  measured.set(algorithm, winner);
  return winner;
}

/** What measurements have settled: no need to spend 10 ms in each process on finding out again. */
function knownToBeFaster(algorithm: Algorithm): "native" | "wasm" | undefined {
  const { versions } = process as { versions: Record<string, string | undefined> };
  // Calls into Deno's native hash cost more than they save.
  if (versions["deno"] !== undefined) return "wasm";
  // Bun's WebAssembly is several times slower than its hash, with or without instructions for it.
  if (versions["bun"] !== undefined) return "native";
  // OpenSSL's SHA-512 beats the scalar kernel on every CPU; its SHA-256 beats the 4-lane kernel given instructions for it.
  return algorithm === "sha512" || cpuHashesSha256() ? "native" : undefined;
}

/** Whether the CPU has SHA-256 instructions; false if that cannot be told. */
function cpuHashesSha256(): boolean {
  const start = Buffer.alloc(8192);
  try {
    // The first CPU is enough; the file of a machine with hundreds of them is long.
    const fd = openSync("/proc/cpuinfo", "r");
    try {
      readSync(fd, start);
    } finally {
      closeSync(fd);
    }
  } catch {
    return process.platform === "darwin" && process.arch === "arm64";
  }
  // x86 lists `sha_ni` among its flags, arm64 `sha2` among its features.
  return /^(?:flags|Features)\s*:.*\b(?:sha_ni|sha2)\b/m.test(start.toString("latin1"));
}

/** Hashes the same blocks both ways and answers the faster, after a warm-up that lets the engine compile the kernels well. */
export function calibrate(algorithm: Algorithm): Backend {
  const time = (candidate: Backend): number => {
    candidate.blockWindow();
    const start = performance.now();
    candidate.hashWindow(algorithm, 128 * BLOCK_SIZE);
    return performance.now() - start;
  };
  for (let i = 0; i < 4; i++) time(backends.wasm);
  const [wasm, native] = [0, 1, 2].reduce(
    ([bestWasm, bestNative]) => [Math.min(bestWasm, time(backends.wasm)), Math.min(bestNative, time(backends.native))],
    [Infinity, Infinity] as [number, number],
  );
  return wasm < native ? backends.wasm : backends.native;
}
