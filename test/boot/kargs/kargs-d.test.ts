import { describe, expect, test } from "vitest";
import { imageKargs, parseKargsFile, updateKargs } from "../../../src/boot/kargs/kargs-d.ts";
import { ComposefsError } from "../../../src/error.ts";

function failure(text: string): { message: string; line: number | undefined } {
  try {
    parseKargsFile(text, "kargs.d/a.toml");
  } catch (error) {
    if (error instanceof ComposefsError && error.code === "invalid" && error.path === "kargs.d/a.toml")
      return { message: error.message, line: error.line };
    throw error;
  }
  throw new Error("no error");
}

describe("files", () => {
  test("in byte order, by machine, each argument once", () => {
    const files = [
      { name: "20-b.toml", text: 'kargs = ["b", "a=1"]' },
      { name: "10-a.toml", text: 'kargs = ["a=1 quoted=\\"x y\\"", "c"]\nmatch-architectures = ["x86_64"]\n' },
      { name: "15-arm.toml", text: 'kargs = ["arm"]\nmatch-architectures = ["aarch64"]\n' },
      { name: "30.toml.bak", text: "not TOML" },
      { name: "\xff.toml", text: "kargs = []" },
    ];
    expect(imageKargs(files, "x86_64")).toBe('a=1 quoted="x y" c b');
    expect(imageKargs(files, "aarch64")).toBe("arm b a=1");
    expect(imageKargs([], "x86_64")).toBe("");
  });

  test("what is wrong is named with file and line", () => {
    expect(failure('kargs = ["a",\nb]').line).toBe(2);
    expect(failure("kargs = []\nkarg = []\n")).toEqual({
      message: 'kargs.d/a.toml, line 2: unknown key "karg"',
      line: 2,
    });
    expect(failure('kargs = ["a"]\n\n[table]\nx = 1\n').line).toBe(3);
    expect(failure("\nkargs = 'a'").message).toBe('kargs.d/a.toml, line 2: "kargs" must be a list of strings');
    expect(failure("kargs = [1]").line).toBe(1);
    expect(failure('match-architectures = ["x86_64"]').message).toBe('kargs.d/a.toml: the key "kargs" is missing');
    expect(failure(`kargs = ${"[".repeat(100_000)}`).message).toContain("kargs.d/a.toml");
    expect(failure("__proto__ = 1\nkargs=[]").message).toContain("kargs.d/a.toml");
  });
});

test("an update removes what only the old image had and adds what only the new one has", () => {
  expect(
    updateKargs("root=x rw mine mitigations=auto quiet composefs=d", "mitigations=auto quiet", "mitigations=off"),
  ).toBe("root=x rw mine composefs=d mitigations=off");
  expect(updateKargs("root=x", "", "a b a")).toBe("root=x a b");
  expect(updateKargs("root=x   a", "a", '"a"')).toBe("root=x   a");
  // Added by hand, but equal to what goes: it goes.
  expect(updateKargs("a=1 rw", "a=1", "")).toBe("rw");
});
