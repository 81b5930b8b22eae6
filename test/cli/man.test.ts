// Manual pages: every command has one, all that its help has is in it, and groff has nothing to say about them.

import { execFileSync, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { visibleCommands } from "../../src/cli/commands.ts";
import { commandPage, pageName, programPage } from "../../src/cli/man.ts";
import { run, temporaryDirectory } from "./program.ts";

const directory = temporaryDirectory();
const groff = spawnSync("groff", ["--version"]).status === 0;

async function pages(): Promise<Map<string, string>> {
  const commands = await visibleCommands();
  return new Map([
    [pageName(undefined), await programPage("1.2")],
    ...commands.map((command): [string, string] => [pageName(command.name), commandPage(command, "1.2")]),
  ]);
}

// As a reader sees it, without the breaks of lines.
const plain = (text: string) => text.replace(/\s+/g, " ");

it("every command has a page, and nothing in it is taken for a request", async () => {
  const all = await pages();
  expect(all.size).toBeGreaterThan(40);
  for (const [name, text] of all) {
    expect(text.startsWith(".TH COMPOSEFS"), name).toBe(true);
    for (const line of text.split("\n"))
      if (/^[.']/.test(line)) expect(line, name).toMatch(/^\.(?:TH|SH|SS|TP|PP|B|BR)(?: |$)/);
  }
});

it.skipIf(!groff)("groff warns of nothing, and shows what the help says", async () => {
  const files: string[] = [];
  for (const [name, text] of await pages()) {
    const file = join(directory, `${name}.1`);
    writeFileSync(file, text);
    files.push(file);
  }
  const { stderr, status } = spawnSync("groff", ["-man", "-Tutf8", "-ww", "-z", ...files], { encoding: "utf8" });
  expect({ stderr, status }).toEqual({ stderr: "", status: 0 });
  const shown = (name: string) =>
    plain(
      execFileSync("groff", ["-man", "-Tascii", "-P-cbou", "-rHY=0", join(directory, `${name}.1`)], {
        encoding: "utf8",
      }),
    );
  for (const command of (await visibleCommands()).filter(({ name }) => name.startsWith("deploy"))) {
    const text = shown(pageName(command.name));
    expect(text).toContain(plain(command.summary));
    for (const { name } of command.options) expect(text).toContain(`--${name}`);
    for (const { line } of command.examples) expect(text).toContain(plain(`composefs ${line}`));
  }
  const program = shown("composefs");
  for (const { name } of await visibleCommands()) expect(program).toContain(` ${name} `);
});

it("help --man prints them", async () => {
  const { status, stdout } = await run(["help", "--man", "deploy", "status"]);
  expect([status, stdout.split("\n", 1)[0]]).toEqual([
    0,
    expect.stringMatching(/^\.TH COMPOSEFS\\-DEPLOY\\-STATUS 1 /),
  ]);
  expect((await run(["help", "--man"])).stdout).toContain(".SH COMMANDS");
  const group = await run(["help", "--man", "deploy"]);
  expect([group.status, group.stderr]).toEqual([2, expect.stringContaining("deploy has no manual page")]);
  expect((await run(["help", "--man", "statu"])).stderr).toContain("unknown command statu");
});
