// Words of `composefs-info` (docs/spec/tools-c.md, section 2).

import { CToolError } from "./c-tool.ts";
import { getopt } from "./getopt.ts";

/** The usage text. */
export const INFO_USAGE = `Usage: composefs-info [OPTIONS] COMMAND FILE...
Commands:
  ls IMAGE...               List the entries of images
  dump IMAGE...             Print images as dump files
  objects IMAGE...          List the objects that images need
  missing-objects IMAGE...  List those of them that are not below --basedir
  measure-file FILE...      Print the fs-verity digest (sha256) of files
Options:
  --basedir=PATH            Where the objects are (missing-objects)
  --filter=NAME             Only this entry of the root directory; may be repeated
  --form=FORM               Dump as the C tools print it (c, the default), or without loss and invention (canonical)
  --exit-code=N             Exit status of missing-objects if an object is missing (default=0)
  --json                    Print JSON
  --help                    Print this
  --version                 Print the version
Examples:
  composefs-info --filter=usr ls os.img
  composefs-info --basedir=/store --exit-code=3 missing-objects os.img
  composefs-info --form=canonical dump os.img | mkcomposefs --from-file - copy.img
`;

const COMMANDS = ["ls", "dump", "objects", "missing-objects", "measure-file"] as const;

/** The words, understood. */
export interface InfoRequest {
  readonly command: (typeof COMMANDS)[number];
  readonly files: readonly string[];
  readonly basedir: string | undefined;
  readonly filter: readonly string[];
  readonly form: "c" | "canonical";
  readonly exitCode: number;
  readonly json: boolean;
}

/** Understands the words of the command line. Throws {@link CToolError}. */
export function parseInfo(words: readonly string[]): InfoRequest {
  const { options, args } = getopt(words, {
    flags: ["json", "help", "version"],
    values: ["basedir", "filter", "form", "exit-code"],
  });
  const last = (name: string) => options.findLast(([option]) => option === name)?.[1];
  const [typed, ...files] = args;
  if (typed === undefined) throw new CToolError("No command specified", { usage: true });
  const command = COMMANDS.find((known) => known === typed);
  if (command === undefined)
    throw new CToolError(`Unknown command '${typed}'`, { hint: `it is one of ${COMMANDS.join(", ")}` });
  const filter = options.filter(([option]) => option === "filter").map(([, value]) => value);
  const deep = filter.find((name) => name.includes("/"));
  if (deep !== undefined)
    throw new CToolError(`Filter '${deep}' contains a slash`, {
      hint: "it is the name of one entry of the root directory, such as --filter=usr",
    });
  const form = last("form") ?? "c";
  if (form !== "c" && form !== "canonical")
    throw new CToolError(`Invalid form ${form}`, { hint: "it is c or canonical" });
  const exitCode = last("exit-code") ?? "0";
  if (!/^[0-9]{1,3}$/.test(exitCode) || Number(exitCode) > 255) throw new CToolError(`Invalid exit code ${exitCode}`);
  if (files.length === 0)
    throw new CToolError(command === "measure-file" ? "No files specified" : "No image path specified", {
      usage: true,
    });
  const basedir = last("basedir");
  if (command === "missing-objects" && basedir === undefined)
    throw new CToolError("missing-objects needs --basedir", {
      hint: "give the directory with the objects: --basedir=PATH",
    });
  const json = options.some(([option]) => option === "json");
  return { command, files, basedir, filter, form, exitCode: Number(exitCode), json };
}
