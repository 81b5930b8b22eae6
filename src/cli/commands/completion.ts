// `composefs completion bash|zsh|fish`: the script to source. It asks the program for candidates, so that commands,
// options, tags and images are always those of the installed version and of the repository at hand.

import type { Command } from "../command.ts";
import { SHELL_SCRIPTS } from "../completion/scripts.ts";
import { UsageError } from "../failure.ts";

export const completion: Command = {
  name: "completion",
  summary: "print the completion script of a shell",
  description:
    "Completes commands, options and their values, tags and images of the repository, and files.\n" +
    "bash: put  source <(composefs completion bash)  into ~/.bashrc\n" +
    "zsh:  put  source <(composefs completion zsh)  into ~/.zshrc, after compinit\n" +
    "fish: composefs completion fish > ~/.config/fish/completions/composefs.fish",
  arguments: [{ name: "SHELL", description: "bash, zsh or fish" }],
  options: [],
  examples: [{ line: "completion bash", says: "the script for bash" }],
  async run({ args, out, global }) {
    const [shell = ""] = args;
    const script = SHELL_SCRIPTS.get(shell);
    if (script === undefined) {
      throw new UsageError(`no completion for ${shell}`, `it is there for ${[...SHELL_SCRIPTS.keys()].join(", ")}`);
    }
    if (global.json) await out.json({ shell, script });
    else await out.write(script);
  },
};
