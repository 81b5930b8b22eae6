#!/usr/bin/env node
// The program `mount.composefs`: the C tool's options, messages and exit statuses (docs/spec/tools-c.md, section 4). Unlike it,
// it can check digest= by reading the image, where that is asked for.

import { CToolError, failedTo, runCTool, writeAll } from "./c-tool.ts";
import { describeFailure } from "./failure.ts";
import { MOUNT_USAGE, parseMount } from "./mount-composefs-options.ts";

await runCTool("mount.composefs", MOUNT_USAGE, async (words) => {
  if (words.includes("-h")) return writeAll(1, MOUNT_USAGE);
  const { image, target, options, json, fake } = parseMount(words);
  if (fake) return undefined;
  const { mountFile } = await import("../image/mount/mount-path.ts");
  try {
    const mounted = mountFile(image, target, options);
    if (json) writeAll(1, `${JSON.stringify(mounted, undefined, 2)}\n`);
  } catch (error) {
    const { message, hint } = describeFailure(error);
    if (message.startsWith(`opening ${image}: `)) throw failedTo(`Failed to open ${image}`, (error as Error).cause);
    if (message.startsWith("Failed to open userns")) throw new CToolError(message, { hint, cause: error });
    throw new CToolError(`Failed to mount composefs ${image}: ${message}`, { hint, cause: error });
  }
  return undefined;
});
