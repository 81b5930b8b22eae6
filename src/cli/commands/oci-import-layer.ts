// `composefs oci import-layer DIFF_ID [NAME]`: a layer from stdin (docs/spec/oci.md, section 8)

import type { Command } from "../command.ts";
import { UsageError } from "../failure.ts";

export const ociImportLayer: Command = {
  name: "oci import-layer",
  summary: "import a layer from stdin",
  description:
    "Reads a tar archive, plain or compressed with gzip or zstd, checks that its uncompressed digest is DIFF_ID, and prints " +
    "the object id of its stream. A layer that is there already is not read. NAME is a ref to the stream.",
  arguments: [
    { name: "DIFF_ID", description: "sha256:... of the uncompressed archive" },
    { name: "NAME", optional: true, description: "a name for the stream" },
  ],
  options: [],
  examples: [{ line: "oci import-layer sha256:... < layer.tar.gz", says: "one layer" }],
  interrupted: "interrupted; the layer was not published",
  async run({ args, global, out, signal, openRepository }) {
    const [diffId = "", name] = args;
    if (process.stdin.isTTY)
      throw new UsageError("oci import-layer reads the layer from stdin", "write `< LAYER.tar` behind it");
    const { importSingleLayer } = await import("../../oci/import-layer.ts");
    await using repository = await openRepository({ write: true });
    const { id, existed } = await importSingleLayer(repository, diffId, () => process.stdin, { name, signal });
    if (global.json) await out.json({ diff_id: diffId, verity: id, already_present: existed });
    else await out.line(`${repository.algorithm}:${id}`);
  },
};
