// `composefs oci remove-boot IMAGE`: lets the boot images of an image go (docs/spec/boot.md, section 2)

import type { Command } from "../command.ts";

export const ociRemoveBoot: Command = {
  name: "oci remove-boot",
  summary: "let the boot images of an image go; gc removes them",
  description: "The image itself stays. All its boot images are let go, of every format and mode of xattrs.",
  arguments: [{ name: "IMAGE", description: "the image: tag, @DIGEST or TAG@DIGEST", completes: "tag" }],
  options: [],
  examples: [{ line: "oci remove-boot os:v1", says: "then: composefs gc" }],
  async run(context) {
    const { args, global, out, signal } = context;
    const [image = ""] = args;
    const { dropBootImages } = await import("../../oci/stored-boot.ts");
    await using repository = await context.openRepository({ write: true });
    const removed = await dropBootImages(repository, image, { signal });
    if (global.json) await out.json({ image, removed });
    else if (removed.length === 0) context.note(`${image} has no boot image`);
    else for (const id of removed) await out.line(`Let go of boot image ${id}`);
  },
};
