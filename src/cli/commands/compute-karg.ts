// `composefs compute-karg PATH`: the kernel argument that names the boot image of a directory (docs/spec/boot.md, section 7.4)

import { BOOT_MTIMES, bootableRun } from "../boot-options.ts";
import type { Command } from "../command.ts";
import { directoryAlgorithm, directoryOptions, DIRECTORY_OPTIONS } from "../directory-options.ts";

export const computeKarg: Command = {
  name: "compute-karg",
  summary: "print the kernel argument that boots the image of a directory; writes nothing",
  description:
    "The boot variant of the image is meant: what compute-id --bootable computes. Formats 0 and 1 give composefs.digest=, " +
    "format 2 gives composefs=. The hash is that of --hash, else the repository's, else sha512; the format that of " +
    "--erofs-version, else 1.",
  arguments: [{ name: "PATH", description: "the directory: a root file system", completes: "directory" }],
  options: [
    { name: "insecure", description: "boot without fs-verity too: a ? before the digest" },
    BOOT_MTIMES,
    ...DIRECTORY_OPTIONS.filter(({ name }) => name !== "xattrs"),
  ],
  examples: [
    { line: "compute-karg ./rootfs > cmdline", says: "for the command line of a unified kernel image" },
    { line: "compute-karg --erofs-version 2 --insecure ./rootfs", says: "the short form, fs-verity optional" },
  ],
  async run(context) {
    const { args, global, out } = context;
    const [path = ""] = args;
    const algorithm = await directoryAlgorithm(context);
    const version = global.erofsVersion ?? 1;
    const { transform } = await bootableRun(context, path, { always: true });
    const { computeDirectoryId } = await import("../../image/directory-id.ts");
    const { renderComposefsArgument } = await import("../../boot/kargs/composefs-argument.ts");
    const id = await computeDirectoryId(path, { ...directoryOptions(context), transform, algorithm, version });
    const insecure = context.flag("insecure");
    const argument = renderComposefsArgument({ version, digest: id, insecure });
    if (global.json) await out.json({ path, argument, id, format: version, algorithm, insecure });
    else await out.line(argument);
  },
};
