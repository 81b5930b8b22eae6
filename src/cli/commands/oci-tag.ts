// `composefs oci tag IMAGE NAME`

import type { Command } from "../command.ts";

export const ociTag: Command = {
  name: "oci tag",
  summary: "give an image another name",
  description: "IMAGE is a manifest digest, with or without @, or a tag. An existing tag NAME is moved.",
  arguments: [
    { name: "IMAGE", description: "the image", completes: "tag" },
    { name: "NAME", description: "the tag" },
  ],
  options: [],
  examples: [{ line: "oci tag os:v1 os:latest", says: "os:latest is now os:v1" }],
  async run({ args, global, out, openRepository }) {
    const [image = "", name = ""] = args;
    const { tagImage } = await import("../../index.ts");
    await using repository = await openRepository({ write: true });
    const digest = await tagImage(repository, image, name);
    if (global.json) await out.json({ manifest: digest, tag: name });
    else await out.line(`Tagged ${digest} as ${name}`);
  },
};
