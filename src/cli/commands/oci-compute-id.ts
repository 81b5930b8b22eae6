// `composefs oci compute-id IMAGE [VERITY]`: the image id, computed from the layers

import type { Command } from "../command.ts";
import { BOOT_MTIMES, BOOTABLE, bootMtimes } from "../boot-options.ts";
import { TREE_OPTIONS, xattrMode } from "../tree-options.ts";

export const ociComputeId: Command = {
  name: "oci compute-id",
  summary: "compute an image's id from its layers; writes nothing",
  description: "The format is the repository's default, or that of --erofs-version.",
  arguments: [
    { name: "IMAGE", description: "the image", completes: "tag" },
    { name: "VERITY", optional: true, description: "expected object id of the config" },
  ],
  options: [BOOTABLE, BOOT_MTIMES, ...TREE_OPTIONS],
  examples: [
    { line: "oci compute-id os:v1", says: "the id of the default format" },
    { line: "oci compute-id --bootable os:v1", says: "that of the boot image" },
    { line: "oci compute-id --erofs-version 2 os:v1", says: "that of the older format" },
  ],
  async run(context) {
    const { args, global, out, signal } = context;
    const [image = "", verity] = args;
    const { computeImageId } = await import("../../oci/compute-id.ts");
    await using repository = await context.openRepository();
    const bootable = context.flag("bootable");
    const id = await computeImageId(repository, image, {
      verity,
      xattrs: xattrMode(context),
      bootable,
      mtimes: bootMtimes(context),
      signal,
    });
    if (global.json) {
      await out.json({ image, id, format: repository.formats[0], algorithm: repository.algorithm, bootable });
    } else await out.line(id);
  },
};
