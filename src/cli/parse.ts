// From words to a command, its arguments and options: what is unknown, missing or twice is judged here.

import type { Command, OptionSpec } from "./command.ts";
import { C_TOOLS } from "./c-tools.ts";
import { ALIASES, COMMANDS, GROUPS } from "./commands.ts";
import { UsageError } from "./failure.ts";
import { GLOBAL_OPTIONS } from "./global-options.ts";
import { nearestName } from "./nearest-name.ts";
import { type Tokens, tokenize } from "./tokenize.ts";

/** Options as given: flags are `true`, repeated ones a list. */
export type OptionValues = ReadonlyMap<string, true | string | readonly string[]>;

/** The words of a command line, understood. */
export interface Parsed {
  /** Undefined when only global options were given. */
  readonly command: Command | undefined;
  /** The group alone (`composefs oci`), when no command of it was named. */
  readonly group: string | undefined;
  readonly args: readonly string[];
  readonly options: OptionValues;
}

/** Understands the words after the program's name. Throws {@link UsageError}. */
export async function parse(words: readonly string[]): Promise<Parsed> {
  const outline = tokenize(words, GLOBAL_OPTIONS);
  const { name, group, used } = await findCommand(outline);
  if (name === undefined) {
    return {
      command: undefined,
      group,
      args: [],
      options: await checkOptions(outline, words, GLOBAL_OPTIONS, group ?? ""),
    };
  }
  const load = COMMANDS.get(name);
  if (load === undefined) throw new UsageError(`unknown command ${name}`);
  const command = await load();
  const specs = [...command.options, ...GLOBAL_OPTIONS];
  const tokens = tokenize(words, specs);
  const options = await checkOptions(tokens, words, specs, command.name);
  const args = tokens.positionals.slice(used).map(({ text }) => text);
  if (!options.has("help") && !options.has("version")) checkArguments(command, args);
  return { command, group, args, options };
}

/** Where the command stands: the first word that is neither a global option nor the value of one; 0 when there is none. */
export function placeOfCommand(words: readonly string[]): number {
  const { options, positionals } = tokenize(words, GLOBAL_OPTIONS);
  const place = positionals[0]?.index ?? 0;
  const known = new Set(GLOBAL_OPTIONS.map((spec) => spec.name));
  return options.some((option) => option.index < place && !known.has(option.name)) ? 0 : place;
}

async function findCommand(
  outline: Tokens,
): Promise<{ name: string | undefined; group: string | undefined; used: number }> {
  const known = new Set(GLOBAL_OPTIONS.map((spec) => spec.name));
  const early = outline.options.find(
    (option) => !known.has(option.name) && option.index < (outline.positionals[0]?.index ?? 0),
  );
  if (early !== undefined) {
    const near = await nearestName(early.name, known);
    throw new UsageError(
      `unknown option ${early.rawName} before the command`,
      near === undefined ? "only global options may stand there; see composefs --help" : `did you mean --${near}?`,
    );
  }
  const [first, second] = outline.positionals.map(({ text }) => text);
  if (first === undefined) return { name: undefined, group: undefined, used: 0 };
  if (!GROUPS.has(first)) {
    const name = ALIASES.get(first) ?? first;
    if (COMMANDS.has(name)) return { name, group: undefined, used: 1 };
    throw await unknownCommand(first, [...COMMANDS.keys(), ...GROUPS.keys(), ...C_TOOLS.keys()]);
  }
  if (second === undefined) return { name: undefined, group: first, used: 1 };
  const name = `${first} ${second}`;
  if (COMMANDS.has(name)) return { name, group: first, used: 2 };
  throw await unknownCommand(name, COMMANDS.keys());
}

async function unknownCommand(typed: string, names: Iterable<string>): Promise<UsageError> {
  const visible = [...names].filter((name) => !name.startsWith("_"));
  const near = await nearestName(typed, visible);
  return new UsageError(
    `unknown command ${typed}`,
    near === undefined ? "see composefs --help" : `did you mean composefs ${near}?`,
  );
}

async function checkOptions(
  tokens: Tokens,
  words: readonly string[],
  specs: readonly OptionSpec[],
  command: string,
): Promise<OptionValues> {
  const known = new Map(specs.map((spec) => [spec.name, spec]));
  const values = new Map<string, true | string | readonly string[]>();
  const help = `see composefs ${command === "" ? "" : `${command} `}--help`;
  for (const { name, rawName, value, index } of tokens.options) {
    const spec = known.get(name);
    if (spec === undefined) {
      const near = await nearestName(name, known.keys());
      const where = command === "" ? "" : ` of ${command}`;
      throw new UsageError(`unknown option ${rawName}${where}`, near === undefined ? help : `did you mean --${near}?`);
    }
    if (spec.value === undefined || (spec.optionalValue && value === undefined)) {
      if (value !== undefined) throw new UsageError(`option --${name} takes no value`, help);
      values.set(name, true);
      continue;
    }
    if (value === undefined) {
      const next = words[index + 1];
      throw new UsageError(
        `option --${name} needs a value: ${spec.value}`,
        next === undefined ? help : `a value that begins with a dash is written --${name}=${next}`,
      );
    }
    if (spec.choices !== undefined && !spec.choices.includes(value)) {
      const near = await nearestName(value, spec.choices);
      throw new UsageError(
        `option --${name} does not know "${value}"`,
        `it takes ${spec.choices.join(", ")}${near === undefined ? "" : `; did you mean ${near}?`}`,
      );
    }
    const before = values.get(name);
    if (spec.repeat) values.set(name, [...(Array.isArray(before) ? (before as string[]) : []), value]);
    else if (before !== undefined) throw new UsageError(`option --${name} is given twice`, help);
    else values.set(name, value);
  }
  const places = ["repo", "user", "system"].filter((name) => values.has(name));
  if (places.length > 1) {
    throw new UsageError(`--${places.join(" and --")} exclude each other`, "name one repository");
  }
  return values;
}

function checkArguments(command: Command, args: readonly string[]): void {
  const help = `see composefs ${command.name} --help`;
  const missing = command.arguments.find((argument, index) => !argument.optional && index >= args.length);
  if (missing !== undefined) throw new UsageError(`${command.name}: ${missing.name} is missing`, help);
  const surplus = args[command.arguments.length];
  if (surplus !== undefined && command.arguments.at(-1)?.repeat !== true) {
    throw new UsageError(`${command.name}: unexpected argument "${surplus}"`, help);
  }
}
