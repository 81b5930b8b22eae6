// Options of the commands that build an image's tree.

import type { XattrMode } from "../index.ts";
import type { Context, OptionSpec } from "./command.ts";

/** `--xattrs MODE` */
export const TREE_OPTIONS: readonly OptionSpec[] = [
  {
    name: "xattrs",
    value: "MODE",
    choices: ["allowlist-only", "keep-user-xattrs"],
    description: "which xattrs of the layers the image keeps; allowlist-only when left out",
  },
];

/** The mode that was asked for. */
export function xattrMode(context: Context): XattrMode {
  return (context.text("xattrs") ?? "allowlist-only") as XattrMode;
}
