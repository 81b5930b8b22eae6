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
      const objects: string[] = [];
      for (const lines of imageObjectLines(repository, name))
        for (const id of Buffer.from(lines).toString("latin1").trimEnd().split("\n")) objects.push(prefix + id);
      return out.json({ image: name, objects });
    }
    for (const lines of imageObjectLines(repository, name)) await out.write(prefixed(lines, prefix));
    return undefined;
  },
};

let room = Buffer.alloc(0);

/** Puts a prefix before every line; the lines of ids are equally long. As bytes, as strings would double the memory. */
function prefixed(lines: Uint8Array, prefix: string): Uint8Array {
  const line = lines.indexOf(LINE_FEED) + 1;
  const count = lines.length / line;
  const size = count * (prefix.length + line);
  if (room.length < size) room = Buffer.alloc(size);
  let at = 0;
  for (let from = 0; from < lines.length; from += line) {
    at += room.write(prefix, at, "latin1");
    room.set(lines.subarray(from, from + line), at);
    at += line;
  }
  return room.subarray(0, at);
}

const LINE_FEED = 0x0a;
