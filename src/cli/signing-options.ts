// `--sign COMMAND` and `--sign-shell COMMAND`

import type { SigningCommand } from "../index.ts";
import type { Context, OptionSpec } from "./command.ts";
import { UsageError } from "./failure.ts";

/** Options of the commands that can have a UKI signed. */
export const SIGNING_OPTIONS: readonly OptionSpec[] = [
  {
    name: "sign",
    value: "COMMAND",
    description: "sign with a program: {in} is the file, {out} the signed one; without {out} it signs in place",
  },
  {
    name: "sign-shell",
    value: "COMMAND",
    description: "the same through /bin/sh, which has the files in $IN and $OUT",
  },
];

/** The command that was given, if any. */
export function signingCommand({ text }: Pick<Context, "text">): SigningCommand | undefined {
  const direct = text("sign");
  const shell = text("sign-shell");
  if (direct !== undefined && shell !== undefined)
    throw new UsageError("--sign and --sign-shell are two ways to sign", "give one of them");
  if (direct !== undefined) return { text: direct, shell: false };
  return shell === undefined ? undefined : { text: shell, shell: true };
}
