// Runs the command line under strace: records which system calls change a directory, in their order, and stops the process
// right before one of them, which is right after the one before. Follows all threads.

import { spawn } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { COMPOSEFS_MAIN, type ComposefsResult } from "../fixtures/composefs.ts";
import { peer } from "../peer.ts";

/** The calls that can change a file system or make a change durable; `?`: not every architecture has it. */
const MUTATING = [
  "openat",
  "?open",
  "?creat",
  "write",
  "writev",
  "pwrite64",
  "?pwritev",
  "?link",
  "linkat",
  "?rename",
  "?renameat",
  "renameat2",
  "?symlink",
  "symlinkat",
  "?unlink",
  "unlinkat",
  "?mkdir",
  "mkdirat",
  "?rmdir",
  "fsync",
  "fdatasync",
  "syncfs",
  "ioctl",
  "copy_file_range",
  "ftruncate",
  "fchmod",
  "utimensat",
] as const;

/** One recorded call. */
export interface RecordedCall {
  /** Name of the call, as strace knows it. */
  name: string;
  /** Its arguments as strace prints them, descriptors with their paths. */
  args: string;
  /** What it returned, with an error name if it failed. */
  result: string;
  /** Number of the thread, 0 for the first one that is seen. */
  thread: number;
  /** How many calls of that name the thread had made, this one included: what strace counts by. */
  count: number;
}

/** A place to stop at: right before the `count`-th call of that kind. */
export interface Cut {
  name: string;
  count: number;
  /** Whose calls are counted: those of the main thread, or of each thread, whichever comes to the number first. */
  threads: "main" | "each";
}

async function run(
  straceArgs: readonly string[],
  args: readonly string[],
  input: string | undefined,
): Promise<ComposefsResult> {
  const stdin = input === undefined ? undefined : openSync(input, "r");
  const child = spawn(peer("strace"), [...straceArgs, process.execPath, COMPOSEFS_MAIN, ...args], {
    stdio: [stdin ?? "ignore", "pipe", "pipe"],
    timeout: 120_000,
    killSignal: "SIGTERM",
  });
  if (stdin !== undefined) closeSync(stdin);
  let stdout = "";
  let stderr = "";
  child.stdout?.on("data", (chunk: Buffer) => (stdout += chunk.toString("utf8")));
  child.stderr?.on("data", (chunk: Buffer) => (stderr += chunk.toString("utf8")));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (status, signal) => resolve({ status, signal, stdout, stderr }));
  });
}

/**
 * Runs `composefs ARGS` to its end; answers the calls that name a path below `directory`, in the order they ended.
 *
 * @param input file that is its stdin, as for the other functions here
 */
