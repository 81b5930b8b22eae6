// Entries, user.cfg, kernel command lines and kargs.d that something damaged or made up (docs/spec/boot.md, section 15): each mutation
// gives a result or an error of the section with its file, in time that does not grow with the square of the size.

import * as fc from "fast-check";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  addOrModifyParameter,
  addParameter,
  extendCommandLine,
  findParameter,
  parseParameters,
  splitCommandLine,
} from "../../src/boot/kargs/command-line.ts";
import {
  checkUkiDigest,
  findComposefsArgument,
  listComposefsArguments,
  readComposefsArgument,
  renderComposefsArgument,
  setComposefsArgument,
} from "../../src/boot/kargs/composefs-argument.ts";
import { entryArtifact, entryDigest, parseBootEntry, writeBootEntry } from "../../src/boot/entry/bls.ts";
import {
  grubEntryArtifact,
  grubEntryDigest,
  parseGrubConfig,
  writeGrubConfig,
} from "../../src/boot/entry/grub-config.ts";
import { addEntryArgument, setEntryComposefsArgument, splitEntryLines } from "../../src/boot/entry/lines.ts";
import { classifyEntry } from "../../src/boot/entry/menu.ts";
import { compareRpmVersions, compareVersions } from "../../src/boot/entry/version.ts";
import { parseKargsFile } from "../../src/boot/kargs/kargs-d.ts";
import { ComposefsError } from "../../src/error.ts";
import { goldensDir } from "../goldens-dir.ts";

const seed = Number(process.env["COMPOSEFS_BOOT_SEED"] ?? Date.now() % 1_000_000);
const RUNS = { numRuns: 3000, seed };

/** Texts of the goldens, to be damaged. */
function recorded(kind: string, key: string): string[] {
  const { cases } = JSON.parse(readFileSync(join(goldensDir("boot"), `${kind}.json`), "utf8")) as {
    cases: Record<string, string>[];
  };
  return cases.map((c) => c[key] ?? "");
}

const PIECES = [
  ...Array.from("\0\t\n\r\f\v \"'\\#={}:?-_~^.%$"),
  "\u00a0",
  "\ufeff",
  "\ud800",
  "options ",
  "linux /a/b\n",
  "efi /x.efi\n",
  "version 1\n",
  "menuentry ",
  "composefs=",
  "composefs.digest=",
  "v1-sha512-12:",
  "a1".repeat(32),
  "a1".repeat(64),
];

/** A text and some damage: bytes cut out, doubled, exchanged for pieces of syntax. */
function damaged(texts: readonly string[]): fc.Arbitrary<string> {
  const damage = fc.record({
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    cut: fc.nat(20),
    piece: fc.constantFrom("", ...PIECES),
  });
  return fc.tuple(fc.constantFrom(...texts), fc.array(damage, { minLength: 1, maxLength: 6 })).map(([text, all]) =>
    all.reduce((now, { at, cut, piece }) => {
      const from = Math.floor(at * now.length);
      return now.slice(0, from) + piece + now.slice(from + cut);
    }, text),
  );
}

/** The result, or undefined for an error that has one of the reasons and names the file. */
function expected<T>(reasons: readonly (string | undefined)[], path: string | undefined, call: () => T): T | undefined {
  try {
    return call();
  } catch (error) {
    if (!(error instanceof ComposefsError)) throw error;
    expect(["invalid", "digest-mismatch"]).toContain(error.code);
    expect(reasons).toContain(error.reason);
    if (path !== undefined) {
      expect(error.path).toBe(path);
      expect(error.message.startsWith(path)).toBe(true);
    }
    expect(error.message.length).toBeLessThan(2000);
    return undefined;
  }
}

const KARG = ["karg-bad-descriptor", "karg-bad-version", "karg-bad-blocksize", "karg-bad-algorithm", "karg-bad-digest"];

