// `composefs oci dump IMAGE [VERITY]`: the merged root as dump text (docs/spec/dumpfile.md)

import type { Command } from "../command.ts";
import { BOOT_MTIMES, BOOTABLE, bootMtimes } from "../boot-options.ts";
import { TREE_OPTIONS, xattrMode } from "../tree-options.ts";

export const ociDump: Command = {
  name: "oci dump",
  summary: "print every file of an image in the composefs dump format",
  description:
    "The tree is rebuilt from the layers. VERITY is the object id that the config's stream must have, for a bare digest.",
  arguments: [
    { name: "IMAGE", description: "the image", completes: "tag" },
    { name: "VERITY", optional: true, description: "expected object id of the config" },
  ],
  options: [BOOTABLE, BOOT_MTIMES, ...TREE_OPTIONS],
  examples: [
    { line: "oci dump os:v1 | mkcomposefs --from-file - --print-digest-only", says: "another way to an image" },
    { line: "oci dump --bootable os:v1", says: "the tree of the boot image, with SELinux labels" },
  ],
  async run(context) {
    const [image = "", verity] = context.args;
    const { dumpImage } = await import("../../oci/dump.ts");
    await using repository = await context.openRepository();
    const lines = await dumpImage(repository, image, {
      verity,
      xattrs: xattrMode(context),
      bootable: context.flag("bootable"),
      mtimes: bootMtimes(context),
      signal: context.signal,
    });
    const { out } = context;
    if (context.global.json) {
      const all: string[] = [];
      for (const line of lines) all.push(Buffer.from(line, "latin1").toString("utf8").trimEnd());
      return out.json({ image, lines: all });
    }
    let pending: string[] = [];
    for (const line of lines) {
      if (pending.push(line) < 512) continue;
      await out.write(Buffer.from(pending.join(""), "latin1"));
      pending = [];
    }
    return out.write(Buffer.from(pending.join(""), "latin1"));
  },
};
