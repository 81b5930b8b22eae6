// Completion: what is offered where, and that the shells take the scripts.

import { execFile, execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { beforeAll, describe, expect, it } from "vitest";
import { complete, type RepositoryNames } from "../../src/cli/completion/candidates.ts";
import { shellWords } from "../../src/cli/completion/shell-words.ts";
import { COMPOSEFS, EXAMPLE, run, RUNTIME, temporaryDirectory } from "./program.ts";

const directory = temporaryDirectory();
const has = (shell: string) => {
  try {
    execFileSync(shell, ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
};

const names: RepositoryNames = async (kind, { repo }) => [`${kind}-of-${repo ?? "default"}`, "other"];
const offered = async (line: string) => {
  const { candidates, files } = await complete(shellWords(line, line.length).slice(1), names);
  return { texts: candidates.map(({ text }) => text), files };
};

describe("candidates", () => {
  it.each([
    ["composefs im", ["images", "image-objects", "import-image"]],
    ["composefs oci i", ["images", "inspect", "import-layer"]],
    ["composefs oci images --no-t", ["--no-trunc"]],
    ["composefs --repo /x oci inspect ", ["tag-of-/x", "other"]],
    ["composefs oci untag --repo=/y tag", ["tag-of-/y"]],
    ["composefs oci tag d", ["digest-of-default"]],
    ["composefs image-objects image", ["image-of-default"]],
    ["composefs cat s", ["stream-of-default"]],
    ["composefs --progress ", ["auto", "bar", "plain", "json", "none"]],
    ["composefs images --hash=sha5", ["--hash=sha512"]],
    ["composefs oci dump --xattrs k", ["keep-user-xattrs"]],
    ["composefs completion ", ["bash", "zsh", "fish"]],
    ["composefs help oci ta", ["tag"]],
    ["composefs oci pull o", ["oci:"]],
    ["composefs oci untag a ", []],
    ["composefs 'oci' \"images\" --js", ["--json"]],
    ["composefs nonsense ", []],
  ])("%s", async (line, texts) => expect(await offered(line)).toEqual({ texts, files: "done" }));

  it("files where a path is expected", async () => {
    expect(await offered("composefs measure-file a b")).toEqual({ texts: [], files: "files" });
    expect(await offered("composefs init ")).toEqual({ texts: [], files: "directories" });
    expect(await offered("composefs --repo ")).toEqual({ texts: [], files: "directories" });
  });

  it("deployments of the sysroot that is named", async () => {
    const sysroot = join(directory, "sysroot");
    for (const id of ["a1", "a2", "b"]) mkdirSync(join(sysroot, "state/deploy", id), { recursive: true });
    writeFileSync(join(sysroot, "state/deploy/a-file"), "");
    const of = async (line: string) => (await offered(line)).texts;
    expect(await of(`composefs deploy delete --sysroot ${sysroot} a`)).toEqual(["a1", "a2"]);
    expect(await of(`composefs deploy rollback --root=${sysroot} --to `)).toEqual(["a1", "a2", "b"]);
    expect(await of(`composefs deploy rollback --root ${sysroot} --to=b`)).toEqual(["--to=b"]);
    expect(await of(`composefs deploy export --sysroot ${sysroot} --offline b`)).toEqual(["b"]);
    expect(await of("composefs deploy delete --sysroot /nonexistent ")).toEqual([]);
    expect(await of(`composefs deploy status --sysroot ${sysroot} --booted b`)).toEqual(["b"]);
    expect(await of("composefs deploy status --booted --js")).toEqual(["--json"]);
    expect(await of("composefs deploy status --booted --format y")).toEqual(["yaml"]);
  });

  it("layout directories after oci:", async () => {
    mkdirSync(join(directory, "layouts/one"), { recursive: true });
    mkdirSync(join(directory, "layouts/two"));
    writeFileSync(join(directory, "layouts/file"), "");
    expect(await offered(`composefs oci pull oci:${directory}/layouts/o`)).toMatchObject({
      texts: [`oci:${directory}/layouts/one/`],
    });
  });

  it("words before the cursor only", () => {
    expect(shellWords("composefs oci  im rest", 16)).toEqual(["composefs", "oci", "i"]);
    expect(shellWords('a b\\ c \'d e\' "f\\"g" ', 99)).toEqual(["a", "b c", "d e", 'f"g', ""]);
  });
});

describe("scripts", () => {
  const repository = join(directory, "repository");

  beforeAll(async () => {
    await run(["init", "--insecure", repository]);
    await run(["--repo", repository, "oci", "pull", "--platform", "linux/amd64", `oci:${EXAMPLE}:v1`, "os:one"]);
  });

  it.each(["bash", "zsh", "fish"])("%s: the shell reads it", async (shell) => {
    const { status, stdout } = await run(["completion", shell]);
    expect(status).toBe(0);
    expect(stdout).toContain("composefs __complete");
    const { stdout: json } = await run(["completion", shell, "--json"]);
    expect(JSON.parse(json)).toEqual({ shell, script: stdout });
    const file = join(directory, `script.${shell}`);
    writeFileSync(file, stdout);
    if (has(shell)) execFileSync(shell, ["-n", file], { stdio: "pipe" });
  });

  it("bash: completes for real, tags of the repository too, past colons", async () => {
    const script = (await run(["completion", "bash"])).stdout;
    const ask = async (line: string) => {
      const program = `composefs() { ${RUNTIME.map((word) => `"${word}"`).join(" ")} "${COMPOSEFS}" "$@"; }
${script}
COMP_LINE=$1 COMP_POINT=\${#1} COMP_WORDS=($1) COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
[ "\${1: -1}" = ' ' ] && { COMP_WORDS+=(''); COMP_CWORD=$((COMP_CWORD + 1)); }
compopt() { :; }
_composefs
printf '%s\\n' "\${COMPREPLY[@]}"`;
      const { stdout, stderr } = await promisify(execFile)("bash", ["--norc", "-c", program, "bash", line]);
      expect(stderr).toBe("");
      return stdout.trimEnd().split("\n");
    };
    expect(await ask("composefs oci im")).toEqual(["images", "import-layer"]);
    expect(await ask(`composefs --repo ${repository} oci inspect `)).toEqual(["os:one"]);
    // bash keeps what stands before the colon.
    expect(await ask(`composefs --repo ${repository} oci inspect os:o`)).toEqual(["one"]);
    expect(await ask(`composefs measure-file ${EXAMPLE}/ind`)).toEqual([`${EXAMPLE}/index.json`]);
    expect(await ask("composefs --repo /nonexistent oci inspect ")).toEqual([""]);
  });
});
