// `composefs compute-id PATH`: the image id of a directory

import type { Command } from "../command.ts";
import { directoryAlgorithm, directoryOptions, DIRECTORY_OPTIONS } from "../directory-options.ts";

export const computeId: Command = {
  name: "compute-id",
  summary: "compute the image id of a directory; writes nothing",
  description:
    "The hash is that of --hash, else the repository's, else sha512; the format that of --erofs-version, else 1. " +
    "Run it as root: others do not see trusted.* xattrs, and may not read every file.",
  arguments: [{ name: "PATH", description: "the directory, usually a root file system", completes: "directory" }],
  options: DIRECTORY_OPTIONS,
  examples: [
    { line: "compute-id ./rootfs", says: "the id that create-image would store it under" },
    { line: "compute-id --hash sha256 --erofs-version 2 ./rootfs", says: "that of another hash and format" },
  ],
  async run(context) {
    const { args, global, out } = context;
    const [path = ""] = args;
    const algorithm = await directoryAlgorithm(context);
    const version = global.erofsVersion ?? 1;
    const { computeDirectoryId } = await import("../../image/directory-id.ts");
    const id = await computeDirectoryId(path, { ...directoryOptions(context), algorithm, version });
    if (global.json) await out.json({ path, id, format: version, algorithm });
    else await out.line(id);
  },
};
