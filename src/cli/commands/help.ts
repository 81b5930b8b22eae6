// `composefs help [COMMAND]`

import type { Command } from "../command.ts";
import { C_TOOLS } from "../c-tools.ts";
import { COMMANDS, GROUPS } from "../commands.ts";
import { UsageError } from "../failure.ts";
import { commandHelp, overview } from "../help.ts";
import { nearestName } from "../nearest-name.ts";

export const help: Command = {
  name: "help",
  summary: "print help of the program or of a command",
  arguments: [{ name: "COMMAND", optional: true, repeat: true, description: "its words", completes: "command" }],
  options: [],
  examples: [{ line: "help oci pull", says: "the options of a pull" }],
  async run({ args, out }) {
    const name = args.join(" ");
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
