// What people have at hand when a digest is not the expected one, and what is none of that.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseExpected } from "../../src/explain/expected.ts";
import { peFile } from "../fixtures/pe.ts";

const SHA256 = "0123456789abcdef".repeat(4);
const SHA512 = "fedcba9876543210".repeat(8);

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "composefs-expected-"));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function file(name: string, content: string | Uint8Array): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

const found = async (text: string) =>
  (await parseExpected(text)).map(({ digest, algorithm, format, source }) => [source, algorithm, format, digest]);
const failure = async (text: string, labelOf?: (name: string) => Promise<string | undefined>) => {
  try {
    await parseExpected(text, { labelOf });
  } catch (error) {
    return (error as Error).message;
  }
  return undefined;
};

describe("an expected digest", () => {
  it("is a digest in any case, with or without the name of its hash", async () => {
    for (const text of [
      SHA256,
      SHA256.toUpperCase(),
      `sha256:${SHA256}`,
      `fsverity-sha256-12:${SHA256}`,
      ` ${SHA256}\n`,
    ])
      expect(await found(text)).toEqual([["digest", "sha256", undefined, SHA256]]);
    expect(await found(SHA512)).toEqual([["digest", "sha512", undefined, SHA512]]);
    expect(await failure(`sha512:${SHA256}`)).toContain("no sha512 digest: it has 64 digits");
  });

  it("is in a command line, of either form, secure or not", async () => {
    expect(await found(`ro composefs=${SHA512} quiet`)).toEqual([["command line", "sha512", 2, SHA512]]);
    expect(await found(`composefs=?${SHA256}`)).toEqual([["command line", "sha256", 2, SHA256]]);
    expect(await found(`composefs.digest=v1-sha256-12:${SHA256} composefs=${SHA512}`)).toEqual([
      ["command line", "sha256", 1, SHA256],
      ["command line", "sha512", 2, SHA512],
    ]);
    expect(await failure("composefs=12")).toContain("12");
  });

  it("is in a file: a command line, a boot entry, a digest, a UKI", async () => {
    expect(await found(file("cmdline", `ro composefs=${SHA512}\n`))).toEqual([["command line", "sha512", 2, SHA512]]);
    const entry = `title x\nversion 1\nlinux /vmlinuz\noptions ro composefs.digest=?v1-sha512-12:${SHA512}\n`;
    expect(await found(file("a.conf", entry))).toEqual([["boot entry", "sha512", 1, SHA512]]);
    expect(await found(file("digest", `${SHA256}\n`))).toEqual([["digest", "sha256", undefined, SHA256]]);
    const uki = peFile([
      [".linux", "kernel"],
      [".cmdline", `composefs=${SHA512}\0`],
    ]);
    expect(await found(file("os.efi", uki))).toEqual([["uki", "sha512", 2, SHA512]]);
    expect(await failure(file("none.efi", peFile([[".cmdline", "quiet"]])))).toContain("names no composefs image");
    expect(await failure(file("noise", new Uint8Array([1, 0, 2])))).toContain("neither a UKI nor a text");
    expect(await failure(file("text", "hello\n"))).toContain("names no composefs image");
  });

  it("is the label of a tag; trees are no digests but things to compare", async () => {
    expect(await parseExpected("os:v1", { labelOf: async () => SHA512 })).toEqual([
      { digest: SHA512, algorithm: "sha512", format: undefined, source: "label" },
    ]);
    expect(await parseExpected("os:v1", { labelOf: async () => "" })).toEqual([]);
    expect(await failure("os:v1", async () => "word")).toContain("is no digest: word");
    expect(await found(directory)).toEqual([]);
    expect(await found(file("a.dump", "/ 0 40755 2 0 0 0 0.0 - - -\n"))).toEqual([]);
    expect(await failure("nothing")).toContain('"nothing" is nothing that names an expected digest');
  });
});
