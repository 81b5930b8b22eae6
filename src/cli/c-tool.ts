// What the programs named after the C tools have in common (docs/spec/tools-c.md): `NAME: MESSAGE` on stderr and a remedy, exit
// status 1 for every failure, --help and --version, output without loss however slow its reader is.

import { readFileSync, readSync, writeSync } from "node:fs";
import { describeFailure } from "./failure.ts";
import { outputError } from "./output.ts";

/** A refusal with the C tool's text; exit status 1. */
export class CToolError extends Error {
  override readonly name = "ComposefsError";
  readonly code: string = "usage";
  readonly hint: string | undefined;
  /** Whether the usage text follows. */
  readonly usage: boolean;

  constructor(message: string, details: { hint?: string | undefined; usage?: boolean; cause?: unknown } = {}) {
    super(message, { cause: details.cause });
    this.hint = details.hint;
    this.usage = details.usage ?? false;
  }
}

/** Runs a program on the words of the process and leaves its exit status. `main` answers one other than 0. */
export async function runCTool(
  name: string,
  usage: string,
  main: (words: readonly string[]) => Promise<number | void>,
): Promise<void> {
  const words = process.argv.slice(2);
  try {
    if (isAsked(words, "--version")) writeAll(1, `${name} ${packageVersion()} (composefs-js)\n`);
    else if (isAsked(words, "--help")) writeAll(1, usage);
    else process.exitCode = (await main(words)) ?? 0;
  } catch (error) {
    const { message, hint } = describeFailure(error);
    const remedy = hint === undefined ? "" : `hint: ${hint}\n`;
    writeAll(2, `${name}: ${message}\n${remedy}${error instanceof CToolError && error.usage ? usage : ""}`);
    process.exitCode = 1;
  }
}

function isAsked(words: readonly string[], option: string): boolean {
  const end = words.indexOf("--");
  return words.slice(0, end < 0 ? words.length : end).includes(option);
}

/** The failure of a file operation in the C tool's words; the reason is the system's. */
export function failedTo(action: string, error: unknown, hint?: string): CToolError {
  const { message, hint: known } = describeFailure(error);
  const text = error instanceof Error ? error.message : "";
  const reason = /^[A-Z0-9]+: ([^,]+),/.exec(text)?.[1] ?? message;
  return new CToolError(`${action}: ${reason}`, { hint: hint ?? known, cause: error });
}

/** Writes all of it, waiting where a pipe is full. Ends the program in silence when the reader went away. */
export function writeAll(fd: number, data: Uint8Array | string): void {
  const bytes = typeof data === "string" ? Buffer.from(data, "utf8") : data;
  try {
    for (let at = 0; at < bytes.length; ) at += waiting(() => writeSync(fd, bytes, at));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EPIPE") process.exit(0);
    throw outputError("writing the output", error as NodeJS.ErrnoException);
  }
}

/** Reads from a file or a pipe, waiting where that is empty; 0 at the end. `name` is for the message of a failure. */
export function readSome(fd: number, area: Uint8Array, name: string): number {
  try {
    return waiting(() => readSync(fd, area));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EOF") return 0;
    throw failedTo(`reading ${name}`, error);
  }
}

// An inherited pipe may be non-blocking; there is nothing else to do than to wait for it.
function waiting(call: () => number): number {
  for (;;) {
    try {
      return call();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
    }
  }
}

function packageVersion(): string {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}
