// `composefs oci mount IMAGE DIR` (docs/spec/cli-cfsctl.md, section 10)

import type { Command } from "../command.ts";
import { MOUNT_OPTIONS, mountOptions, reportMount } from "../mount-options.ts";

export const ociMount: Command = {
  name: "oci mount",
  summary: "mount the file system of a pulled image on a directory",
  description:
    "The image is verified first. In a repository that requires fs-verity, the kernel then verifies every file that is opened; " +
    "--require-verity refuses any other. Needs root. End it with umount.",
  arguments: [
    { name: "IMAGE", description: "the image: tag, @DIGEST or TAG@DIGEST", completes: "tag" },
    { name: "DIR", description: "an existing directory", completes: "directory" },
  ],
  options: [{ name: "bootable", description: "mount the boot variant" }, ...MOUNT_OPTIONS],
  examples: [
    { line: "oci mount os:v1 /mnt", says: "read-only" },
    { line: "oci mount os:v1 /mnt --upperdir up --workdir work --read-write", says: "with changes in ./up" },
  ],
  async run(context) {
    const [image = "", directory = ""] = context.args;
    const options = { ...mountOptions(context), bootable: context.flag("bootable") };
    const { mountContainer } = await import("../../oci/mount.ts");
    await using repository = await context.openRepository();
    await reportMount(context, await mountContainer(repository, image, directory, options));
  },
};
