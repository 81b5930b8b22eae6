// What may stand at the cursor: from the table of commands, and for tags and images from the repository.

import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Command, Completes, OptionSpec } from "../command.ts";
import { C_TOOLS } from "../c-tools.ts";
import { ALIASES, COMMANDS, GROUPS, visibleCommands } from "../commands.ts";
import { GLOBAL_OPTIONS } from "../global-options.ts";

/** One thing that may be typed. */
export interface Candidate {
  readonly text: string;
  readonly description: string;
}

/** Candidates, and whether the shell adds its own file names. */
export interface Completion {
  readonly candidates: Candidate[];
  readonly files: "files" | "directories" | "done";
}

/** Names in the repository that the words select; none when there is no repository. */
export type RepositoryNames = (
  kind: "tag" | "digest" | "image" | "stream",
  selection: { repo: string | undefined; user: boolean; system: boolean },
) => Promise<readonly string[]>;

const TRANSPORTS: readonly Candidate[] = [{ text: "oci:", description: "a layout directory: oci:DIRECTORY:TAG" }];

/** What may stand where the last of the words is. The words are those after the program's name. */
export async function complete(words: readonly string[], names: RepositoryNames): Promise<Completion> {
  const current = words.at(-1) ?? "";
  const line = await readWords(words.slice(0, -1));
  const matching = (all: readonly Candidate[]): Completion => ({
    candidates: all.filter((candidate) => candidate.text.startsWith(current)),
    files: "done",
  });
  if (line.pending !== undefined && !isLeftOut(line.pending, current)) return value(line.pending, current, "");
  const inline = /^--([a-z-]+)=(.*)$/.exec(current);
  if (inline !== null) {
    const option = line.options.find((spec) => spec.name === inline[1]);
    if (option?.value === undefined) return matching([]);
    return value(option, inline[2] ?? "", `--${option.name}=`);
  }
  if (current.startsWith("-")) {
    return matching(line.options.map((spec) => ({ text: `--${spec.name}`, description: spec.description })));
  }
  if (line.command === undefined) return matching(await nextCommandWords(line.positionals));
  const { arguments: specs } = line.command;
  const last = specs.at(-1);
  const argument = specs[line.positionals.length - line.used] ?? (last?.repeat ? last : undefined);
  if (argument === undefined) return matching([]);
  if (line.command.name === "completion") return matching(["bash", "zsh", "fish"].map(bare));
  return described(argument.completes ?? "none", current, "");

  async function value(option: OptionSpec, typed: string, prefix: string): Promise<Completion> {
    if (option.choices !== undefined) {
      const fitting = option.choices.filter((choice) => choice.startsWith(typed));
      return { candidates: fitting.map((choice) => bare(prefix + choice)), files: "done" };
    }
    return described(option.completes ?? "none", typed, prefix);
  }

  async function described(kind: Completes, typed: string, prefix: string): Promise<Completion> {
    switch (kind) {
      case "file":
        return { candidates: [], files: "files" };
      case "directory":
        return { candidates: [], files: "directories" };
      case "reference":
        return { candidates: references(typed), files: "done" };
      case "command":
        return matching(await nextCommandWords(line.positionals.slice(line.used)));
      case "deployment":
        return {
          candidates: deployments(line.sysroot)
            .filter((id) => id.startsWith(typed))
            .map((id) => bare(prefix + id)),
          files: "done",
        };
      case "tag":
      case "digest":
      case "image":
      case "stream": {
        const found = await names(kind, line.selection);
        return {
          candidates: found.filter((name) => name.startsWith(typed)).map((name) => bare(prefix + name)),
          files: "done",
        };
      }
      default:
        return { candidates: [], files: "done" };
    }
  }
}

interface Line {
  /** The option whose value is being typed. */
  readonly pending: OptionSpec | undefined;
  readonly options: readonly OptionSpec[];
  readonly command: Command | undefined;
  readonly positionals: readonly string[];
  /** How many of the positionals are the command's words. */
  readonly used: number;
  readonly selection: { repo: string | undefined; user: boolean; system: boolean };
  /** Of the commands about deployments. */
  readonly sysroot: string;
}

// Where a value may be missing, the next option is none.
function isLeftOut({ optionalValue }: OptionSpec, word: string): boolean {
  return optionalValue === true && word.startsWith("-");
}

// Like the parser, but the line is unfinished: what is wrong in it is passed over.
async function readWords(words: readonly string[]): Promise<Line> {
  const positionals: string[] = [];
  let options: readonly OptionSpec[] = GLOBAL_OPTIONS;
  let command: Command | undefined;
  let pending: OptionSpec | undefined;
  let repo: string | undefined;
  let sysroot = "/sysroot";
  let user = false;
  let system = false;
  for (const word of words) {
    if (pending !== undefined && !isLeftOut(pending, word)) {
      if (pending.name === "repo") repo = word;
      if (pending.name === "sysroot") sysroot = word;
      pending = undefined;
      continue;
    }
    if (word.startsWith("--repo=")) repo = word.slice(7);
    sysroot = /^--(?:sysroot|root)=(.*)$/.exec(word)?.[1] ?? sysroot;
    if (word === "--user") user = true;
    if (word === "--system") system = true;
    if (word.startsWith("-") && word !== "-") {
      const spec = options.find(
        ({ name, short, aliases = [] }) =>
          [name, ...aliases].some((one) => `--${one}` === word) || `-${short}` === word,
      );
      if (spec?.value !== undefined) pending = spec;
      continue;
    }
    positionals.push(word);
    if (command === undefined) {
      const [first = "", second] = positionals;
      const load = COMMANDS.get(GROUPS.has(first) ? `${first} ${second}` : (ALIASES.get(first) ?? first));
      if (load !== undefined) {
        command = await load();
        options = [...command.options, ...GLOBAL_OPTIONS];
      }
    }
  }
  const used = command === undefined ? 0 : command.name.split(" ").length;
  return { pending, options, command, positionals, used, selection: { repo, user, system }, sysroot };
}

// Names of state directories: quicker than the boot menu, and near enough.
function deployments(sysroot: string): string[] {
  try {
    return readdirSync(join(sysroot, "state/deploy"), { withFileTypes: true })
      .flatMap((entry) => (entry.isDirectory() ? [entry.name] : []))
      .sort();
  } catch {
    return [];
  }
}

async function nextCommandWords(before: readonly string[]): Promise<Candidate[]> {
  const candidates = new Map<string, string>();
  for (const { name, summary } of await visibleCommands()) {
    const words = name.split(" ");
    if (before.some((word, index) => words[index] !== word)) continue;
    const next = words[before.length];
    if (next === undefined) continue;
    candidates.set(next, before.length === 0 ? (GROUPS.get(next) ?? summary) : summary);
  }
  if (before.length === 0) for (const [name, { summary }] of C_TOOLS) candidates.set(name, summary);
  return [...candidates].map(([text, description]) => ({ text, description }));
}

// `oci:` and then directories; which of them are layouts shows in the index.json.
function references(typed: string): Candidate[] {
  const path = /^oci:([^:]*)$/.exec(typed)?.[1];
  if (path === undefined) return TRANSPORTS.filter(({ text }) => text.startsWith(typed));
  const folder = path.endsWith("/") ? path : path.includes("/") ? `${dirname(path)}/` : "";
  try {
    return readdirSync(folder === "" ? "." : folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && `${folder}${entry.name}`.startsWith(path))
      .map((entry) => bare(`oci:${folder}${entry.name}/`));
  } catch {
    return [];
  }
}

function bare(text: string): Candidate {
  return { text, description: "" };
}
