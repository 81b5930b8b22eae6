// `composefs image-objects NAME`: the objects that an image refers to

import type { Command } from "../command.ts";

export const imageObjects: Command = {
  name: "image-objects",
  summary: "list the objects that an image refers to",
  description: "NAME is an image id (with or without sha256: or sha512:), refs/NAME, or the name of a ref.",
  arguments: [{ name: "NAME", description: "the image", completes: "image" }],
  options: [],
  examples: [{ line: "image-objects refs/os | wc -l", says: "how many they are" }],
  async run({ args, out, global, openRepository }) {
    const [name = ""] = args;
    const { imageObjectLines } = await import("../../repository/image-objects.ts");
    await using repository = await openRepository();
    const prefix = `${repository.algorithm}:`;
    if (global.json) {
      const objects = [...imageObjectLines(repository, name)].flatMap((lines) => lines.trimEnd().split("\n"));
      return out.json({ image: name, objects: objects.map((id) => `${prefix}${id}`) });
    }
    for (const lines of imageObjectLines(repository, name)) {
      await out.write(`${prefix}${lines.trimEnd().replaceAll("\n", `\n${prefix}`)}\n`);
    }
    return undefined;
  },
};
