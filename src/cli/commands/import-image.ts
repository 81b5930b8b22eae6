// `composefs import-image NAME < FILE` (docs/spec/cli-cfsctl.md, section 3.2)

import type { Command } from "../command.ts";
import { UsageError } from "../failure.ts";

export const importImage: Command = {
  name: "import-image",
  summary: "import an image file from stdin",
  description:
    "Reads a composefs image, checks all of it, stores it, names it refs/NAME and prints its id. What is no valid image of " +
    "the repository's algorithm is refused.",
  arguments: [{ name: "NAME", description: "a name for the image", completes: "image" }],
  options: [],
  examples: [{ line: "import-image os/v1 < os.erofs", says: "an image that another machine made" }],
  interrupted: "interrupted; the image was not published",
  async run({ args, global, out, note, signal, openRepository }) {
    const [name = ""] = args;
    if (process.stdin.isTTY)
      throw new UsageError("import-image reads the image from stdin", "write `< FILE` behind it");
    const { importImage: store } = await import("../../repository/import-image.ts");
    await using repository = await openRepository({ write: true });
    const { id, size, missing } = await store(repository, name, process.stdin, { signal });
    if (missing.length > 0) {
      note(
        `the repository lacks ${missing.length} of the image's objects, such as ${missing[0]}: those files cannot be read`,
      );
    }
    if (global.json) await out.json({ image: name, id, size, missing_objects: missing });
    else await out.line(`${repository.algorithm}:${id}`);
  },
};
