// The user's own signing command. It is given a file and leaves a signed one; what comes back is checked to be the same image.

import { type ChildProcess, spawn } from "node:child_process";
import { ComposefsError } from "../error.ts";

/** How to sign. */
export interface SigningCommand {
  /** The command line; `{in}` is the file to sign, `{out}` the signed one. Without `{out}` it signs `{in}` in place. */
  readonly text: string;
  /** Give it to `/bin/sh -c` instead; the files are in the variables `IN` and `OUT`, and `{in}` and `{out}` stand for these. */
  readonly shell: boolean;
}

const HINT = "for example: --sign 'sbsign --key db.key --cert db.crt --output {out} {in}'";

/** The words of a command line: spaces separate, `'...'` and `"..."` keep them, a backslash takes the next character literally. */
export function commandWords(text: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote: string | undefined;
  for (let at = 0; at < text.length; at++) {
    const char = text.charAt(at);
    if (quote === "'" ? char === "'" : quote === '"' && char === '"') quote = undefined;
    else if (char === "\\" && quote !== "'") {
      if (++at >= text.length) throw invalid(text, "a backslash ends it");
      word = (word ?? "") + text.charAt(at);
    } else if (quote === undefined && (char === "'" || char === '"')) {
      quote = char;
      word ??= "";
    } else if (quote === undefined && /\s/.test(char)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else word = (word ?? "") + char;
  }
  if (quote !== undefined) throw invalid(text, `a ${quote} is not closed`);
  if (word !== undefined) words.push(word);
  return words;
}

/**
 * Checks a signing command before any work is done.
 *
 * @throws ComposefsError `usage` when it is empty, badly quoted, or has no `{in}`
 */
export function checkSigningCommand({ text, shell }: SigningCommand): void {
  if (text.trim() === "") throw invalid(text, "it is empty");
  if (!shell) commandWords(text);
  if (!/\{in\}/.test(text) && !(shell && /\$\{?IN\b/.test(text)))
    throw invalid(text, "it does not say where {in} goes");
}

/** Whether the signed file is another one than the file that was given. */
export function signsElsewhere({ text, shell }: SigningCommand): boolean {
  return /\{out\}/.test(text) || (shell && /\$\{?OUT\b/.test(text));
}

/**
 * Runs it. Nothing that it prints goes to stdout; when it fails the error has the end of what it said.
 *
 * @returns what it wrote to stdout and stderr
 * @throws ComposefsError `not-found` when there is no such program, `io` when it fails, `aborted`
 */
export async function runSigningCommand(
  command: SigningCommand,
  input: string,
  output: string,
  signal?: AbortSignal,
): Promise<string> {
  checkSigningCommand(command);
  const { text, shell } = command;
  const fill = (word: string, inside: string, outside: string) =>
    word.replaceAll(/\{(in|out)\}/g, (_, which: string) => (which === "in" ? inside : outside));
  const [program = "", ...args] = shell
    ? ["/bin/sh", "-c", fill(text, '"$IN"', '"$OUT"')]
    : commandWords(text).map((word) => fill(word, input, output));
  let child: ChildProcess;
  try {
    child = spawn(program, args, {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...(shell ? { IN: input, OUT: output } : {}) },
      ...(signal === undefined ? {} : { signal }),
    });
  } catch (error) {
    throw failed(text, (error as Error).message, error);
  }
  let said = "";
  const listen = (chunk: Buffer) => {
    // Only the end is shown; a program that talks for ever must not fill the memory.
    said = (said + chunk.toString("utf8")).slice(-4096);
  };
  child.stdout?.on("data", listen);
  child.stderr?.on("data", listen);
  const outcome = await new Promise<{ status: number | null; by: NodeJS.Signals | null } | Error>((resolve) => {
    child.on("error", resolve);
    child.on("close", (status, by) => resolve({ status, by }));
    child.on("exit", (status, by) => {
      // What a shell has started may live on and keep the pipes open: nobody waits for that after an interruption.
      if (signal?.aborted) resolve({ status, by });
    });
  });
  child.stdout?.destroy();
  child.stderr?.destroy();
  if (signal?.aborted) throw new ComposefsError("aborted", "interrupted while signing", { cause: signal.reason });
  if (outcome instanceof Error) {
    if ((outcome as NodeJS.ErrnoException).code === "ENOENT") {
      throw new ComposefsError("not-found", `the signing program ${program} was not found`, {
        cause: outcome,
        hint: `install it or give its path; ${HINT}`,
      });
    }
    throw failed(text, outcome.message, outcome);
  }
  if (outcome.status !== 0) {
    const how = outcome.by === null ? `ended with status ${outcome.status}` : `was ended by ${outcome.by}`;
    const words = said.trim().split("\n").slice(-5).join("; ");
    throw failed(text, words === "" ? how : `${how}: ${words}`);
  }
  return said;
}

function invalid(text: string, why: string): ComposefsError {
  return new ComposefsError("usage", `the signing command ${JSON.stringify(text)} cannot be used: ${why}`, {
    hint: HINT,
  });
}

function failed(text: string, why: string, cause?: unknown): ComposefsError {
  return new ComposefsError("io", `signing failed: \`${text}\` ${why}`, {
    ...(cause === undefined ? {} : { cause }),
    hint: "nothing was written; run the command by hand on any PE file to see what it wants",
  });
}
