// The user's signing command: how its words are read, and what its failures say.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { checkSigningCommand, commandWords, runSigningCommand, signsElsewhere } from "../../src/seal/sign.ts";

const work = mkdtempSync(join(tmpdir(), "sign-test-"));
afterAll(() => rmSync(work, { recursive: true }));
const input = join(work, "with space $(id).efi");
const output = join(work, "out.efi");
beforeEach(() => writeFileSync(input, "the image"));

describe("words", () => {
  it.each<[string, string[]]>([
    ["sbsign --output {out} {in}", ["sbsign", "--output", "{out}", "{in}"]],
    ["  a\tb\n", ["a", "b"]],
    [`a 'b c' "d e" f\\ g`, ["a", "b c", "d e", "f g"]],
    [`--key=pkcs11:'object=a;b'x ""`, ["--key=pkcs11:object=a;bx", ""]],
    [`'\\' "\\"" $HOME *`, ["\\", '"', "$HOME", "*"]],
  ])("of %j", (text, words) => expect(commandWords(text)).toEqual(words));

  it.each(["a 'b", 'a "b', "a \\"])("of %j are an error", (text) => {
    expect(() => commandWords(text)).toThrow("cannot be used");
  });
});

describe("a signing command", () => {
  it.each([
    ["", false],
    [" ", true],
    ["sbsign --key k", false],
    ["sbsign $IN", false],
  ])("%j is refused before any work", (text, shell) => {
    expect(() => checkSigningCommand({ text, shell })).toThrow(expect.objectContaining({ code: "usage" }));
  });

  it("says where the result is", () => {
    expect(signsElsewhere({ text: "x {in} {out}", shell: false })).toBe(true);
    expect(signsElsewhere({ text: "x {in}", shell: false })).toBe(false);
    expect(signsElsewhere({ text: 'x < "$IN" > "$OUT"', shell: true })).toBe(true);
    expect(signsElsewhere({ text: "x $OUT {in}", shell: false })).toBe(false);
  });

  it("gets its files as words, whatever they are called", async () => {
    expect(await runSigningCommand({ text: "cp {in} {out}", shell: false }, input, output)).toBe("");
    expect(readFileSync(output, "utf8")).toBe("the image");
  });

  it("gets them safely in a shell too", async () => {
    for (const text of ["cat {in} > {out}; echo said", 'cat < "$IN" > "$OUT"; echo said']) {
      expect(await runSigningCommand({ text, shell: true }, input, output)).toBe("said\n");
      expect(readFileSync(output, "utf8")).toBe("the image");
    }
  });

  it("that fails says why", async () => {
    const run = (text: string, shell = false) => runSigningCommand({ text, shell }, input, output);
    await expect(run("cp {in} /dev/null/x")).rejects.toMatchObject({
      code: "io",
      message: expect.stringMatching(/status 1: .*null/),
    });
    await expect(run("no-such-signer {in}")).rejects.toMatchObject({
      code: "not-found",
      message: expect.stringContaining("no-such-signer"),
    });
    await expect(run("kill -9 $$; {in}", true)).rejects.toMatchObject({ message: expect.stringContaining("SIGKILL") });
    await expect(run("head -c 100000 /dev/zero | tr '\\0' x; exit 3 # {in}", true)).rejects.toMatchObject({
      message: expect.stringMatching(/^.{0,5000}$/s),
    });
  });

  it("is stopped with the caller", async () => {
    // The shell of the second one does not become its last program: that lives on for a while, and is not waited for.
    for (const text of ["sleep 60 # {in}", "sleep 8; true # {in}"]) {
      const stop = new AbortController();
      const begin = performance.now();
      const running = runSigningCommand({ text, shell: true }, input, output, stop.signal);
      setTimeout(() => stop.abort(), 50);
      await expect(running).rejects.toMatchObject({ code: "aborted" });
      expect(performance.now() - begin).toBeLessThan(6000);
    }
  });
});
