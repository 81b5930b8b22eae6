// `composefs oci images` (docs/spec/oci.md, section 8)

import type { Command } from "../command.ts";
import { formatTable } from "../table.ts";

export const ociImages: Command = {
  name: "oci images",
  summary: "list the tagged OCI images",
  arguments: [],
  options: [{ name: "no-trunc", description: "whole digests" }],
  examples: [
    { line: "oci images", says: "as a table" },
    { line: "oci images --json", says: "for scripts" },
  ],
  async run({ global, flag, out, openRepository }) {
    const { listImages } = await import("../../oci/list.ts");
    await using repository = await openRepository();
    const images = await listImages(repository);
    if (global.json) return out.json({ images });
    if (images.length === 0) return out.line("No images found");
    const rows = images.map((image) => [
      image.name,
      flag("no-trunc") ? image.manifest_digest : (image.manifest_digest.split(":")[1] ?? "").slice(0, 12),
      image.error !== undefined ? "damaged" : image.architecture === "" ? "artifact" : image.architecture,
      String(image.layer_count),
      String(image.referrer_count),
    ]);
    return out.write(formatTable(["NAME", "DIGEST", "ARCH", "LAYERS", "REFS"], rows, out.isTerminal));
  },
};
