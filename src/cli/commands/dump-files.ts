// `composefs dump-files IMAGE [PATH]...` (docs/spec/tree.md, section 6)

import type { Command } from "../command.ts";

export const dumpFiles: Command = {
  name: "dump-files",
  summary: "print files and directories of an image as dump lines",
  description:
    "A directory is printed with all that is below it. Paths are printed as they were given. IMAGE is an image id (with or " +
    "without sha256: or sha512:), refs/NAME, or the name of a ref.",
  arguments: [
    { name: "IMAGE", description: "the image", completes: "image" },
    { name: "PATH", optional: true, repeat: true, description: "a path in the image" },
  ],
  options: [
    {
      name: "backing-path-only",
      description: "print where each file's content is: PATH inline, or PATH and its path below objects/",
    },
  ],
  examples: [{ line: "dump-files refs/os /etc /usr/bin/env", says: "a directory and a file" }],
  async run({ args, out, global, flag, openRepository }) {
    const [image = "", ...given] = args;
    const { displayBytes, utf8ByteString } = await import("../../bytes/byte-string.ts");
    const { backingPaths, dumpFiles: dump } = await import("../../repository/dump-files.ts");
    const paths = given.map((path) => utf8ByteString(path));
    await using repository = await openRepository();
    if (!flag("backing-path-only")) {
      const lines = dump(repository, image, paths);
      if (global.json) return out.json({ image, lines: lines.map((line) => line.trimEnd()) });
      return out.write(lines.join(""));
    }
    const found = backingPaths(repository, image, paths).map(({ path, object }) => ({
      path: displayBytes(path),
      object,
    }));
    if (global.json) return out.json({ image, files: found.map(({ path, object = null }) => ({ path, object })) });
    return out.write(found.map(({ path, object }) => `${path} ${object ?? "inline"}\n`).join(""));
  },
};