describe(`mutations, COMPOSEFS_BOOT_SEED=${seed}`, () => {
  test("of entries", () => {
    const check = (text: string) => {
      const path = "loader/entries/x.conf";
      const entry = expected(["bls-no-version", "bls-no-target", "bls-two-targets"], path, () =>
        parseBootEntry(text, path),
      );
      expect(["deployment", "foreign", "broken"]).toContain(classifyEntry({ name: "x.conf", text }).kind);
      if (entry === undefined) return;
      expected(["no-options", "no-karg", "no-prefix", "no-efi-suffix"], undefined, () => entryDigest(entry));
      expected(["no-file-name", "no-efi-suffix"], undefined, () => entryArtifact(entry));
      const written = expected([undefined], undefined, () => writeBootEntry(entry));
      // What was written says the same; but for a title or an option that is empty, which is no line.
      if (written !== undefined) expect(writeBootEntry(parseBootEntry(written))).toBe(written);
    };
    fc.assert(fc.property(damaged(recorded("bls-parse", "text")), check), RUNS);
  });

  test("of the lines of entries", () => {
    const check = (text: string) => {
      const lines = splitEntryLines(text);
      const argument = `composefs=${"a1".repeat(32)}`;
      const set = setEntryComposefsArgument(lines, argument);
      expect(set.join("\n").split(argument).length - 1).toBeGreaterThanOrEqual(1);
      // A quote that is not closed swallows what is added: the planner refuses that.
      if (text.includes('"')) return;
      expect(setEntryComposefsArgument(set, argument)).toEqual(set);
      expect(addEntryArgument(addEntryArgument(lines, "k=1"), "k=1").length).toBe(
        addEntryArgument(lines, "k=1").length,
      );
    };
    fc.assert(fc.property(damaged(recorded("entry-add-cmdline", "content")), check), RUNS);
  });

  test("of user.cfg", () => {
    const check = (text: string) => {
      const entries = expected(["grub-syntax"], "grub2/user.cfg", () => parseGrubConfig(text, "grub2/user.cfg"));
      for (const entry of entries ?? []) {
        expected(["empty-path", "no-prefix", "no-efi-suffix"], undefined, () => grubEntryDigest(entry));
        expected(["no-file-name", "no-efi-suffix"], undefined, () => grubEntryArtifact(entry));
      }
      if (entries !== undefined) expected(["grub-syntax"], undefined, () => parseGrubConfig(writeGrubConfig(entries)));
    };
    fc.assert(fc.property(damaged(recorded("grub-parse", "text")), check), RUNS);
  });

  test("of command lines", () => {
    const check = (line: string) => {
      expect(splitCommandLine(line).join(" ").length).toBe(line.length);
      for (const algorithm of ["sha256", "sha512"] as const) {
        const found = expected(KARG, undefined, () => findComposefsArgument(line, algorithm));
        if (found) expect(findComposefsArgument(renderComposefsArgument(found), algorithm)).toEqual(found);
        expect(readComposefsArgument(line, algorithm)?.digest).not.toBe("");
        expected([...KARG, "uki-no-karg", "uki-digest-mismatch"], undefined, () => checkUkiDigest(line, algorithm, []));
      }
      expected(KARG, undefined, () => listComposefsArguments(line));
      const parameters = parseParameters(line);
      for (const { raw, key } of parameters) {
        expect(findParameter(line, key)).toBeDefined();
        expect(addParameter(line, raw)).toEqual({ line, result: "existed" });
      }
      expect(extendCommandLine(line, line)).toBe(line);
      const set = setComposefsArgument(line, "composefs=new");
      const balanced = (line.split('"').length - 1) % 2 === 0;
      if (balanced) expect(parseParameters(set).filter(({ key }) => key === "composefs").length).toBe(1);
      expect(addOrModifyParameter("a", line).line.startsWith("a")).toBe(
        parameters[0]?.key !== "a" || parameters[0].raw.startsWith("a"),
      );
    };
    fc.assert(
      fc.property(damaged([...recorded("cmdline-karg", "cmdline"), ...recorded("cmdline-params", "cmdline")]), check),
      RUNS,
    );
  });

  test("of kargs.d", () => {
    const texts = [
      'kargs = ["a=1", "b"]\nmatch-architectures = ["x86_64"]\n',
      'kargs = [\n  "quoted=\\"x y\\"",\n]\n',
      "kargs = []",
    ];
    const check = (text: string) => {
      expected([undefined], "kargs.d/x.toml", () => parseKargsFile(text, "kargs.d/x.toml"));
    };
    fc.assert(fc.property(damaged(texts), check), RUNS);
  });

  test("of versions", () => {
    const version = damaged(recorded("version-compare", "a"));
    const check = (a: string, b: string) => {
      for (const compare of [compareVersions, compareRpmVersions]) expect(compare(a, b)).toBe(0 - compare(b, a));
    };
    fc.assert(fc.property(version, version, check), RUNS);
  });
});

