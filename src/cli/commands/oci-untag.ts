// `composefs oci untag NAME`

import type { Command } from "../command.ts";

export const ociUntag: Command = {
  name: "oci untag",
  summary: "remove a tag; what it named stays until gc",
  arguments: [{ name: "NAME", description: "the tag", completes: "tag" }],
  options: [],
  examples: [{ line: "oci untag os:v1", says: "forget the name" }],
  async run({ args, global, out, openRepository }) {
    const [name = ""] = args;
    const { untagImage } = await import("../../oci/tags.ts");
    await using repository = await openRepository({ write: true });
    await untagImage(repository, name);
    if (global.json) await out.json({ removed: name });
    else await out.line(`Removed tag ${name}`);
  },
};
