// `composefs oci layer DIFF_ID` (docs/spec/oci.md, section 8)

import type { Command } from "../command.ts";
import { UsageError } from "../failure.ts";

export const ociLayer: Command = {
  name: "oci layer",
  summary: "print a layer: its tar archive, its entries, or facts",
  description: "Without an option the original tar bytes, which are refused on a terminal.",
  arguments: [{ name: "DIFF_ID", description: "the layer" }],
  options: [{ name: "dumpfile", description: "its entries in the dump format, in the order of the archive" }],
  examples: [
    { line: "oci layer sha256:... | tar tv", says: "what it holds" },
    { line: "oci layer --json sha256:...", says: "sizes and counts" },
  ],
  async run({ args, global, flag, out, openRepository }) {
    const [diffId = ""] = args;
    if (flag("dumpfile") && global.json) throw new UsageError("--dumpfile and --json exclude each other");
    if (!flag("dumpfile") && !global.json && out.isTerminal) {
      throw new UsageError(
        "oci layer: a tar archive is not for a terminal",
        "redirect it, or use --dumpfile or --json",
      );
    }
    const { layerInfo, layerTar, layerDump } = await import("../../oci/layer-info.ts");
    await using repository = await openRepository();
    if (global.json) return out.json(await layerInfo(repository, diffId));
    if (flag("dumpfile")) {
      for await (const line of layerDump(repository, diffId)) await out.write(Buffer.from(line, "latin1"));
      return undefined;
    }
    for await (const chunk of layerTar(repository, diffId)) await out.write(chunk);
    return undefined;
  },
};
