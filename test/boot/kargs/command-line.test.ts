import { describe, expect, test } from "vitest";
import { type Algorithm } from "../../../src/bytes/algorithm.ts";
import {
  addOrModifyParameter,
  addParameter,
  type CommandLineEdit,
  equalCommandLines,
  extendCommandLine,
  findParameter,
  type Parameter,
  parametersStartingWith,
  parseParameters,
  removeExactParameter,
  removeParameter,
  sameForSoftReboot,
  splitCommandLine,
} from "../../../src/boot/kargs/command-line.ts";
import {
  checkUkiDigest,
  findComposefsArgument,
  listComposefsArguments,
  readComposefsArgument,
  renderComposefsArgument,
  setComposefsArgument,
} from "../../../src/boot/kargs/composefs-argument.ts";
import { ComposefsError } from "../../../src/error.ts";
import { bootCases, outcome } from "../boot-goldens.ts";

describe("goldens", () => {
  test.each(bootCases<{ cmdline: string; tokens: string[] }>("cmdline-split"))("split $cmdline", (c) => {
    expect(splitCommandLine(c.cmdline)).toEqual(c.tokens);
  });

  interface GoldenParameter {
    raw: string;
    key: string;
    value: string | null;
  }
  interface Step {
    do: string;
    arg: string;
    result: unknown;
    after: string;
  }
  const plain = (parameter: Parameter | undefined): GoldenParameter | null =>
    parameter ? { ...parameter, value: parameter.value ?? null } : null;
  const steps: Record<string, (line: string, arg: string) => CommandLineEdit<unknown>> = {
    find: (line, arg) => ({ line, result: plain(findParameter(line, arg)) }),
    prefix: (line, arg) => ({ line, result: parametersStartingWith(line, arg).map(plain) }),
    add: addParameter,
    add_or_modify: addOrModifyParameter,
    remove: removeParameter,
    remove_exact: removeExactParameter,
    extend: (line, arg) => ({ line: extendCommandLine(line, arg), result: null }),
    equals: (line, arg) => ({ line, result: equalCommandLines(line, arg) }),
  };
  test.each(bootCases<{ cmdline: string; params: GoldenParameter[]; steps: Step[] }>("cmdline-params"))(
    "parameters of $cmdline",
    (c) => {
      expect(parseParameters(c.cmdline).map(plain)).toEqual(c.params);
      let line = c.cmdline;
      for (const step of c.steps) {
        const edit = steps[step.do]!(line, step.arg);
        expect({ result: edit.result, after: edit.line }, `${step.do} ${step.arg}`).toEqual({
          result: step.result,
          after: step.after,
        });
        line = edit.line;
      }
    },
  );

  test.each(bootCases<{ a: string; b: string; expect: boolean }>("cmdline-same"))("same $a | $b", (c) => {
    expect(sameForSoftReboot(c.a, c.b)).toBe(c.expect);
    expect(sameForSoftReboot(c.b, c.a)).toBe(c.expect);
  });

  test.each(bootCases<{ cmdline: string; algorithm: Algorithm; expect: unknown }>("cmdline-karg"))(
    "argument of $algorithm in $cmdline",
    (c) => {
      const found = outcome(() => {
        const argument = findComposefsArgument(c.cmdline, c.algorithm);
        if (!argument) return null;
        const { version, digest, insecure } = argument;
        expect(argument.algorithm).toBe(c.algorithm);
        return { variant: `v${version}`, digest, insecure, rendered: renderComposefsArgument(argument) };
      });
      expect(found).toEqual(c.expect);
    },
  );

  test.each(bootCases<{ cmdline: string; expect: unknown }>("cmdline-karg-list"))("arguments in $cmdline", (c) => {
    const found = outcome(() =>
      listComposefsArguments(c.cmdline).map(({ digest, insecure }) => ({ digest, insecure })),
    );
    expect(found).toEqual(c.expect);
  });

  test.each(bootCases<{ cmdline: string; acceptable: string[]; expect: unknown }>("uki-digest-check"))(
    "UKI check of $cmdline",
    (c) => {
      expect(outcome(() => checkUkiDigest(c.cmdline, "sha256", c.acceptable))).toEqual(c.expect);
    },
  );
});

