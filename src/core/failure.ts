// Refusals of the core: the `failure` record of asm/core.wit.

import type { ErrorCode } from "../error.ts";

/** `failure` of asm/core.wit. */
export interface CoreFailure {
  readonly code: string;
  /** Line of dump text, 0 when it does not apply. */
  readonly line: bigint;
  /** The field of the line, or the rule of an image, or "". */
  readonly field: string;
  /** The entry's path, escaped as in dumps, or "". */
  readonly path: string;
  readonly message: string;
}

/** The refusal that a call into the core threw; undefined if it is something else. */
export function coreFailure(error: unknown): CoreFailure | undefined {
  const failure = (error as { payload?: Partial<CoreFailure> } | null)?.payload;
  if (typeof failure !== "object" || failure === null || typeof failure.message !== "string") return undefined;
  const { code = "", line = 0n, field = "", path = "", message } = failure;
  return { code, line, field, path, message };
}

/** What each `failure-code` is to programs. All that is not listed is `invalid`. */
const CODES: Record<string, ErrorCode> = { limit: "limit", memory: "limit", state: "usage" };

/** The error code of a refusal. */
export function failureCode(failure: CoreFailure): ErrorCode {
  return CODES[failure.code] ?? "invalid";
}

/** The path of a refusal, cut so that a message can hold it. */
export function shownPath(path: string): string {
  return path.length > 200 ? `${path.slice(0, 200)}...` : path;
}
