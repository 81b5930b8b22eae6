#!/usr/bin/env node
// The program `composefs-dump SRC DEST`: reads an image and writes it again, in its own version (docs/spec/tools-c.md, section 3). A
// test of reader and writer: DEST is the same, byte for byte. Unlike the C tool it knows version 2, and an old DEST is replaced
// only when the new one is complete.

import { CToolError, failedTo, runCTool, writeAll } from "./c-tool.ts";
import { DUMP_USAGE } from "./composefs-dump-usage.ts";
import { getopt } from "./getopt.ts";
import { withImage } from "./open-image.ts";
import { openReplacement } from "./replacement.ts";

await runCTool("composefs-dump", DUMP_USAGE, async (words) => {
  const { options, args } = getopt(words, { flags: ["json", "help", "version"], values: [] });
  const [source, target] = args;
  if (source === undefined) throw new CToolError("No source path specified", { usage: true });
  if (target === undefined) throw new CToolError("No destination path specified", { usage: true });
  const { rewriteImage } = await import("../image/rewrite.ts");
  const written = withImage(source, (fd) => {
    const replacement = openReplacement(target, (error) => failedTo(`failed to open '${target}'`, error));
    try {
      const result = rewriteImage(fd, (piece) => replacement.write(piece));
      replacement.commit();
      return result;
    } finally {
      replacement.discard();
    }
  });
  if (options.some(([name]) => name === "json"))
    writeAll(1, `${JSON.stringify({ image: target, ...written }, undefined, 2)}\n`);
});
