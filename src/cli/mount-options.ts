// Options of the commands that mount, and what they say.

import type { MountedImage, MountOptions } from "../index.ts";
import type { Context, OptionSpec } from "./command.ts";
import { UsageError } from "./failure.ts";

/** `--upperdir`, `--workdir`, `--read-write` */
export const MOUNT_OPTIONS: readonly OptionSpec[] = [
  { name: "upperdir", value: "DIR", description: "a directory for changes, above the image", completes: "directory" },
  { name: "workdir", value: "DIR", description: "an empty one beside it, for overlayfs", completes: "directory" },
  { name: "read-write", description: "allow changes; they go to the upperdir" },
];

/** The options that were given, for the library. */
export function mountOptions({ text, flag }: Context): MountOptions {
  const upperdir = text("upperdir");
  const workdir = text("workdir");
  const readWrite = flag("read-write");
  if ((upperdir === undefined) !== (workdir === undefined))
    throw new UsageError("--upperdir and --workdir need each other", "give both, on one file system");
  if (readWrite && upperdir === undefined)
    throw new UsageError("--read-write needs --upperdir and --workdir", "changes have to go somewhere");
  return { upperdir, workdir, readWrite };
}

/** Reports a mount: nothing on stdout, as `cfsctl`, unless JSON is wanted. */
export async function reportMount({ global, out, note }: Context, mounted: MountedImage): Promise<void> {
  if (mounted.stacked) note(`something was mounted on ${mounted.target} before; it is hidden now`);
  if (global.json) await out.json(mounted);
}
