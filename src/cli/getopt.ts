// Words of a command line split as getopt_long does it for the C tools (docs/spec/tools-c.md): options anywhere, `--name=value` or
// `--name value`, unique abbreviations, `--` ends them. cac knows neither abbreviations nor values that begin with a dash.

import { CToolError } from "./c-tool.ts";

/** The options of a program. */
export interface GetoptSpec {
  /** Long names of options without a value. */
  readonly flags: readonly string[];
  /** Long names of options with one. */
  readonly values: readonly string[];
  /** Long names by their letter. */
  readonly letters?: Readonly<Record<string, string>>;
}

/** The words in pieces. */
export interface GetoptWords {
  /** In their order; a flag has the empty value. */
  readonly options: readonly (readonly [name: string, value: string])[];
  readonly args: readonly string[];
}

/** Splits the words. Throws {@link CToolError} with the usage text. */
export function getopt(words: readonly string[], spec: GetoptSpec): GetoptWords {
  const options: [string, string][] = [];
  const args: string[] = [];
  for (let i = 0; i < words.length; i++) {
    const word = words[i] as string;
    if (word === "--") {
      args.push(...words.slice(i + 1));
      break;
    }
    if (!word.startsWith("-") || word === "-") {
      args.push(word);
      continue;
    }
    const { typed, letter, given } = optionParts(word);
    const name = typed === undefined ? spec.letters?.[letter] : longName(typed, spec);
    if (name === undefined) throw new CToolError(`unknown option ${word}`, { usage: true });
    if (spec.flags.includes(name)) {
      if (given !== undefined) throw new CToolError(`option ${word} takes no value`, { usage: true });
      options.push([name, ""]);
      continue;
    }
    const value = given ?? words[++i];
    if (value === undefined) throw new CToolError(`option ${word} needs a value`, { usage: true });
    options.push([name, value]);
  }
  return { options, args };
}

/** The long name or the letter of an option, and the value that is in the same word. */
function optionParts(word: string): { typed: string | undefined; letter: string; given: string | undefined } {
  if (!word.startsWith("--")) {
    return { typed: undefined, letter: word.charAt(1), given: word.length > 2 ? word.slice(2) : undefined };
  }
  const equals = word.indexOf("=");
  return equals < 0
    ? { typed: word.slice(2), letter: "", given: undefined }
    : { typed: word.slice(2, equals), letter: "", given: word.slice(equals + 1) };
}

function longName(typed: string, { flags, values }: GetoptSpec): string | undefined {
  const names = [...flags, ...values];
  if (names.includes(typed)) return typed;
  const matching = typed === "" ? [] : names.filter((name) => name.startsWith(typed));
  return matching.length === 1 ? matching[0] : undefined;
}
