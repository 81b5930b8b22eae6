// Who holds an flock(2) lock: for the message that says what is waited for. Linux only, from /proc/locks.

import { fstatSync, readFileSync } from "node:fs";

/** A process that holds a lock. */
export interface LockHolder {
  pid: number;
  /** The name of its program; empty when it cannot be read. */
  command: string;
}

/** The other processes that hold a lock on an open file; empty when that cannot be found out. */
export function lockHolders(fd: number): LockHolder[] {
  let table: string;
  try {
    table = readFileSync("/proc/locks", "latin1");
  } catch {
    return [];
  }
  const { ino } = fstatSync(fd, { bigint: true });
  const pids = new Set<number>();
  for (const line of table.split("\n")) {
    // 1: FLOCK  ADVISORY  READ  1234 fd:00:5678 0 EOF; `->` marks those that wait.
    const match = /^\d+: FLOCK +\w+ +\w+ +(\d+) [0-9a-f]+:[0-9a-f]+:(\d+) /.exec(line);
    if (match && BigInt(match[2] as string) === ino) pids.add(Number(match[1]));
  }
  pids.delete(process.pid);
  pids.delete(0);
  return [...pids].toSorted((a, b) => a - b).map((pid) => ({ pid, command: commandOf(pid) }));
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
  } catch {
    return "";
  }
}
