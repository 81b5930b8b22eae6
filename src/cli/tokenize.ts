// Splits the words of a command line with cac, which knows the options that are declared. What cac would lose on the way,
// the text of values, their order and the spelling of names, is kept from it and put back afterwards.

import { cac } from "cac";
import type { OptionSpec } from "./command.ts";

/** A word that is neither an option nor the value of one. */
export interface Positional {
  readonly text: string;
  /** Index of the word. */
  readonly index: number;
}

/** An option where it stands. */
export interface OptionToken {
  /** Long name without dashes; of an option that nobody declared what was typed. */
  readonly name: string;
  /** With dashes, as typed. */
  readonly rawName: string;
  /** Undefined for a flag, and where a value is missing. */
  readonly value: string | undefined;
  /** Index of the word. */
  readonly index: number;
}

/** A command line in pieces, in its order. */
export interface Tokens {
  readonly positionals: readonly Positional[];
  readonly options: readonly OptionToken[];
}

// cac makes numbers of values that look like them (1.10 -> 1.1, a digest 1e..9 -> Infinity) and ignores empty ones, so none is shown to it bare: arguments cannot contain NUL.
const NUL = "\0";

/** Splits words; options that are not declared are taken for flags. Nothing is refused here. */
export function tokenize(words: readonly string[], specs: readonly OptionSpec[]): Tokens {
  const parser = cac("composefs");
  for (const { name, value, optionalValue } of specs)
    parser.option(
      value === undefined ? `--${plain(name)}` : `--${plain(name)} ${optionalValue ? "[value]" : `<${value}>`}`,
      "",
    );

  const { shown, found } = guard(words, specs);
  const { args, options } = parser.parse(["", "", ...shown], { run: false });
  const rest = (options["--"] as string[]).map((text) => restore(text));
  const positionals = [...args.map((text) => restore(text)), ...rest];

  // The n-th value that cac gives for a name belongs to the n-th place where the name stands.
  const given = new Map(specs.map(({ name }) => [name, [options[plain(name)] as unknown].flat()]));
  const tokens = found.map((token): OptionToken => {
    const value = given.get(token.name)?.shift();
    return typeof value === "string" ? { ...token, value: restore(value).text } : token;
  });
  return { positionals, options: tokens };
}

// The words as cac sees them: every value behind a NUL, its place in the line and another NUL; one long name for each option.
function guard(words: readonly string[], specs: readonly OptionSpec[]): { shown: string[]; found: OptionToken[] } {
  const byName = new Map(
    specs.flatMap((spec) => [spec.name, ...(spec.aliases ?? [])].map((name) => [name, spec] as const)),
  );
  const byLetter = new Map(specs.flatMap((spec) => (spec.short === undefined ? [] : [[spec.short, spec] as const])));
  const shown: string[] = [];
  const found: OptionToken[] = [];
  const end = words.indexOf("--");
  for (const [index, word] of words.entries()) {
    if (index === end) shown.push(word);
    else if ((end !== -1 && index > end) || !word.startsWith("-") || word === "-") {
      shown.push(`${NUL}${index}${NUL}${word}`);
    } else if (word.startsWith("--")) {
      const [, name = "", value] = /^--(.[^=]*)(?:=(.*))?$/s.exec(word) ?? [];
      add(byName.get(name), byName.get(name)?.name ?? name, `--${name}`, value, index);
    } else {
      for (let at = 1; at < word.length; at++) {
        const letter = word.charAt(at);
        const spec = byLetter.get(letter);
        const tail = word.slice(at + 1);
        const value = spec?.value !== undefined && tail !== "" ? tail : undefined;
        add(spec, spec?.name ?? letter, `-${letter}`, value, index);
        if (value !== undefined) break;
      }
    }
  }
  return { shown, found };

  function add(spec: OptionSpec | undefined, name: string, rawName: string, value: string | undefined, index: number) {
    const takes = spec?.value !== undefined;
    found.push({ name, rawName, value: takes ? undefined : value, index });
    // What nobody declared is not shown: cac would take the next word for its value.
    if (spec === undefined) return;
    shown.push(`--${plain(name)}${takes && value !== undefined ? `=${NUL}${index}${NUL}${value}` : ""}`);
  }
}

// cac reads `--no-upgrade` as the negation of `upgrade`, and forgets of a flag with a dash in its name that it is one.
function plain(name: string): string {
  return name.replaceAll("-", "_");
}

function restore(shown: string): Positional {
  const end = shown.indexOf(NUL, 1);
  return { text: shown.slice(end + 1), index: Number(shown.slice(1, end)) };
}