export async function recordCalls(directory: string, args: readonly string[], input?: string): Promise<RecordedCall[]> {
  const folder = mkdtempSync(join(tmpdir(), "composefs-strace-"));
  try {
    const log = join(folder, "log");
    const options = [
      "-f",
      "-y",
      "--seccomp-bpf",
      "-s",
      "4096",
      "-e",
      "signal=none",
      "-e",
      `trace=${MUTATING.join(",")}`,
    ];
    const result = await run([...options, "-o", log], args, input);
    if (result.status !== 0) throw new Error(`composefs ${args.join(" ")} under strace: ${result.stderr}`);
    // Of a write only the descriptor counts: what is printed for people names the directory, too.
    const place = ({ name, args: printed }: RecordedCall) => (/write/.test(name) ? printed.split(">")[0] : printed);
    return parseLog(readFileSync(log, "latin1")).filter((call) => place(call)?.includes(directory));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function parseLog(text: string): RecordedCall[] {
  const threads = new Map<string, number>();
  const counts = new Map<string, number>();
  const unfinished = new Map<string, RecordedCall>();
  const calls: RecordedCall[] = [];
  for (const line of text.split("\n")) {
    const resumed = /^(\d+)\s+<\.\.\. (\w+) resumed>(.*)$/.exec(line);
    if (resumed) {
      const [, pid = "", name = "", rest = ""] = resumed;
      const call = unfinished.get(pid);
      if (call === undefined || call.name !== name) throw new Error(`strace: ${name} of ${pid} was not begun`);
      unfinished.delete(pid);
      const { args, result } = splitResult(call.args + rest);
      calls.push({ ...call, args, result });
      continue;
    }
    const begun = /^(\d+)\s+(\w+)\((.*)$/.exec(line);
    if (!begun) continue;
    const [, pid = "", name = "", rest = ""] = begun;
    if (!threads.has(pid)) threads.set(pid, threads.size);
    const key = `${pid} ${name}`;
    const count = (counts.get(key) ?? 0) + 1;
    counts.set(key, count);
    const call = { name, thread: threads.get(pid) ?? 0, count };
    const pending = / <unfinished \.\.\.>$/.exec(rest);
    if (pending) unfinished.set(pid, { ...call, args: rest.slice(0, pending.index), result: "" });
    else calls.push({ ...call, ...splitResult(rest) });
  }
  return calls;
}

function splitResult(rest: string): { args: string; result: string } {
  const at = rest.lastIndexOf(" = ");
  if (at < 0) return { args: rest, result: "" };
  return { args: rest.slice(0, at).trimEnd().replace(/\)$/, ""), result: rest.slice(at + 3) };
}

/** Whether a call that touches the directory changes it, or is a barrier. */
export function isMutation({ name, args, result }: RecordedCall): boolean {
  if (/^(openat|open)$/.test(name)) return args.includes("O_CREAT");
  if (name === "ioctl") return /ENABLE_VERITY|FICLONE/.test(args);
  return !result.startsWith("-1 EBADF");
}

/** Runs `composefs ARGS` and kills it with SIGKILL at the cut; answers whether it came that far. */
export async function runUntil(cut: Cut, args: readonly string[], input?: string): Promise<boolean> {
  const inject = `inject=${cut.name}:signal=SIGKILL:when=${cut.count}`;
  const options = ["-o", "/dev/null", "-e", "signal=none", "-e", `trace=${cut.name}`, "-e", inject];
  // Without --seccomp-bpf: under it strace 6.1 injects no signals.
  const follow = cut.threads === "each" ? ["-f"] : [];
  const { status, signal, stderr } = await run([...follow, ...options], args, input);
  if (signal === "SIGKILL") return true;
  if (status !== 0)
    throw new Error(`composefs ${args.join(" ")}, cut at ${cut.name} ${cut.count}: ${status} ${stderr}`);
  return false;
}

/**
 * Runs `composefs ARGS`; that one call of the main thread is not made but answers with an error such as `EIO`. `hit`: whether
 * it was a call for something below `directory`; the runtime's own writes, which wake threads, shift the numbers a little.
 */
export async function runWithError(
  call: { name: string; count: number },
  error: string,
  directory: string,
  args: readonly string[],
  input?: string,
): Promise<{ result: ComposefsResult; hit: boolean }> {
  const folder = mkdtempSync(join(tmpdir(), "composefs-strace-"));
  try {
    const log = join(folder, "log");
    const inject = `inject=${call.name}:error=${error}:when=${call.count}`;
    const options = ["-o", log, "-y", "-e", "signal=none", "-e", `trace=${call.name}`, "-e", inject];
    const result = await run(options, args, input);
    const failed = readFileSync(log, "latin1")
      .split("\n")
      .find((line) => line.includes("(INJECTED)"));
    return { result, hit: failed?.includes(directory) ?? false };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Runs `composefs ARGS`; no read of that file succeeds, in any thread. */
export function runWithUnreadable(file: string, args: readonly string[]): Promise<ComposefsResult> {
  const reads = "read,pread64,readv,?preadv,mmap";
  return run(
    ["-f", "-o", "/dev/null", "-P", file, "-e", `trace=${reads}`, "-e", `inject=${reads}:error=EIO`],
    args,
    undefined,
  );
}
