// Status as YAML: fixed texts, and that every text comes back as it was.

import { assert, constantFrom, oneof, property, string } from "fast-check";
import { expect, test } from "vitest";
import type { JsonValue } from "../../src/deploy/canonical-json.ts";
import { hostStatus } from "../../src/deploy/host.ts";
import { yamlText } from "../../src/deploy/yaml.ts";
import { deployCases } from "./deploy-goldens.ts";
import { type GoldenState, sysrootState } from "./golden-state.ts";

test("maps, lists and texts have their usual form", () => {
  const value = {
    kind: "BootcHost",
    empty: [[], {}, ""],
    none: null,
    left: undefined,
    list: [{ a: true, b: { c: 1 } }, ["x", ["y"]], "z"],
    "a b": "no",
  };
  expect(yamlText(value)).toBe(`kind: BootcHost
empty:
- []
- {}
- ""
none: null
list:
- a: true
  b:
    c: 1
- - x
  - - "y"
- z
"a b": "no"
`);
  expect(yamlText([])).toBe("[]\n");
});

test.each(deployCases<GoldenState>("status"))("every member of the document has its line: $name", ({ input }) => {
  const host = hostStatus(sysrootState(input)).host as unknown as JsonValue;
  expect(fromLines(yamlText(host))).toEqual(JSON.parse(JSON.stringify(host)));
});

test("a text is bare only where nothing else can be meant", () => {
  const words = [
    "true",
    "No",
    "null",
    "~",
    "1.0",
    "0x1",
    "2025-03-01T10:00:00Z",
    "a: b",
    "a:",
    "a #b",
    "- a",
    "",
    " a",
  ];
  for (const word of words) expect(yamlText(word)).toBe(`${JSON.stringify(word)}\n`);
  for (const word of ["amd64", "sha256:ab01", "q.x/os:1", "grub-cc"]) expect(yamlText(word)).toBe(`${word}\n`);
  assert(
    property(oneof(string(), string({ unit: "binary" }), constantFrom(...words)), (text) => {
      const line = yamlText(text).slice(0, -1);
      return /[\n\u0085\u2028\u2029]/.test(line) ? false : (line.startsWith('"') ? JSON.parse(line) : line) === text;
    }),
  );
});

// Reads what is written here; an independent reader (PyYAML) gave the same for all goldens.
function fromLines(text: string): unknown {
  const lines = text.split("\n").slice(0, -1);
  let at = 0;
  const scalar = (word: string): unknown => (/^(?:["[{]|true$|false$|null$|\d+$)/.test(word) ? JSON.parse(word) : word);
  const depth = (line: string) => /^ */.exec(line)?.[0].length ?? 0;
  function value(indent: number): unknown {
    const line = lines[at] ?? "";
    if (line.slice(indent).startsWith("- ")) {
      const list: unknown[] = [];
      while (
        at < lines.length &&
        depth(lines[at] ?? "") === indent &&
        (lines[at] ?? "").slice(indent).startsWith("- ")
      ) {
        lines[at] = `${" ".repeat(indent + 2)}${(lines[at] ?? "").slice(indent + 2)}`;
        list.push(value(indent + 2));
      }
      return list;
    }
    const map: Record<string, unknown> = {};
    while (
      at < lines.length &&
      depth(lines[at] ?? "") === indent &&
      !(lines[at] ?? "").slice(indent).startsWith("- ")
    ) {
      const [, key = "", rest = ""] = /^ *([\w-]+):(?: (.*))?$/.exec(lines[at++] ?? "") ?? [];
      if (rest !== "") map[key] = scalar(rest);
      else map[key] = value((lines[at] ?? "").trimStart().startsWith("- ") ? indent : indent + 2);
    }
    return map;
  }
  return value(0);
}
