import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { trimWhiteSpace } from "../../src/bytes/white-space.ts";
import { OsRelease } from "../../src/boot/os-release.ts";
import { goldensDir } from "../goldens-dir.ts";

interface Case {
  readonly text: string;
  readonly expect: {
    readonly values: Record<string, string | null>;
    readonly name: string | null;
    readonly version: string | null;
    readonly label: string | null;
  };
}

const { cases } = JSON.parse(readFileSync(join(goldensDir("boot"), "os-release.json"), "utf8")) as { cases: Case[] };

describe("os-release", () => {
  it("has recorded cases", () => expect(cases.length).toBeGreaterThan(20));

  it.each(cases)("$text", ({ text, expect: expected }) => {
    const parsed = OsRelease.parse(text);
    const values = Object.fromEntries(Object.keys(expected.values).map((key) => [key, parsed.get(key) ?? null]));
    const { name, version, label } = parsed;
    expect({ values, name: name ?? null, version: version ?? null, label: label ?? null }).toEqual(expected);
  });

  it("reads long lines of spaces and quotes in linear time", () => {
    const begin = performance.now();
    const spaces = " ".repeat(1 << 20);
    expect(OsRelease.parse(`NAME=x${spaces}y${spaces}\nID="${'\\"'.repeat(1 << 19)}`).name).toBe(`x${spaces}y`);
    expect(performance.now() - begin).toBeLessThan(5000);
  });
});

describe("white space", () => {
  it("is that of Unicode, not JavaScript's", () => {
    expect(trimWhiteSpace("\u0085\u3000 a b\u2009\t\n")).toBe("a b");
    expect(trimWhiteSpace("\ufeffa\u200b")).toBe("\ufeffa\u200b");
    expect(trimWhiteSpace(" \n ")).toBe("");
  });
});
