// `composefs oci tag DIGEST NAME`

import type { Command } from "../command.ts";

export const ociTag: Command = {
  name: "oci tag",
  summary: "give an image another name",
  description: "DIGEST is the image's manifest digest, with or without @. An existing tag NAME is moved.",
  arguments: [
    { name: "DIGEST", description: "the image", completes: "digest" },
    { name: "NAME", description: "the tag" },
  ],
  options: [],
  examples: [{ line: "oci tag sha256:... os:latest", says: "os:latest is now that image" }],
  async run({ args, global, out, openRepository }) {
    const [image = "", name = ""] = args;
    const { tagImage } = await import("../../oci/tags.ts");
    await using repository = await openRepository({ write: true });
    const { manifestDigest } = await tagImage(repository, image, name);
    if (global.json) await out.json({ manifest: manifestDigest, tag: name });
    else await out.line(`Tagged ${manifestDigest} as ${name}`);
  },
};
