// The regular expressions of file_contexts: what cfsctl made of 180 of them (dialect.json), the engine of JavaScript as an oracle for
// random ones, and policies that are made to be slow (docs/spec/boot.md, section 3.4).

import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { utf8ByteString } from "../../../src/bytes/byte-string.ts";
import { Matcher, type Rule } from "../../../src/boot/selinux/matcher.ts";
import { Work } from "../../../src/boot/selinux/work.ts";
import { ComposefsError } from "../../../src/error.ts";
import recorded from "./dialect.json" with { type: "json" };

const rule = (regex: string, line = 1, type?: string): Rule => ({
  regex: utf8ByteString(regex),
  type,
  context: `u:${line}`,
  file: "/file_contexts",
  line,
});

function lookup(matcher: Matcher, path: string, type = "-"): number | undefined {
  return matcher.lookup(matcher.walk(matcher.start, path), path, type)?.line;
}

const matches = (regex: string, path: string, type = "-") => lookup(new Matcher([rule(regex)]), path, type) === 1;

describe("as cfsctl reads them", () => {
  it("are many", () => expect(recorded.cases.length).toBeGreaterThan(150));

  it.each(recorded.cases)("$regex", ({ regex, names, refused }) => {
    if (refused) {
      expect(() => new Matcher([rule(`/t/${regex}`)])).toThrow(
        expect.objectContaining({ reason: "selinux-bad-regex", path: "/file_contexts", line: 1 }) as Error,
      );
      return;
    }
    const matcher = new Matcher([rule(`/t/${regex}`)]);
    expect(recorded.names.filter((name) => lookup(matcher, `/t/${name}`) !== undefined).toSorted()).toEqual(
      names?.toSorted(),
    );
  });

  it("accepts nothing that cfsctl refuses", () => {
    expect(recorded.cases.filter(({ names, refused }) => names === null && !refused)).toEqual([]);
  });
});

/** Expressions that mean the same to JavaScript. */
const { expression: expressions } = fc.letrec<{ expression: string; atom: string }>((tie) => ({
  expression: fc.oneof(
    { maxDepth: 4, depthSize: "small" },
    tie("atom"),
    fc.array(tie("expression"), { minLength: 1, maxLength: 4 }).map((parts) => parts.join("")),
    fc.array(tie("expression"), { minLength: 1, maxLength: 3 }).map((parts) => `(${parts.join("|")})`),
    fc
      .tuple(tie("expression"), fc.constantFrom("*", "+", "?", "{0,2}", "{2}", "{1,}", "*?"))
      .map(([body, count]) => `(?:${body})${count}`),
  ),
  atom: fc.constantFrom(
    "a",
    "b",
    "/",
    ".",
    "[ab]",
    "[^a]",
    "[^/]",
    "\\.",
    "\\w",
    "\\D",
    "x*",
    "[a-b/]+",
    ".*",
    "(/.*)?",
    "^",
    "$",
  ),
}));
const looks = fc
  .tuple(expressions, fc.constantFrom("(?=", "(?!", "\\b", "\\B"), expressions, expressions)
  .map(([before, look, inside, after]) =>
    look.startsWith("(") ? `${before}${look}${inside})${after}` : `${before}${look}${after}`,
  );
const subjects = fc.string({ unit: fc.constantFrom("a", "b", "/", ".", "-", "x"), maxLength: 8 });