const A = "a1".repeat(32);
const B = "b2".repeat(32);
const C = "c3".repeat(64);

test("format 0 is spelled like format 1", () => {
  expect(renderComposefsArgument({ version: 0, digest: C, insecure: false })).toBe(
    `composefs.digest=v1-sha512-12:${C}`,
  );
});

test("messages name the source, the word and what was expected", () => {
  const error = (() => {
    try {
      findComposefsArgument(`rw composefs=${C}`, "sha256", "loader/entries/a.conf");
    } catch (caught) {
      return caught as ComposefsError;
    }
    return undefined;
  })();
  expect(error?.message).toMatch(
    /^loader\/entries\/a\.conf: "composefs=c3.*: the digest must have 64 \(sha256\) hex digits, not 128$/,
  );
  expect(error?.hint).toContain("composefs.digest=v1-sha512-12");
  const mismatch = (() => {
    try {
      checkUkiDigest(`composefs=${A}`, "sha256", [B], "u.efi");
    } catch (caught) {
      return caught as ComposefsError;
    }
    return undefined;
  })();
  expect(mismatch?.message).toBe(`u.efi boots the image ${A}, but this image is ${B}`);
});

test("the command line of a UKI may end in a NUL", () => {
  expect(checkUkiDigest(`rw composefs=${A}\0`, "sha256", [A])).toBe(A);
});

test("the tolerant reader passes over what is malformed or of another algorithm", () => {
  const read = (line: string) => readComposefsArgument(line, "sha256");
  expect(read("")).toBeUndefined();
  expect(read("composefs= composefs=?")).toBeUndefined();
  expect(read(`composefs.digest=v9-x composefs.digest=v1-sha512-12:${C} composefs.digest=?v2-sha256-12:${A}`)).toEqual({
    digest: A,
    insecure: true,
    source: "composefs.digest",
    version: 2,
  });
  expect(read(`composefs=?anything composefs.digest=v1-sha256-012:${A}`)).toEqual({
    digest: "anything",
    insecure: true,
    source: "composefs",
    version: undefined,
  });
  expect(read(`a="b composefs=${B}" composefs_x=${B} composefs=${A}`)?.digest).toBe(A);
});

test("setting the argument replaces every spelling by one, where the first was", () => {
  const set = (line: string) => setComposefsArgument(line, "composefs=new");
  expect(set("")).toBe("composefs=new");
  expect(set("rw\tquiet ")).toBe("rw\tquiet composefs=new");
  expect(set("rw\tquiet")).toBe("rw\tquiet composefs=new");
  expect(set(`rw  composefs.digest=v1-sha256-12:${A} "composefs=x" quiet composefs`)).toBe("rw composefs=new quiet");
  expect(set("rw  composefs=new")).toBe("rw  composefs=new");
  expect(set("rw  composefs=new composefs=new")).toBe("rw composefs=new");
  expect(set("composefs_digest=1 Composefs=2 xcomposefs=3")).toBe(
    "composefs_digest=1 Composefs=2 xcomposefs=3 composefs=new",
  );
});

test("a soft reboot ignores both spellings of the argument", () => {
  expect(sameForSoftReboot(`rw composefs.digest=v1-sha256-12:${A}`, `rw composefs.digest=v1-sha256-12:${B}`)).toBe(
    true,
  );
  expect(sameForSoftReboot("a=é", "a=ee")).toBe(false);
});

test("a line of a megabyte takes no time that grows with its square", () => {
  const line = Array.from({ length: 150_000 }, (_, index) => `k${index}=${index % 10}`).join(" ");
  const begin = performance.now();
  expect(extendCommandLine(line, line)).toBe(line);
  expect(equalCommandLines(line, line)).toBe(true);
  expect(setComposefsArgument(line, "composefs=x").length).toBe(line.length + 12);
  expect(performance.now() - begin).toBeLessThan(5000);
});
