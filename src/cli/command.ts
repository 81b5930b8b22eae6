// What a command of the command line is: data for help, completion and the manual, and one function that runs it.

import type { Algorithm, FormatVersion, LockWait, ProgressListener, Repository } from "../index.ts";
import type { Output } from "./output.ts";
import type { RepositoryWish } from "./repository.ts";

/** Where completion finds the candidates of a value. */
export type Completes =
  | "none"
  | "file"
  | "directory"
  | "deployment"
  | "tag"
  | "digest"
  | "image"
  | "stream"
  | "reference"
  | "command";

/** An option of a command, or a global one. */
export interface OptionSpec {
  /** Long name without dashes. */
  readonly name: string;
  /** Other long names, which help and completion leave out. */
  readonly aliases?: readonly string[];
  /** One letter. */
  readonly short?: string;
  /** What stands for the value in help (`PATH`); an option without it is a flag. */
  readonly value?: string;
  /** The value may be missing; then the option is a flag. */
  readonly optionalValue?: boolean;
  /** The only values accepted. */
  readonly choices?: readonly string[];
  /** May be given several times. */
  readonly repeat?: boolean;
  readonly description: string;
  readonly completes?: Completes;
}

/** A positional argument. */
export interface ArgumentSpec {
  /** As written in help: `REFERENCE`. */
  readonly name: string;
  readonly optional?: boolean;
  /** Takes all the rest; only the last one may. */
  readonly repeat?: boolean;
  readonly description: string;
  readonly completes?: Completes;
}

/** An example line of the help text. */
export interface Example {
  /** The command line after `composefs `. */
  readonly line: string;
  readonly says: string;
}

/** One command; each lies in a file of its own under `commands/`. */
export interface Command {
  /** Words after `composefs`: `oci pull`. */
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** More, for the command's own help. */
  readonly description?: string;
  readonly arguments: readonly ArgumentSpec[];
  readonly options: readonly OptionSpec[];
  readonly examples: readonly Example[];
  /** Left out of help and completion. */
  readonly hidden?: boolean;
  /** The last line when Ctrl-C ended it. */
  readonly interrupted?: string;
  /** The exit status of a failure, when that is not 1. */
  readonly failureStatus?: number;
  /** Resolves to an exit status when that is not 0. */
  readonly run: (context: Context) => Promise<number | void>;
}

/** What the global options say. */
export interface GlobalOptions {
  readonly repo: string | undefined;
  readonly user: boolean;
  readonly system: boolean;
  readonly hash: Algorithm | undefined;
  readonly erofsVersion: FormatVersion | undefined;
  readonly noRepo: boolean;
  readonly requireVerity: boolean;
  readonly noUpgrade: boolean;
  /** Longest wait for a lock in milliseconds; as long as it takes when undefined. */
  readonly waitMs: number | undefined;
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
}

/** All that a running command gets. */
export interface Context {
  /** Positional arguments in order. */
  readonly args: readonly string[];
  readonly global: GlobalOptions;
  /** Whether a flag was given. */
  readonly flag: (name: string) => boolean;
  /** The value of an option. */
  readonly text: (name: string) => string | undefined;
  /** The values of an option that may be repeated. */
  readonly list: (name: string) => readonly string[];
  /** Data: stdout. */
  readonly out: Output;
  /** Said to people: stderr. Nothing with --quiet. */
  readonly note: (message: string) => void;
  /** Fires on SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
  /** Draws what the library reports. */
  readonly progress: ProgressListener;
  /** How to wait for the lock of the repository at a path, for the library. */
  readonly lock: (path: string) => LockWait;
  /** The repository that the global options name, opened; the caller disposes it. */
  readonly openRepository: (wish?: RepositoryWish) => Promise<Repository>;
}
