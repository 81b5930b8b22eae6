// Runs the compiled programs as users do: another process, its exit status, and what it wrote where.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll } from "vitest";

const at = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

/** How this runtime starts a program's file from a shell; what node:child_process starts gets its options by itself. */
export const RUNTIME: readonly string[] =
  "deno" in process.versions ? [process.execPath, "run", "-A"] : [process.execPath];
/** The command line's file. */
export const COMPOSEFS = at("dist/cli/main.js");
/** The other program's file. */
export const MKCOMPOSEFS = at("dist/cli/mkcomposefs.js");
/** The bundled example, and its tag. */
export const EXAMPLE = at("examples/layout");

/** What a finished process left. */
export interface Finished {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** How to start it. */
export interface RunOptions {
  readonly program?: string;
  readonly input?: string | Uint8Array;
  readonly env?: Record<string, string>;
  readonly cwd?: string;
  /** Called with the running process. */
  readonly onStart?: (child: ChildProcess) => void;
}

/** Runs a program to its end. HOME is a place where nothing is, unless given. */
export async function run(args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  const child = spawn(process.execPath, [options.program ?? COMPOSEFS, ...args], {
    stdio: ["pipe", "pipe", "pipe"],
    cwd: options.cwd,
    env: { PATH: process.env["PATH"] ?? "", HOME: "/nonexistent", TERM: "xterm", ...options.env },
  });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => stderr.push(chunk));
  child.stdin.on("error", () => undefined);
  child.stdin.end(options.input ?? "");
  options.onStart?.(child);
  const status = await new Promise<number | null>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });
  return { status, stdout: Buffer.concat(stdout).toString("utf8"), stderr: Buffer.concat(stderr).toString("utf8") };
}

/** Sends a signal. Not by `child.kill`: then Deno says that the signal ended the child, whatever its exit status was. */
export function sendSignal(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid !== undefined) process.kill(child.pid, signal);
}

/** A directory that goes away after the file's tests. */
export function temporaryDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), "composefs-cli-"));
  afterAll(() => rmSync(path, { recursive: true, force: true }), 120_000);
  return path;
}
