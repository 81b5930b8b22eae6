// Runs one command line: parse, draw, run, and turn what happened into an exit status (0 done, 1 failed, 2 usage,
// 130 or 143 interrupted). Data goes to stdout, everything else to stderr.

import type { Algorithm, FormatVersion } from "../index.ts";
import type { Command, Context, GlobalOptions } from "./command.ts";
import { describeCauses, describeFailure, type Failure, UsageError } from "./failure.ts";
import { commandHelp, overview } from "./help.ts";
import { lockTimeout, waitingFor } from "./lock-options.ts";
import { Output } from "./output.ts";
import { type OptionValues, type Parsed, parse } from "./parse.ts";
import type { FdProgress } from "./progress/fd-lines.ts";
import { createRenderer, type ProgressMode, type Renderer, type Screen } from "./progress/renderer.ts";
import { openRepository } from "./repository.ts";
import { type Interruption, listenForSignals } from "./signals.ts";
import { programVersion } from "./version.ts";

/** Runs the words after the program's name and ends the process with the right status. */
export async function run(words: readonly string[]): Promise<void> {
  // Nobody listening to remarks is no reason to stop.
  process.stderr.on("error", () => undefined);
  const state: { renderer?: Renderer; json: boolean; verbose: boolean; command?: Command } = {
    json: wantsJsonProgress(words),
    verbose: words.includes("--verbose") || words.includes("-v"),
  };
  const interruption = listenForSignals(() =>
    state.renderer?.note("stopping and cleaning up (Ctrl-C again stops at once)"),
  );
  const out = new Output(process.stdout, interruption.signal);
  let status: number;
  try {
    const parsed = await parse(words);
    if (parsed.command !== undefined) state.command = parsed.command;
    status = await runParsed(parsed, words, out, interruption, (renderer) => {
      state.renderer = renderer;
    });
    state.renderer?.stop();
  } catch (error) {
    state.renderer?.stop();
    const stopped = interruption.status();
    if (stopped !== undefined) {
      status = stopped;
      const message = state.command?.interrupted ?? "interrupted";
      report({ code: "aborted", message, hint: undefined, status }, state.json);
    } else {
      const failure = describeFailure(error);
      status = failure.status === 1 ? (state.command?.failureStatus ?? 1) : failure.status;
      report(failure, state.json);
    }
    if (state.verbose)
      process.stderr.write(
        describeCauses(error)
          .map((line) => `${line}\n`)
          .join(""),
      );
  }
  await flushAndExit(out, status);
}

async function runParsed(
  parsed: Parsed,
  words: readonly string[],
  out: Output,
  interruption: Interruption,
  onRenderer: (renderer: Renderer) => void,
): Promise<number> {
  const { command, group, options } = parsed;
  if (options.has("version")) {
    await out.line(`composefs ${programVersion()}`);
    return 0;
  }
  if (command === undefined) {
    const text = await overview(group);
    if (options.has("help")) {
      await out.write(text);
      return 0;
    }
    if (words.length > 0 && group === undefined) throw new UsageError("no command given", "see composefs --help");
    process.stderr.write(text);
    return 2;
  }
  if (options.has("help")) {
    await out.write(commandHelp(command));
    return 0;
  }
  const global = globalOptions(options);
  const mode = (textOf(options, "progress") ?? "auto") as ProgressMode;
  const fdText = textOf(options, "progress-fd");
  const fd = fdText === undefined ? undefined : await openFd(fdText);
  const drawn = createRenderer(mode, stderrScreen(options.has("no-color")), global.quiet);
  const renderer = fd === undefined ? drawn : withFd(drawn, fd);
  onRenderer(renderer);
  const context: Context = {
    args: parsed.args,
    global,
    flag: (name) => options.has(name),
    text: (name) => textOf(options, name),
    list: (name) => {
      const value = options.get(name);
      return Array.isArray(value) ? (value as string[]) : [];
    },
    out,
    note: (message) => {
      if (!global.quiet) renderer.note(message);
    },
    signal: interruption.signal,
    progress: renderer.listen,
    lock: (path) => ({
      signal: interruption.signal,
      ...(global.waitMs === undefined ? {} : { timeoutMs: global.waitMs }),
      onWait: (holders) => context.note(waitingFor(holders, path)),
    }),
    openRepository: async (wish) => openRepository(context, wish),
  };
  return (await command.run(context)) ?? 0;
}

// Loaded only for who asks for it.
async function openFd(text: string): Promise<FdProgress> {
  const { fdProgress, fdSink, progressFd } = await import("./progress/fd-lines.ts");
  return fdProgress(fdSink(progressFd(text)));
}

function withFd(drawn: Renderer, fd: FdProgress): Renderer {
  return {
    listen: (event) => {
      fd.listen(event);
      drawn.listen(event);
    },
    note: drawn.note,
    stop: () => {
      fd.stop();
      drawn.stop();
    },
  };
}

function globalOptions(options: OptionValues): GlobalOptions {
  const version = textOf(options, "erofs-version");
  return {
    repo: textOf(options, "repo"),
    user: options.has("user"),
    system: options.has("system"),
    hash: textOf(options, "hash") as Algorithm | undefined,
    erofsVersion: version === undefined ? undefined : (Number(version) as FormatVersion),
    noRepo: options.has("no-repo"),
    requireVerity: options.has("require-verity"),
    noUpgrade: options.has("no-upgrade"),
    waitMs: lockTimeout(textOf(options, "wait"), options.has("no-wait")),
    json: options.has("json"),
    quiet: options.has("quiet"),
    verbose: options.has("verbose"),
  };
}

function textOf(options: OptionValues, name: string): string | undefined {
  const value = options.get(name);
  return typeof value === "string" ? value : undefined;
}

function stderrScreen(noColor: boolean): Screen {
  const isTerminal = process.stderr.isTTY && process.env["TERM"] !== "dumb";
  return {
    write: (text) => void process.stderr.write(text),
    isTerminal,
    get columns() {
      return process.stderr.columns || 80;
    },
    color: isTerminal && !noColor && (process.env["NO_COLOR"] ?? "") === "",
  };
}

function report(failure: Failure, asJson: boolean): void {
  if (asJson) {
    const { code, reason, slot, message, hint } = failure;
    process.stderr.write(`${JSON.stringify({ type: "error", code, reason, slot, message, hint })}\n`);
    return;
  }
  process.stderr.write(`composefs: ${failure.message}\n`);
  if (failure.hint !== undefined) process.stderr.write(`hint: ${failure.hint}\n`);
}

// Needed before the words are understood, so that an error in them is reported in the wanted form too.
function wantsJsonProgress(words: readonly string[]): boolean {
  return words.some(
    (word, index) => word === "--progress=json" || (word === "--progress" && words[index + 1] === "json"),
  );
}

async function flushAndExit(out: Output, status: number): Promise<void> {
  process.exitCode = status;
  await out.flush().catch((error: unknown) => {
    status ||= 1;
    report(describeFailure(error), false);
  });
  await new Promise<void>((resolve) => {
    process.stderr.write("", () => resolve());
  });
  process.exit(status);
}
