// `composefs create-dumpfile PATH`: a directory as dump text (docs/spec/dumpfile.md)

import type { Command } from "../command.ts";
import { BOOT_MTIMES, BOOTABLE, bootableRun } from "../boot-options.ts";
import { directoryAlgorithm, directoryOptions, DIRECTORY_OPTIONS } from "../directory-options.ts";
import { outputError } from "../output.ts";

/** Lines are written in pieces of about this many characters. */
const PIECE = 64 << 10;

export const createDumpfile: Command = {
  name: "create-dumpfile",
  summary: "print every file of a directory in the composefs dump format",
  description: "The hash of the digests is that of --hash, else the repository's, else sha512. Nothing is stored.",
  arguments: [{ name: "PATH", description: "the directory, usually a root file system", completes: "directory" }],
  options: [
    BOOTABLE,
    BOOT_MTIMES,
    ...DIRECTORY_OPTIONS,
    {
      name: "output",
      short: "o",
      value: "FILE",
      description: "write to FILE, which keeps what it has until the dump is complete",
      completes: "file",
    },
  ],
  examples: [
    { line: "create-dumpfile ./rootfs -o rootfs.dump", says: "what the image of the directory would hold" },
    { line: "create-dumpfile --bootable ./rootfs", says: "of its boot image, with SELinux labels" },
    { line: "create-dumpfile --no-propagate-usr-to-root ./files", says: "of any directory, as it is" },
  ],
  async run(context) {
    const { args, global, out } = context;
    const [path = ""] = args;
    const target = context.text("output");
    const algorithm = await directoryAlgorithm(context);
    if (target !== undefined) await checkTarget(path, target);
    const { directoryTree } = await import("../../tree/directory-tree.ts");
    const { dumpTree } = await import("../../tree/dump.ts");
    const { transform } = await bootableRun(context, path);
    const options = { ...directoryOptions(context), transform, algorithms: [algorithm] };
    const { root, entries } = await directoryTree(path, options);
    if (target !== undefined) {
      await writeFile(target, pieces(dumpTree(root)));
      return global.json ? out.json({ path, output: target, entries }) : undefined;
    }
    if (global.json) return out.json({ path, lines: Array.from(dumpTree(root), (line) => line.trimEnd()) });
    for (const piece of pieces(dumpTree(root))) await out.write(piece);
  },
};

function* pieces(lines: Iterable<string>): Generator<string> {
  let piece = "";
  for (const line of lines) {
    piece += line;
    if (piece.length < PIECE) continue;
    yield piece;
    piece = "";
  }
  yield piece;
}

// The dump would describe its own making.
async function checkTarget(path: string, target: string): Promise<void> {
  const { isSpecialFile } = await import("../replacement.ts");
  const { checkOutside } = await import("../../tree/scan/outside.ts");
  if (!isSpecialFile(target)) checkOutside(path, target, "the dump");
}

async function writeFile(path: string, text: Iterable<string>): Promise<void> {
  const { openReplacement } = await import("../replacement.ts");
  const replacement = openReplacement(path, (error) => outputError(`writing ${path}`, error as NodeJS.ErrnoException));
  try {
    for (const piece of text) replacement.write(piece);
    replacement.commit();
  } finally {
    replacement.discard();
  }
}
