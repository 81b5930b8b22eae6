// `composefs help [COMMAND]`

import type { Command } from "../command.ts";
import { C_TOOLS } from "../c-tools.ts";
import { COMMANDS, GROUPS } from "../commands.ts";
import { UsageError } from "../failure.ts";
import { commandHelp, overview } from "../help.ts";
import { nearestName } from "../nearest-name.ts";
import { programVersion } from "../version.ts";

export const help: Command = {
  name: "help",
  summary: "print help of the program or of a command",
  arguments: [{ name: "COMMAND", optional: true, repeat: true, description: "its words", completes: "command" }],
  options: [{ name: "man", description: "print the manual page, for man" }],
  examples: [
    { line: "help oci pull", says: "the options of a pull" },
    {
      line: "help --man oci pull > composefs-oci-pull.1",
      says: "its manual page; man ./composefs-oci-pull.1 shows it",
    },
  ],
  async run({ args, out, flag }) {
    const name = args.join(" ");
    if (flag("man")) {
      const { commandPage, programPage } = await import("../man.ts");
      if (name === "") return out.write(await programPage(programVersion()));
      const loader = COMMANDS.get(name);
      if (loader !== undefined) return out.write(commandPage(await loader(), programVersion()));
      if (GROUPS.has(name) || C_TOOLS.has(name))
        throw new UsageError(
          `${name} has no manual page`,
          "the pages are those of single commands, and the one without a command",
        );
    }
    if (name === "") return out.write(await overview());
    if (GROUPS.has(name)) return out.write(await overview(name));
    const tool = C_TOOLS.get(name);
    if (tool !== undefined) return out.write(await tool.usage());
    const load = COMMANDS.get(name);
    if (load === undefined) {
      const near = await nearestName(name, COMMANDS.keys());
      throw new UsageError(
        `unknown command ${name}`,
        near === undefined ? "see composefs --help" : `did you mean ${near}?`,
      );
    }
    return out.write(commandHelp(await load()));
  },
};