describe("a megabyte of one thing takes about a second at most", () => {
  const size = 1 << 20;
  const CASES: [string, () => unknown][] = [
    ["keys of an entry", () => parseBootEntry(`version 1\nlinux /a\n${"x y\n".repeat(size / 4)}`)],
    [
      "distinct keys",
      () => parseBootEntry(`version 1\nlinux /a\n${Array.from({ length: size / 8 }, (_, i) => `k${i} v\n`).join("")}`),
    ],
    ["white space in an entry", () => parseBootEntry(`version 1\nlinux /a${" ".repeat(size)}x`)],
    [
      "options",
      () => classifyEntry({ name: "x", text: `version 1\nlinux /a/b\n${"options composefs=\n".repeat(size / 19)}` }),
    ],
    ["a path", () => classifyEntry({ name: "x", text: `version 1\nefi ${"/a".repeat(size / 2)}` })],
    ["braces", () => outcome(() => parseGrubConfig(`menuentry "a" ${"{".repeat(size)}`))],
    ["entries on one line", () => parseGrubConfig('menuentry "a" {}'.repeat(size / 16))],
    ["words in a comment", () => parseGrubConfig(`#${"menuentry ".repeat(size / 10)}`)],
    ["comments", () => parseGrubConfig("#menuentry\n".repeat(size / 11))],
    ["white space before the title", () => outcome(() => parseGrubConfig(`menuentry${" ".repeat(size)}`))],
    ["quotes", () => parseParameters('"'.repeat(size))],
    ["words", () => setComposefsArgument("composefs=a ".repeat(size / 12), "composefs=b")],
    [
      "words of an entry",
      () => setEntryComposefsArgument([`options ${"composefs=a ".repeat(size / 12)}`], "composefs=b"),
    ],
    ["descriptors", () => findComposefsArgument(`composefs.digest=v1-sha256-12: `.repeat(size / 32), "sha512")],
    ["a descriptor", () => outcome(() => findComposefsArgument(`composefs.digest=v1-${"-".repeat(size)}`, "sha512"))],
    ["digits", () => compareVersions("0".repeat(size), `${"0".repeat(size)}1`)],
    ["letters and digits", () => compareRpmVersions("a1".repeat(size / 2), `${"a1".repeat(size / 2)}x`)],
    ["an array of kargs.d", () => outcome(() => parseKargsFile(`kargs = [${'"a",'.repeat(size / 4)}`, "x"))],
  ];
  test.each(CASES)("%s", (_, call) => {
    const begin = performance.now();
    call();
    // Ten times what it takes: a busy machine must not fail it, the square of the size must.
    expect(performance.now() - begin).toBeLessThan(5000);
  });
});

function outcome(call: () => unknown): ComposefsError {
  try {
    call();
  } catch (error) {
    if (error instanceof ComposefsError) return error;
    throw error;
  }
  throw new Error("there was no error");
}
