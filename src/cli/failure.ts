// From an error to what people read and the exit status (docs/spec/cli-cfsctl.md, section 13.4):
// what failed in the user's own words, then what to do; the causes only with --verbose.

import { OutputError } from "./output.ts";

/** The call itself is wrong; exit status 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
  readonly hint: string | undefined;

  constructor(message: string, hint?: string) {
    super(message);
    this.hint = hint;
  }
}

/** What the command line prints about an error. */
export interface Failure {
  readonly code: string;
  readonly message: string;
  readonly hint: string | undefined;
  /** The class of the failure, finer than the code, and the part of the deployment concerned; for programs. */
  readonly reason?: string | undefined;
  readonly slot?: string | undefined;
  readonly status: number;
}

/** Reads an error; anything that the library did not throw on purpose is a fault of ours and says so. */
export function describeFailure(error: unknown): Failure {
  if (error instanceof UsageError) return { code: "usage", message: error.message, hint: error.hint, status: 2 };
  if (isComposefsError(error)) {
    return {
      code: error.code,
      message: oneLine(error.message),
      hint: error.hint === undefined ? undefined : oneLine(error.hint),
      reason: error.reason,
      slot: error.slot,
      status: error.code === "usage" ? 2 : 1,
    };
  }
  if (error instanceof OutputError) return { code: "io", message: error.message, hint: error.hint, status: 1 };
  if (error instanceof Error && isSystemError(error)) {
    // "ENOENT: no such file or directory, open '/x'"
    const [, why = error.message, call = ""] = /^[A-Z0-9]+: ([^,]+)(?:, (\w+))?/.exec(error.message) ?? [];
    return { code: "io", message: `${error.path ?? call}: ${why}`, hint: undefined, status: 1 };
  }
  return {
    code: "internal",
    message: `internal error: ${oneLine(error instanceof Error ? error.message : String(error))}`,
    hint: "this is a fault of composefs; please report it with the output of the same command and --verbose",
    status: 1,
  };
}

/** Every cause below an error, outermost first, with stacks: what --verbose adds. */
export function describeCauses(error: unknown): string[] {
  const lines: string[] = [];
  for (let cause = error, depth = 0; cause instanceof Error && depth < 16; cause = cause.cause, depth++) {
    lines.push(`${depth === 0 ? "at" : "caused by"}: ${cause.stack ?? cause.message}`);
  }
  return lines;
}

// By shape, not by class: the class comes with the whole library, which a usage error must not load.
function isComposefsError(
  error: unknown,
): error is Error & { code: string; hint?: string; reason?: string; slot?: string } {
  return (
    error instanceof Error && error.name === "ComposefsError" && typeof (error as { code?: unknown }).code === "string"
  );
}

function isSystemError(error: Error): error is NodeJS.ErrnoException {
  return typeof (error as NodeJS.ErrnoException).syscall === "string";
}

function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, "; ");
}
