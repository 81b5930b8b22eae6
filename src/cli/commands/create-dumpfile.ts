// `composefs create-dumpfile PATH`: a directory as dump text (docs/spec/dumpfile.md)

import type { Command } from "../command.ts";
import { directoryAlgorithm, directoryOptions, DIRECTORY_OPTIONS } from "../directory-options.ts";

/** Lines are written in pieces of about this many characters. */
const PIECE = 64 << 10;

export const createDumpfile: Command = {
  name: "create-dumpfile",
  summary: "print every file of a directory in the composefs dump format",
  description: "The hash of the digests is that of --hash, else the repository's, else sha512. Nothing is stored.",
  arguments: [{ name: "PATH", description: "the directory, usually a root file system", completes: "directory" }],
  options: DIRECTORY_OPTIONS,
  examples: [
    { line: "create-dumpfile ./rootfs > rootfs.dump", says: "what the image of the directory would hold" },
    { line: "create-dumpfile --no-propagate-usr-to-root ./files", says: "of any directory, as it is" },
  ],
  async run(context) {
    const { args, global, out } = context;
    const algorithm = await directoryAlgorithm(context);
    const { directoryTree } = await import("../../tree/directory-tree.ts");
    const { dumpTree } = await import("../../tree/dump.ts");
    const { root } = await directoryTree(args[0] ?? "", { ...directoryOptions(context), algorithms: [algorithm] });
    if (global.json) {
      return out.json({ path: args[0], lines: Array.from(dumpTree(root), (line) => line.trimEnd()) });
    }
    let piece = "";
    for (const line of dumpTree(root)) {
      piece += line;
      if (piece.length < PIECE) continue;
      await out.write(piece);
      piece = "";
    }
    return out.write(piece);
  },
};
