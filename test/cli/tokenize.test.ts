// Words are split by cac without becoming anything else; the runtime's own parser, which never changes a value, is the judge.

import { parseArgs } from "node:util";
import { array, assert, constant, constantFrom, oneof, pre, property, string } from "fast-check";
import { describe, expect, it } from "vitest";
import type { OptionSpec } from "../../src/cli/command.ts";
import { tokenize } from "../../src/cli/tokenize.ts";

const SPECS: readonly OptionSpec[] = [
  { name: "name", short: "n", value: "NAME", description: "" },
  { name: "root", short: "r", value: "REF[:TAG]", repeat: true, description: "" },
  { name: "wait", value: "TIME", description: "" },
  { name: "no-wait", description: "" },
  { name: "no-upgrade", description: "" },
  { name: "dry-run", short: "d", description: "" },
  { name: "json", short: "j", description: "" },
];

const NUMBERS = [
  "1.10",
  "007",
  "1e3",
  "0x10",
  "0b11",
  "0o17",
  "-0",
  "+5",
  ".5",
  "5.",
  "0",
  "Infinity",
  "9007199254740993",
  "1_000",
  " 7 ",
  "",
  "true",
  "false",
  "null",
  `1${"0".repeat(63)}`,
  `${"12345678".repeat(7)}1234e999`,
  `9e${"7".repeat(126)}`,
  `00${"0123456789abcdef".repeat(7)}aaaaaaaaaaaaaa`,
];

const texts = (words: readonly string[]) => tokenize(words, SPECS).positionals.map(({ text }) => text);
const values = (words: readonly string[]) =>
  tokenize(words, SPECS).options.map(({ name, value }) => (value === undefined ? name : `${name}=${value}`));

describe("values stay the text that they are", () => {
  it.each(NUMBERS.filter((text) => !text.startsWith("-")))("%j", (text) => {
    expect(texts([text])).toEqual([text]);
    expect(texts(["--", text])).toEqual([text]);
    expect(texts(["--json", text, "-d", text])).toEqual([text, text]);
    expect(values(["--name", text])).toEqual([`name=${text}`]);
    expect(values([`--name=${text}`])).toEqual([`name=${text}`]);
    expect(values(["-r", text, "--root", text, `--root=${text}`])).toEqual(Array(3).fill(`root=${text}`));
    if (text !== "") expect(values([`-dr${text}`])).toEqual(["dry-run", `root=${text}`]);
  });

  it("behind an = also with a dash, and = inside", () => {
    expect(values(["--name=-0", "--root=--json", "--root=a=b", "-r=x"])).toEqual([
      "name=-0",
      "root=--json",
      "root=a=b",
      "root==x",
    ]);
    expect(values(["--name=a\nb"])).toEqual(["name=a\nb"]);
  });
});

describe("names", () => {
  it("that begin with no- are options, not negations", () => {
    expect(values(["--no-wait", "--wait", "3", "--no-upgrade"])).toEqual(["no-wait", "wait=3", "no-upgrade"]);
    expect(values(["--upgrade", "--no-json"])).toEqual(["upgrade", "no-json"]);
  });

  it("are known only as they are written", () => {
    for (const word of ["--dryRun", "--dry_run", "---json", "--name.first", "--__proto__", "--constructor"]) {
      const { options } = tokenize([word, "7"], SPECS);
      expect(options).toEqual([{ name: word.slice(2), rawName: word, value: undefined, index: 0 }]);
      expect(texts([word, "7"])).toEqual(["7"]);
    }
  });
});

describe("against the parser of the runtime", () => {
  const word = oneof(
    constantFrom(...NUMBERS),
    constantFrom("a", "-", "images", "--name", "--name=1e3", "--root=", "--json", "--json=1", "--no-wait", "--wait"),
    constantFrom(
      "-n",
      "-n5",
      "-dn",
      "-jd",
      "-djr",
      "-rn",
      "-x",
      "-dx7",
      "--nix",
      "--nix=7",
      "--no-json",
      "--dryRun",
      "-j5",
    ),
    string({ unit: "binary-ascii", minLength: 1 }).filter((text) => !/^-|\0/.test(text)),
    constant("--"),
  );

  it("splits any line the same way", () => {
    assert(
      property(array(word, { maxLength: 8 }), (words) => {
        const { tokens } = parseArgs({
          args: words,
          strict: false,
          allowPositionals: true,
          tokens: true,
          options: Object.fromEntries(
            SPECS.map(({ name, short, value }) => [
              name,
              {
                type: value === undefined ? "boolean" : "string",
                multiple: true,
                ...(short ? { short } : {}),
              } as const,
            ]),
          ),
        });
        // There a value is whatever follows; here a word with a dash is none: such lines are refused by both, later.
        pre(tokens.every((token) => token.kind !== "option" || token.inlineValue || !/^-./.test(token.value ?? "")));
        const ours = tokenize(words, SPECS);
        expect(ours.positionals).toEqual(
          tokens.flatMap((token) => (token.kind === "positional" ? [{ text: token.value, index: token.index }] : [])),
        );
        expect(ours.options).toEqual(
          tokens.flatMap((token) =>
            token.kind === "option"
              ? [{ name: token.name, rawName: token.rawName, value: token.value, index: token.index }]
              : [],
          ),
        );
      }),
      { numRuns: 3000 },
    );
  });
});
