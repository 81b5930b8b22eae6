// `--wait` and `--no-wait`: how long a command waits for other users of the repository, and what it says meanwhile.

import type { LockHolder } from "../index.ts";
import type { OptionSpec } from "./command.ts";
import { UsageError } from "./failure.ts";

/** Global, as every command that opens a repository may have to wait. */
export const LOCK_OPTIONS: readonly OptionSpec[] = [
  { name: "wait", value: "TIME", description: "wait that long for other users of the repository: 30s, 5m, 1h" },
  { name: "no-wait", description: "fail at once when somebody else keeps the repository" },
];

/** Longest wait in milliseconds; undefined when neither option was given. */
export function lockTimeout(wait: string | undefined, noWait: boolean): number | undefined {
  if (wait !== undefined && noWait) throw new UsageError("--wait and --no-wait exclude each other", "give one of them");
  return noWait ? 0 : wait === undefined ? undefined : parseTime(wait);
}

/** What is said when the wait has lasted a second. */
export function waitingFor(holders: readonly LockHolder[], path: string): string {
  const names = holders.map(({ pid, command }) => `${command || "process"} (${pid})`);
  return `waiting for ${names.length > 0 ? names.join(", ") : "another process"} to end using ${path}`;
}

const UNITS: Record<string, number> = { ms: 1, s: 1000, "": 1000, m: 60_000, min: 60_000, h: 3_600_000 };

/** Milliseconds of `500ms`, `30`, `30s`, `5m` or `1h`. */
export function parseTime(value: string): number {
  const [, number, unit = ""] = /^(\d{1,9}(?:\.\d{1,3})?)([a-z]*)$/.exec(value) ?? [];
  const factor = UNITS[unit];
  if (number === undefined || factor === undefined)
    throw new UsageError(`--wait ${value}: not a time`, "times are written 30s, 5m or 1h");
  return Number(number) * factor;
}
