// `mkcomposefs`: the C tool's options, messages and exit statuses, and images equal to the recorded ones.

import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parseMkcomposefs } from "../../src/cli/mkcomposefs-options.ts";
import { goldensDir } from "../goldens-dir.ts";
import { MKCOMPOSEFS, run, temporaryDirectory } from "./program.ts";

const directory = temporaryDirectory();
const goldens = goldensDir("erofs");
const mkcomposefs = async (words: string[], input?: string | Uint8Array) =>
  run(words, { program: MKCOMPOSEFS, ...(input === undefined ? {} : { input }) });

interface Variant {
  size: number;
  sha256: string;
  fsverity_sha256: string;
  error?: string;
}
const { files } = JSON.parse(readFileSync(join(goldens, "index.json"), "utf8")) as {
  files: Record<string, { hash?: string; variants?: Record<string, Variant> }>;
};
const good = Object.entries(files).filter(
  ([name, { variants }]) =>
    variants?.["v0"]?.fsverity_sha256 !== undefined && variants["v1"]?.sha256 !== undefined && !name.startsWith("bad-"),
);

describe("options", () => {
  const request = (...words: string[]) => parseMkcomposefs(words);

  it("stand anywhere, with = or a blank, abbreviated when unique", () => {
    const expected = { source: "in", image: "out", printDigest: true, json: false, minVersion: 1, maxVersion: 1 };
    expect(request("--from-file", "in", "out", "--print-digest", "--min-version=1")).toEqual(expected);
    expect(request("in", "--min-v", "1", "--print-digest", "--fr", "out")).toEqual(expected);
    expect(request("--from-file", "--", "-x", "--y")).toMatchObject({ source: "-x", image: "--y" });
    expect(request("--from-file", "-", "--print-digest-only")).toMatchObject({ source: "-", image: undefined });
  });

  it.each([
    [[], 0, 1],
    [["--min-version=0"], 0, 0],
    [["--max-version=1"], 0, 1],
    [["--max-version=0"], 0, 0],
    [["--min-version=1"], 1, 1],
    [["--min-version=1", "--max-version=0"], 1, 1],
  ])("versions: %j", (words, minVersion, maxVersion) => {
    expect(request("--from-file", "a", "b", ...words)).toMatchObject({ minVersion, maxVersion });
  });

  it.each([
    [[], "No source path specified"],
    [["", "b"], "Empty source path specified"],
    [["a"], "No destination path specified"],
    [["a", "b", "c"], "Too many arguments"],
    [["a", "b", "--print-digest-only"], "Cannot specify destination path with --print-digest-only"],
    [["a", "b", "--threads"], "option --threads needs a value"],
    [["a", "b", "--threads=0"], "Invalid threads count 0"],
    [["a", "b", "--min-version=x"], "Invalid min version x"],
    [["a", "b", "--max-version=1x"], "Invalid max version 1x"],
    [["a", "b", "--from-file", "--max-version=2"], "cannot write file: Invalid argument"],
    [["a", "b", "--us"], "unknown option --us"],
    [["a", "b", "-C"], "unknown option -C"],
  ])("refuses %j", async (words, message) => {
    const { status, stdout, stderr } = await mkcomposefs(words);
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr.split("\n")[0]).toBe(`mkcomposefs: ${message}`);
  });

  it("help and version", async () => {
    expect((await mkcomposefs(["--help"])).stdout).toMatch(/^Usage: mkcomposefs /);
    expect((await mkcomposefs(["--version"])).stdout).toMatch(/^mkcomposefs \d+\.\d+\.\d+ /);
  });
});

describe("images", () => {
  it("has recorded dumps", () => expect(good.length).toBeGreaterThan(10));

  it.each(good.slice(0, 12))("%s", async (name, { variants }) => {
    const source = join(goldens, name);
    const image = join(directory, `${name}.img`);
    const made = await mkcomposefs(["--from-file", source, image, "--print-digest"]);
    expect(made).toEqual({ status: 0, stdout: `${variants?.["v0"]?.fsverity_sha256}\n`, stderr: "" });
    expect(createHash("sha256").update(readFileSync(image)).digest("hex")).toBe(variants?.["v0"]?.sha256);
    const digest = await mkcomposefs(
      ["--from-file", "-", "--print-digest-only", "--min-version=1"],
      readFileSync(source),
    );
    expect(digest.stdout).toBe(`${variants?.["v1"]?.fsverity_sha256}\n`);
  });

  it("to stdout, digest behind it", async () => {
    const text = "/ 0 40755 2 0 0 0 0.0 - - -\n";
    const plain = join(directory, "plain.img");
    const { stdout: digest } = await mkcomposefs(["--from-file", "-", plain, "--print-digest"], text);
    const { stdout } = await mkcomposefs(["--from-file", "-", "-", "--print-digest"], text);
    expect(stdout).toBe(readFileSync(plain).toString("utf8") + digest);
  });

  it("a bad dump leaves the old image and names the line", async () => {
    const image = join(directory, "kept.img");
    writeFileSync(image, "old");
    const { status, stderr } = await mkcomposefs(["--from-file", "-", image], "/ 0 40755 2 0 0 0 0.0 - - -\n/a b\n");
    expect(status).toBe(1);
    expect(stderr).toMatch(/^mkcomposefs: .*line 2/);
    expect(readFileSync(image, "utf8")).toBe("old");
    expect(readdirSync(directory).filter((name) => name.startsWith("."))).toEqual([]);
  });

  it("files that are not there", async () => {
    const missing = await mkcomposefs(["--from-file", join(directory, "nothing"), join(directory, "x")]);
    expect(missing.stderr).toBe(`mkcomposefs: open \`${join(directory, "nothing")}\`: no such file or directory\n`);
    const nowhere = await mkcomposefs(["--from-file", "-", join(directory, "no/such/x")], "");
    expect(nowhere.stderr).toBe("mkcomposefs: failed to open output file: no such file or directory\n");
    expect(existsSync(join(directory, "x"))).toBe(false);
  });
});
