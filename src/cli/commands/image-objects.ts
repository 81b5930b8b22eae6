// `composefs image-objects NAME`: the objects that an image refers to

import type { Command } from "../command.ts";

/** Lines that are written at once: an image can have millions. */
const LINES = 8192;

export const imageObjects: Command = {
  name: "image-objects",
  summary: "list the objects that an image refers to",
  description: "NAME is an image id (with or without sha256: or sha512:), refs/NAME, or the name of a ref.",
  arguments: [{ name: "NAME", description: "the image", completes: "image" }],
  options: [],
  examples: [{ line: "image-objects refs/os | wc -l", says: "how many they are" }],
  async run({ args, out, global, openRepository }) {
    const [name = ""] = args;
    const { imageObjects: list } = await import("../../repository/image-objects.ts");
    await using repository = await openRepository();
    const objects = (await list(repository, name)).map((id) => `${repository.algorithm}:${id}`);
    if (global.json) return out.json({ image: name, objects });
    for (let i = 0; i < objects.length; i += LINES) await out.write(`${objects.slice(i, i + LINES).join("\n")}\n`);
    return undefined;
  },
};
