// Options, commands and their mistakes: everything that is decided before a repository is opened.

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { COMMANDS, GROUPS } from "../../src/cli/commands.ts";
import { GLOBAL_OPTIONS } from "../../src/cli/global-options.ts";
import { describeFailure } from "../../src/cli/failure.ts";
import { parse } from "../../src/cli/parse.ts";
import { run } from "./program.ts";

const version = (
  JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string }
).version;

describe("every command", () => {
  it.each([...COMMANDS.keys()])("%s prints help with usage, options and examples", async (name) => {
    const command = await COMMANDS.get(name)?.();
    expect(command?.name).toBe(name);
    const { status, stdout, stderr } = await run([...name.split(" "), "--help"]);
    expect(stderr).toBe("");
    expect(status).toBe(0);
    expect(stdout).toContain(`Usage: composefs ${name} [OPTIONS]`);
    for (const option of [...(command?.options ?? []), ...GLOBAL_OPTIONS]) expect(stdout).toContain(`--${option.name}`);
    for (const argument of command?.arguments ?? []) expect(stdout).toContain(argument.name);
    if (command?.hidden !== true) expect(stdout).toContain("Examples:\n");
    for (const line of stdout.split("\n")) expect(line.length).toBeLessThanOrEqual(110);
  });

  it.each([...COMMANDS.keys()])("%s refuses an unknown option", async (name) => {
    const failure = await parse([...name.split(" "), "--no-such-thing"]).catch(describeFailure);
    expect(failure).toMatchObject({ status: 2, message: `unknown option --no-such-thing of ${name}` });
  });
});

describe("the program", () => {
  it("prints its version", async () => {
    for (const words of [["--version"], ["-V"], ["oci", "pull", "--version"]]) {
      expect(await run(words)).toEqual({ status: 0, stdout: `composefs ${version}\n`, stderr: "" });
    }
  });

  it("prints help on stdout when asked, on stderr when nothing was said", async () => {
    const asked = await run(["--help"]);
    expect(asked).toMatchObject({ status: 0, stderr: "" });
    for (const name of COMMANDS.keys()) {
      if (name.startsWith("_")) expect(asked.stdout).not.toContain(name);
      else expect(asked.stdout).toContain(`  ${name} `);
    }
    expect(await run([])).toEqual({ status: 2, stdout: "", stderr: asked.stdout });
    expect((await run(["help"])).stdout).toBe(asked.stdout);
    for (const group of GROUPS.keys()) {
      const alone = await run([group]);
      expect(alone).toMatchObject({ status: 2, stdout: "" });
      const own = [...COMMANDS.keys()].filter((name) => name.startsWith(`${group} `));
      expect(own.length).toBeGreaterThan(0);
      for (const name of own) expect(alone.stderr).toContain(`  ${name} `);
      expect((await run([group, "--help"])).stdout).toBe(alone.stderr);
    }
    expect((await run(["help", "oci", "pull"])).stdout).toBe((await run(["oci", "pull", "--help"])).stdout);
  });

  it.each([
    [["imags"], "unknown command imags", "did you mean composefs images?"],
    [["pull", "oci:x"], "unknown command pull", "did you mean composefs oci pull?"],
    [["oci", "pul", "oci:x"], "unknown command oci pul", "did you mean composefs oci pull?"],
    [["xyzzy"], "unknown command xyzzy", "see composefs --help"],
    [["images", "--jsn"], "unknown option --jsn of images", "did you mean --json?"],
    [["--jsn", "images"], "unknown option --jsn before the command", "did you mean --json?"],
    [["images", "--json=yes"], "option --json takes no value", "see composefs images --help"],
    [["images", "--repo"], "option --repo needs a value: PATH", "see composefs images --help"],
    [["images", "--repo", "--json"], "option --repo needs a value: PATH", "a value that begins with a dash"],
    [["images", "--repo", "a", "--repo", "b"], "option --repo is given twice", "see composefs images --help"],
    [["images", "--repo", "a", "--user"], "--repo and --user exclude each other", "name one repository"],
    [["--progress", "bars", "images"], 'option --progress does not know "bars"', "did you mean bar?"],
    [["--hash", "md5", "images"], 'option --hash does not know "md5"', "it takes sha256, sha512"],
    [["--erofs-version", "3", "images"], 'option --erofs-version does not know "3"', "it takes 0, 1, 2"],
    [["oci", "pull"], "oci pull: REFERENCE is missing", "see composefs oci pull --help"],
    [["oci", "untag", "a", "b"], 'oci untag: unexpected argument "b"', "see composefs oci untag --help"],
    [["init", "--algorithm", "sha1", "/x"], 'option --algorithm does not know "sha1"', "fsverity-sha512-12"],
    [["init", "/x", "--repo", "/y"], "init: PATH and --repo, --user or --system exclude each other", "once"],
    [["oci", "copy", "x"], "oci copy: --from is missing", "see composefs oci copy --help"],
    [["oci", "pull", "oci:x", "--jobs", "many"], 'option --jobs takes a number from 1 to 64, not "many"', undefined],
    [["completion", "tcsh"], "no completion for tcsh", "bash, zsh, fish"],
  ])("%j is a usage error", async (words, message, hint) => {
    const { status, stdout, stderr } = await run(words);
    expect(stdout).toBe("");
    expect(stderr.split("\n")[0]).toBe(`composefs: ${message}`);
    if (hint === undefined) expect(stderr.trimEnd().split("\n")).toHaveLength(1);
    else expect(stderr.split("\n")[1]).toMatch(/^hint: /);
    if (hint !== undefined) expect(stderr).toContain(hint);
    expect(status).toBe(2);
  });

  it("reports mistakes as JSON too when progress is JSON", async () => {
    const { status, stderr } = await run(["--progress", "json", "imags"]);
    expect(status).toBe(2);
    expect(JSON.parse(stderr)).toEqual({
      type: "error",
      code: "usage",
      message: "unknown command imags",
      hint: "did you mean composefs images?",
    });
  });

  it("keeps values the text that they are", async () => {
    // Parsers that turn numbers into numbers make tag 1.10 into 1.1.
    const { stderr } = await run(["--repo", "1e3", "images"], { cwd: "/" });
    expect(stderr).toContain("/1e3");
  });
});
