// The system calls that `node:fs` lacks (docs/spec/wasm-core.md, section 7): through koffi where it loads, else through
// the commands `flock`, `fsverity` and `sync`.

import type { Algorithm, ObjectId } from "../bytes/algorithm.ts";
import { ComposefsError, throwIfAborted } from "../error.ts";
import { type LockHolder, lockHolders } from "./lock-holders.ts";
import { commandCalls } from "./syscalls-commands.ts";
import { koffiCalls } from "./syscalls-koffi.ts";

/** The fs-verity digest that the kernel keeps for a file. */
export interface MeasuredVerity {
  algorithm: Algorithm;
  digest: ObjectId;
}

/** How long to wait for a lock and whom to tell. */
export interface LockWait {
  /** Ends the waiting with an `aborted` error. */
  signal?: AbortSignal;
  /** Longest wait in milliseconds; 0 does not wait at all. Waits for ever when left out. */
  timeoutMs?: number;
  /** Called once, when the lock is not free after a second, with those who hold it as far as that can be found out. */
  onWait?: (holders: LockHolder[]) => void;
}

/** How a lock is taken. */
export type LockKind = "shared" | "exclusive";

/** The primitive calls; {@link Syscalls} adds waiting. One implementation per provider. */
export interface RawCalls {
  readonly provider: "koffi" | "commands";
  /** flock(2) without waiting; false when another process holds a conflicting lock. */
  tryLock(fd: number, kind: LockKind | "unlock"): boolean;
  /**
   * A shared record lock (fcntl) on a whole file that is open for reading, until it is closed: what other programs lock with differs
   * from flock. False when another process writes; undefined where the provider cannot.
   */
  tryReadRecordLock?(fd: number): boolean | undefined;
  /** FS_IOC_ENABLE_VERITY: no salt, 4096-byte blocks. `busy`: some descriptor is open for writing (ETXTBSY). */
  enableVerity(fd: number, path: string, algorithm: Algorithm): "enabled" | "already" | "unsupported" | "busy";
  /** FS_IOC_MEASURE_VERITY; undefined when the file has none, or one of another kind (`foreign`). */
  measureVerity(fd: number, path: string): MeasuredVerity | undefined | "unsupported" | "foreign";
  /** FICLONE: shares all blocks of the source; false when the file system cannot. */
  cloneFile(destinationFd: number, sourceFd: number): boolean;
  /** syncfs(2): everything written to the file system of `fd` becomes durable. */
  syncfs(fd: number, path: string): void;
  /** Renames without replacing; false when the new path exists. undefined when the provider or file system cannot. */
  renameNoReplace?(from: string, to: string): boolean | undefined;
  /** Exchanges two paths in one step. undefined when the provider, kernel or file system cannot; then nothing has happened. */
  exchange?(a: string, b: string): true | undefined;
  /** Gives an open O_TMPFILE a name; false when the path exists. undefined when the provider or file system cannot. */
  linkDescriptor?(fd: number, to: string): boolean | undefined;
}

/** System calls by file descriptor; all but {@link Syscalls.flock} are synchronous. */
export interface Syscalls extends RawCalls {
  /**
   * Takes an advisory lock without blocking the event loop. Fails with `locked` after `timeoutMs`, with `aborted` on the
   * signal. Changing a shared into an exclusive lock is not atomic: nothing read before it may be trusted after.
   */
  flock(fd: number, kind: LockKind | "unlock", wait?: LockWait): Promise<void>;
}

let chosen: Syscalls | undefined;

/** The system calls of this process; chosen at the first use. `COMPOSEFS_SYSCALLS=commands` does without koffi. */
export function syscalls(): Syscalls {
  chosen ??= withLocks((process.env.COMPOSEFS_SYSCALLS === "commands" ? undefined : koffiCalls()) ?? commandCalls());
  return chosen;
}

function withLocks(calls: RawCalls): Syscalls {
  return Object.assign(calls, {
    flock: (fd: number, kind: LockKind | "unlock", wait: LockWait = {}) => lock(calls, fd, kind, wait),
  });
}

// Polls with growing pauses: a blocking flock would stop the event loop, in a thread it could not be interrupted.
async function lock(calls: RawCalls, fd: number, kind: LockKind | "unlock", wait: LockWait): Promise<void> {
  throwIfAborted(wait.signal);
  // Nearly always; the clock alone would load a module of Node's.
  if (calls.tryLock(fd, kind)) return;
  const begin = performance.now();
  let told = false;
  for (let pause = 2; !calls.tryLock(fd, kind); pause = Math.min(pause * 1.5, calls.provider === "koffi" ? 50 : 200)) {
    const waited = performance.now() - begin;
    if (wait.timeoutMs !== undefined && waited >= wait.timeoutMs)
      throw new ComposefsError(
        "locked",
        wait.timeoutMs === 0
          ? `another process holds the lock (a ${kind} one was wanted)`
          : `another process still holds the lock after ${Math.round(waited / 100) / 10} s (a ${kind} one was wanted)`,
        { hint: "wait until it has ended, or give a longer time" },
      );
    if (!told && waited >= 1000) {
      told = true;
      wait.onWait?.(lockHolders(fd));
    }
    const left = wait.timeoutMs === undefined ? pause : Math.min(pause, wait.timeoutMs - waited);
    await sleep(Math.max(1, told ? left : Math.min(left, Math.max(1, 1000 - waited))), wait.signal);
    throwIfAborted(wait.signal);
  }
}

function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done() {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    }
    signal?.addEventListener("abort", done);
  });
}
