// `composefs mount IMAGE DIR` (docs/spec/cli-cfsctl.md, section 10)

import type { Command } from "../command.ts";
import { MOUNT_OPTIONS, mountOptions, reportMount } from "../mount-options.ts";

export const mount: Command = {
  name: "mount",
  summary: "mount an image on a directory",
  description:
    "The image is verified first. In a repository that requires fs-verity, the kernel then verifies every file that is opened; " +
    "--require-verity refuses any other. IMAGE is an image id (with or without sha256: or sha512:), refs/NAME, or the name of " +
    "a ref. Needs root. End it with umount.",
  arguments: [
    { name: "IMAGE", description: "the image", completes: "image" },
    { name: "DIR", description: "an existing directory", completes: "directory" },
  ],
  options: MOUNT_OPTIONS,
  examples: [{ line: "mount refs/os /mnt", says: "read-only" }],
  async run(context) {
    const [image = "", directory = ""] = context.args;
    const options = mountOptions(context);
    const { mountImage } = await import("../../repository/mount.ts");
    await using repository = await context.openRepository();
    await reportMount(context, mountImage(repository, image, directory, options));
  },
};
