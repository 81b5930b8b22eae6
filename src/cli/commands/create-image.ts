// `composefs create-image PATH [NAME]`: a directory becomes an image of the repository

import type { FormatVersion } from "../../index.ts";
import type { Command } from "../command.ts";
import { BOOT_MTIMES, BOOTABLE, bootableRun } from "../boot-options.ts";
import { directoryOptions, DIRECTORY_OPTIONS } from "../directory-options.ts";
import { UsageError } from "../failure.ts";

const ALL_FORMATS: readonly FormatVersion[] = [0, 1, 2];

export const createImage: Command = {
  name: "create-image",
  summary: "store a directory as an image",
  description:
    "Stores the files as objects and the image beside them, and prints its id. The hash is the repository's, the format too " +
    "unless --erofs-version says otherwise.",
  arguments: [
    { name: "PATH", description: "the directory, usually a root file system", completes: "directory" },
    { name: "NAME", optional: true, description: "a name for the image, for mount and against gc" },
  ],
  options: [
    BOOTABLE,
    BOOT_MTIMES,
    ...DIRECTORY_OPTIONS,
    { name: "all-variants", description: "images of every format, from one reading; NAME is the default's" },
  ],
  examples: [
    { line: "create-image ./rootfs os/v1", says: "then: composefs mount os/v1 /mnt" },
    { line: "create-image --bootable ./rootfs os/v1", says: "its boot image, which the kernel command line names" },
    { line: "create-image --no-propagate-usr-to-root ./files", says: "of any directory, as it is" },
  ],
  interrupted: "interrupted; files that were stored are kept: run the same command again, or gc",
  async run(context) {
    const { args, global, out } = context;
    const [path = "", name] = args;
    if (context.flag("all-variants") && global.erofsVersion !== undefined) {
      throw new UsageError("--all-variants writes every format", "leave --erofs-version out");
    }
    const { createImage: create } = await import("../../repository/create-image.ts");
    await using repository = await context.openRepository({ write: true });
    const { algorithm, formats } = repository;
    const versions = context.flag("all-variants") ? [...new Set([...formats, ...ALL_FORMATS])] : formats;
    const { transform } = await bootableRun(context, path, { repository });
    const created = await create(repository, path, { ...directoryOptions(context), transform, name, versions });
    const { images, entries, files, bytes } = created;
    if (global.json) {
      const variants = images.map(({ version, id }) => ({ algorithm, id, format: version }));
      await out.json({ path, id: images[0]?.id, name, variants, entries, files, bytes });
    } else if (context.flag("all-variants")) {
      for (const { version, id } of images) await out.line(`v${version} ${algorithm}:${id}`);
    } else await out.line(`${algorithm}:${images[0]?.id}`);
  },
};
