// The options that every command takes, before or after its name.

import type { OptionSpec } from "./command.ts";
import { LOCK_OPTIONS } from "./lock-options.ts";

/** The global options, in the order of the help text. */
export const GLOBAL_OPTIONS: readonly OptionSpec[] = [
  { name: "repo", value: "PATH", description: "use the repository at PATH", completes: "directory" },
  { name: "user", description: "use the user's repository, ~/.var/lib/composefs (the default unless root)" },
  {
    name: "system",
    description: "use the system's repository, /sysroot/composefs (the default of root where it exists)",
  },
  {
    name: "hash",
    value: "ALGORITHM",
    choices: ["sha256", "sha512"],
    description: "the fs-verity hash; must agree with the repository's",
  },
  {
    name: "erofs-version",
    value: "VERSION",
    choices: ["0", "1", "2"],
    description: "write images of this format in place of the repository's default",
  },
  {
    name: "no-repo",
    description: "use no repository: for commands that can do without, their hash is --hash or sha512",
  },
  { name: "require-verity", description: "refuse a repository that does not insist on fs-verity" },
  { name: "no-upgrade", description: "do not write a missing meta.json" },
  ...LOCK_OPTIONS,
  { name: "json", description: "print the result as JSON" },
  {
    name: "progress",
    value: "MODE",
    choices: ["auto", "bar", "plain", "json", "none"],
    description: "how to report progress on stderr; auto is bar on a terminal, else plain",
  },
  {
    name: "progress-fd",
    value: "N",
    description: "report progress as lines of JSON to the open descriptor N, too, as bootc does",
  },
  { name: "quiet", short: "q", description: "no progress and no remarks, only results and errors" },
  { name: "verbose", short: "v", description: "on failure, print the causes too" },
  { name: "no-color", description: "no colours (also with NO_COLOR set)" },
  { name: "help", short: "h", description: "print help" },
  { name: "version", short: "V", description: "print the version" },
];
