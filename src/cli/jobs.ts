// `--jobs NUMBER`

import type { Context, OptionSpec } from "./command.ts";
import { UsageError } from "./failure.ts";

const MOST = 64;

/** The option; `what` says what there are so many of. */
export function jobsOption(what: string): OptionSpec {
  return {
    name: "jobs",
    value: "NUMBER",
    description: `${what} at once; as many as there are processors, at most 4, when left out`,
  };
}

/** The number given, if any. */
export function jobsGiven(context: Pick<Context, "text">): number | undefined {
  const text = context.text("jobs");
  if (text === undefined) return undefined;
  const jobs = /^[0-9]{1,3}$/.test(text) ? Number(text) : 0;
  if (jobs < 1 || jobs > MOST) throw new UsageError(`option --jobs takes a number from 1 to ${MOST}, not "${text}"`);
  return jobs;
}
