// Help texts, made from the same table that the parser and completion use.

import type { ArgumentSpec, Command, OptionSpec } from "./command.ts";
import { C_TOOLS } from "./c-tools.ts";
import { GROUPS, visibleCommands } from "./commands.ts";
import { GLOBAL_OPTIONS } from "./global-options.ts";

const PROGRAM = "composefs";
const WIDTH = 100;

/** The help of the program, or of a group of commands. */
export async function overview(group?: string): Promise<string> {
  const commands = (await visibleCommands()).filter(
    (command) => group === undefined || command.name.startsWith(`${group} `),
  );
  const lines = [
    group === undefined ? "Turns OCI images into verified, deduplicated composefs images." : (GROUPS.get(group) ?? ""),
    "",
    `Usage: ${PROGRAM} [OPTIONS] ${group === undefined ? "" : `${group} `}COMMAND [ARGUMENTS]`,
    "",
    "Commands:",
    ...columns(commands.map((command) => [command.name, command.summary])),
    "",
    "Global options, before or after the command:",
    ...columns(GLOBAL_OPTIONS.map(optionRow)),
  ];
  if (group === undefined) {
    lines.push(
      "",
      "Programs with the options of the C tools, also without composefs before their names:",
      ...columns([...C_TOOLS].map(([name, { summary }]) => [name, summary])),
      "",
      "First steps:",
      ...columns([
        [`${PROGRAM} oci pull oci:DIR:TAG`, "import an image from a layout directory"],
        [`${PROGRAM} oci images`, "list what was imported"],
        [`${PROGRAM} COMMAND --help`, "options and examples of a command"],
      ]),
    );
  }
  return `${lines.join("\n")}\n`;
}

/** The help of one command. */
export function commandHelp(command: Command): string {
  const lines = [command.summary[0]?.toUpperCase() + command.summary.slice(1), "", `Usage: ${usageLine(command)}`];
  if (command.description !== undefined) lines.push("", ...wrap(command.description, WIDTH));
  if (command.arguments.length > 0) {
    lines.push(
      "",
      "Arguments:",
      ...columns(command.arguments.map((argument) => [argumentUsage(argument), argument.description])),
    );
  }
  if (command.options.length > 0) lines.push("", "Options:", ...columns(command.options.map(optionRow)));
  lines.push("", "Global options:", ...columns(GLOBAL_OPTIONS.map(optionRow)));
  if (command.examples.length > 0) {
    lines.push("", "Examples:");
    for (const example of command.examples) lines.push(`  # ${example.says}`, `  ${PROGRAM} ${example.line}`);
  }
  return `${lines.join("\n")}\n`;
}

/** `composefs oci pull [OPTIONS] REFERENCE [NAME]` */
export function usageLine(command: Command): string {
  return [PROGRAM, command.name, "[OPTIONS]", ...command.arguments.map(argumentUsage)].join(" ");
}

/** How an argument is written: `[NAME...]`. */
export function argumentUsage(argument: ArgumentSpec): string {
  const name = argument.repeat ? `${argument.name}...` : argument.name;
  return argument.optional ? `[${name}]` : name;
}

/** How an option is written, and what it does with its choices. */
export function optionRow(option: OptionSpec): [string, string] {
  const value = option.value === undefined ? "" : option.optionalValue ? ` [${option.value}]` : ` ${option.value}`;
  const choices = option.choices === undefined ? "" : ` (${option.choices.join(", ")})`;
  const repeat = option.repeat ? "; may be repeated" : "";
  return [
    `${option.short === undefined ? "    " : `-${option.short}, `}--${option.name}${value}`,
    `${option.description}${choices}${repeat}`,
  ];
}

function columns(rows: readonly (readonly [string, string])[]): string[] {
  const size = Math.max(...rows.map(([name]) => name.length));
  return rows.flatMap(([name, text]) => {
    const [first = "", ...rest] = wrap(text, WIDTH - size - 4);
    return [`  ${name.padEnd(size)}  ${first}`, ...rest.map((line) => `${" ".repeat(size + 4)}${line}`)];
  });
}

function wrap(text: string, size: number): string[] {
  const lines: string[] = [];
  for (const paragraph of text.split("\n")) {
    let line = "";
    for (const word of paragraph.split(" ")) {
      if (line !== "" && line.length + 1 + word.length > size) {
        lines.push(line);
        line = word;
      } else line = line === "" ? word : `${line} ${word}`;
    }
    lines.push(line);
  }
  return lines;
}
