// docs/cli.md is the help texts, and the README's table has every command. `npx vitest run test/cli/manual.test.ts -u`
// writes docs/cli.md anew.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { C_TOOLS } from "../../src/cli/c-tools.ts";
import { visibleCommands } from "../../src/cli/commands.ts";
import { commandHelp, overview } from "../../src/cli/help.ts";

const file = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const block = (text: string) => `\`\`\`text\n${text.trimEnd()}\n\`\`\`\n`;
const globals = /\n\nGlobal options:\n(?: .*\n)+/;

it("docs/cli.md is what --help prints", async () => {
  const parts = [
    "# The command line",
    "Made from the help texts; `composefs COMMAND --help` prints the same for the version at hand.",
    "Results go to stdout, everything else to stderr. Exit status: 0 done, 1 failed, 2 wrong usage, 130 and 143 interrupted by SIGINT " +
      "and SIGTERM. A failure is one line `composefs: MESSAGE`, and often a second one `hint: ...`; with `--progress json` it is a JSON " +
      'object `{"type":"error","code","message","hint"}` on stderr. Boxes, bars and colours appear on terminals only.',
    "## composefs",
    block(await overview()),
  ];
  for (const command of await visibleCommands()) {
    parts.push(`## composefs ${command.name}`, block(commandHelp(command).replace(globals, "\n")));
  }
  for (const [name, { usage }] of C_TOOLS) {
    parts.push(
      `## ${name}`,
      "The C tool's program, with its options, messages and exit statuses.",
      block(await usage()),
    );
  }
  await expect(
    parts
      .map((part) => part.trimEnd())
      .join("\n\n")
      .concat("\n"),
  ).toMatchFileSnapshot(file("docs/cli.md"));
});

it("the README's table has every command", async () => {
  const readme = readFileSync(file("README.md"), "utf8");
  for (const { name } of await visibleCommands()) expect(readme).toContain(`| \`${name}`);
  for (const name of C_TOOLS.keys()) expect(readme).toContain(`| \`${name}`);
});
