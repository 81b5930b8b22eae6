// Manual pages (roff, man(7)) from the table that the help texts are made from.

import type { ArgumentSpec, Command, OptionSpec } from "./command.ts";
import { C_TOOLS } from "./c-tools.ts";
import { GROUPS, visibleCommands } from "./commands.ts";
import { GLOBAL_OPTIONS } from "./global-options.ts";
import { argumentUsage } from "./help.ts";

const STATUS =
  "0 done, 1 failed, 2 wrong usage, 130 and 143 interrupted by SIGINT and SIGTERM. Results go to standard output, everything else to " +
  "standard error.";

/** The name of the page of a command: `composefs-oci-pull`. */
export function pageName(command: string | undefined): string {
  return ["composefs", ...(command === undefined ? [] : command.split(" "))].join("-");
}

/** The page of the program: all commands, with their options. */
export async function programPage(version: string): Promise<string> {
  const commands = await visibleCommands();
  return page([
    title("composefs", version),
    section("NAME"),
    `composefs \\- ${text("turn OCI images into verified, deduplicated composefs images")}`,
    section("SYNOPSIS"),
    `.B composefs\n[\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]`,
    section("DESCRIPTION"),
    paragraphs(
      "Each command has a page of its own, composefs-COMMAND(1), and prints the same with --help. The global options stand before or " +
        "after the command.",
    ),
    section("COMMANDS"),
    ...[undefined, ...GROUPS.keys()].flatMap((group) => {
      const own = commands.filter(
        ({ name }) => (GROUPS.has(name.split(" ")[0] ?? "") ? name.split(" ")[0] : undefined) === group,
      );
      const heading = group === undefined ? [] : [`.SS ${text(`${group}: ${GROUPS.get(group) ?? ""}`)}`];
      return [...heading, ...own.map(({ name, summary }) => item(`\\fB${text(name)}\\fR`, summary))];
    }),
    ".SS Programs with the options of the C tools",
    ...[...C_TOOLS].map(([name, { summary }]) => item(`\\fB${text(name)}\\fR`, summary)),
    section("GLOBAL OPTIONS"),
    ...GLOBAL_OPTIONS.map(optionItem),
    section("EXIT STATUS"),
    paragraphs(STATUS),
  ]);
}

/** The page of one command. */
export function commandPage(command: Command, version: string): string {
  const { name, summary, description, arguments: specs, options, examples } = command;
  return page([
    title(pageName(name), version),
    section("NAME"),
    `${text(pageName(name))} \\- ${text(summary)}`,
    section("SYNOPSIS"),
    `.B composefs ${text(name)}\n[\\fIOPTIONS\\fR]${specs.map((spec) => ` \\fI${text(argumentUsage(spec))}\\fR`).join("")}`,
    section("DESCRIPTION"),
    paragraphs(description ?? `${summary[0]?.toUpperCase()}${summary.slice(1)}.`),
    ...(specs.length > 0 ? [section("ARGUMENTS"), ...specs.map(argumentItem)] : []),
    ...(options.length > 0 ? [section("OPTIONS"), ...options.map(optionItem)] : []),
    section("GLOBAL OPTIONS"),
    paragraphs("Those of composefs(1)."),
    ...(examples.length > 0
      ? [section("EXAMPLES"), ...examples.map((one) => item(`composefs ${text(one.line)}`, one.says))]
      : []),
    section("EXIT STATUS"),
    paragraphs(STATUS),
    section("SEE ALSO"),
    ".BR composefs (1)",
  ]);
}

function page(parts: readonly string[]): string {
  return `${parts.join("\n")}\n`;
}

function title(name: string, version: string): string {
  return `.TH ${text(name.toUpperCase())} 1 "" "composefs ${text(version)}" "composefs"`;
}

function section(name: string): string {
  return `.SH ${name}`;
}

function item(head: string, body: string): string {
  return `.TP\n${head}\n${line(body)}`;
}

function argumentItem(spec: ArgumentSpec): string {
  return item(`\\fI${text(argumentUsage(spec))}\\fR`, spec.description);
}

function optionItem({ name, short, value, optionalValue, choices, repeat, description }: OptionSpec): string {
  const names = [...(short === undefined ? [] : [`-${short}`]), `--${name}`].map((each) => `\\fB${text(each)}\\fR`);
  const shown = value === undefined ? "" : ` \\fI${text(optionalValue ? `[${value}]` : value)}\\fR`;
  const more = [
    ...(choices === undefined ? [] : [`one of ${choices.join(", ")}`]),
    ...(repeat ? ["may be repeated"] : []),
  ];
  return item(names.join(", ") + shown, [description, ...more].join("; "));
}

function paragraphs(all: string): string {
  return all
    .split("\n")
    .map((one) => `.PP\n${line(one)}`)
    .join("\n");
}

/** A line of text; one that would begin with a request is kept from it. */
function line(content: string): string {
  const escaped = text(content);
  return /^[.']/.test(escaped) ? `\\&${escaped}` : escaped;
}

/** Text without what roff takes for its own; hyphens stay those that a shell understands. */
function text(content: string): string {
  return content
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replaceAll("'", "\\(aq")
    .replaceAll("`", "\\(ga")
    .replaceAll("^", "\\(ha")
    .replaceAll("~", "\\(ti")
    .replaceAll('"', "\\(dq");
}
