// `--wait` and `--no-wait`: how long a command waits for other users of the repository, and what it says meanwhile.

import type { Context, OptionSpec } from "./command.ts";
import { UsageError } from "./failure.ts";

/** The options of commands that need the repository for themselves. */
export const LOCK_OPTIONS: readonly OptionSpec[] = [
  { name: "wait", value: "TIME", description: "wait that long for other users of the repository: 30s, 5m, 1h" },
  { name: "no-wait", description: "fail at once when somebody else uses the repository" },
];

/** How to wait for a lock, for the library. */
export interface LockOptions {
  timeoutMs?: number;
  onWait: () => void;
}

/** Reads the options; `describe` is called when the wait has lasted a second. */
export function lockOptions({ flag, text, note }: Context, describe: () => string): LockOptions {
  const wait = text("wait");
  if (wait !== undefined && flag("no-wait"))
    throw new UsageError("--wait and --no-wait exclude each other", "give one of them");
  const timeoutMs = flag("no-wait") ? 0 : wait === undefined ? undefined : parseTime(wait);
  return { ...(timeoutMs === undefined ? {} : { timeoutMs }), onWait: () => note(describe()) };
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