/** Whether JavaScript's engine, which backtracks, is sure to end soon. */
const isTame = (regex: string) => regex.length < 60 && (regex.match(/[*+]|\{/g) ?? []).length <= 5;

const oracle = (regex: string, type: string | undefined) =>
  // `$` never matches, because the type byte is still to come; JavaScript agrees.
  new RegExp(`^(?:${regex})${type === undefined ? "." : type}$`, "s");

describe("random expressions", () => {
  it("match what they match in JavaScript", () => {
    fc.assert(
      fc.property(fc.oneof(expressions, looks), fc.array(subjects, { maxLength: 12 }), (regex, paths) => {
        fc.pre(isTame(regex));
        const matcher = new Matcher([rule(regex)]);
        const expected = oracle(regex, undefined);
        for (const path of paths)
          expect([path, lookup(matcher, path) === 1]).toEqual([path, expected.test(`${path}-`)]);
      }),
      { numRuns: 1500, seed: 1 },
    );
  });

  it("are decided by the last one, whatever is kept of the automaton", () => {
    const rules = fc.array(
      fc.tuple(fc.oneof({ weight: 5, arbitrary: expressions }, looks), fc.constantFrom(undefined, "-", "d", "l")),
      { minLength: 1, maxLength: 12 },
    );
    fc.assert(
      fc.property(rules, fc.array(subjects, { maxLength: 30 }), (all, paths) => {
        fc.pre(all.every(([regex]) => isTame(regex)));
        const list = all.map(([regex, type], i) => rule(regex, i + 1, type));
        const matchers = [new Matcher(list), new Matcher(list, new Work(), 2000)];
        const expected = all.map(([regex, type]) => oracle(regex, type));
        for (const path of paths) {
          for (const type of ["-", "d"]) {
            const last = expected.findLastIndex((regex) => regex.test(path + type)) + 1;
            for (const matcher of matchers) expect([path, lookup(matcher, path, type) ?? 0]).toEqual([path, last]);
          }
        }
      }),
      { numRuns: 500, seed: 2 },
    );
  });

  it("of any text are read or refused with file and line, and never anything else", () => {
    const text = fc.string({
      unit: fc.constantFrom(..."ab/.*+?|()[]{}^$\\-,:=!<>&~123iPQkxs#".split("")),
      maxLength: 24,
    });
    fc.assert(
      fc.property(text, subjects, (regex, path) => {
        try {
          lookup(new Matcher([rule(regex)]), path);
        } catch (error) {
          expect(error).toMatchObject({ reason: "selinux-bad-regex", path: "/file_contexts", line: 1 });
        }
      }),
      { numRuns: 5000, seed: 3 },
    );
  });
});

describe("back references", () => {
  it.each([
    ["(?<x>a+)/\\k<x>", "aa/aa", true],
    ["(?<x>a+)/\\k<x>", "aa/a", false],
    ["(?P<x>a|b)+(?P=x)", "abb", true],
    ["(?P<x>a|b)+(?P=x)", "aab", false],
    ["(?:(?<x>a)|b)\\k<x>", "b", false],
    ["(?=(?<x>a+))a*b\\k<x>", "aabaa", true],
    ["(?!(?<x>b))a(?<y>.)\\k<y>", "acc", true],
    ["(?i)(?<x>a)\\k<x>", "aA", true],
    ["(?<x>a*)*\\k<x>b", "aab", true],
    ["(?<x>a)(?<=a)\\k<x>", "aa", true],
    ["(?<x>a{2,3}?)\\k<x>", "aaaaaa", true],
  ])("%s and %s: %s", (regex, path, expected) => expect(matches(regex, path)).toBe(expected));

  it("cannot make it hang", () => {
    const matcher = new Matcher([rule("(?<x>a*)*(a*)*\\k<x>c")], new Work(20_000_000));
    expect(() => lookup(matcher, "a".repeat(40))).toThrow(expect.objectContaining({ code: "limit" }) as Error);
    const deep = new Matcher([rule("(?<x>a)(.*)\\k<x>")]);
    expect(() => lookup(deep, "a".repeat(100_000))).toThrow(expect.objectContaining({ code: "limit" }) as Error);
  });
});

describe("hostile policies", () => {
  const within = (limitMs: number, work: () => void) => {
    const start = performance.now();
    work();
    expect(performance.now() - start).toBeLessThan(limitMs);
  };

  it.each([
    ["(a+)+b", "a".repeat(4000)],
    ["(a|aa)+$", "a".repeat(4000)],
    ["(.*)*(.*)*(.*)*x", "y".repeat(4000)],
    ["(?=(a+)+b).*|(?=(a+)+c).*", "a".repeat(4000)],
    [".*(?<=a{100}).*", "a".repeat(4000)],
    ["(a?){1000}a{1000}", "a".repeat(1000)],
  ])("%s takes linear time", (regex, path) => within(3000, () => matches(regex, path)));

  it.each([
    ["((a{1000}){1000}){1000}", /too large/],
    ["(((){65535}){65535}){65535}", /too large/],
    ["a{65536}", /65535/],
    ["(".repeat(100_000), /nested deeper/],
    [`${"(".repeat(300)}a${")".repeat(300)}`, /nested deeper/],
    ["[".repeat(100_000), /different engines/],
  ])("%s is refused", (regex, message) => within(3000, () => expect(() => matches(regex, "a")).toThrow(message)));

  it("of many rules that all stay possible end with an error", () => {
    const rules = Array.from({ length: 3000 }, (_, i) => rule(`.*${i}.*[0-9]+.*`, i + 1, "-"));
    const matcher = new Matcher(rules, new Work(20_000_000));
    within(15_000, () => {
      expect(() => {
        for (let i = 0; i < 100_000; i++) lookup(matcher, `/${i * 7919}/${i * 104_729}`);
      }).toThrow(expect.objectContaining({ code: "limit", path: "/etc/selinux" }) as Error);
    });
  });
});

it("a refusal names what was expected and what to do", () => {
  const error = (() => {
    try {
      return new Matcher([rule("/ok"), rule("/a(", 7)]);
    } catch (thrown) {
      return thrown;
    }
  })() as ComposefsError;
  expect(error.message).toBe('/file_contexts, line 7: the regular expression "/a(": "(" without ")"');
  expect(error.hint).toContain("correct the line");
});
