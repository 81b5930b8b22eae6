// `composefs images`: named images other than OCI images (docs/spec/repository.md, section 7.3)

import type { Command } from "../command.ts";
import { formatTable } from "../table.ts";

export const images: Command = {
  name: "images",
  summary: "list named images (those of OCI images are under oci images)",
  arguments: [],
  options: [{ name: "no-trunc", description: "whole digests" }],
  examples: [{ line: "images --json", says: "for scripts" }],
  async run({ global, flag, out, note, openRepository }) {
    const { listTags } = await import("../../oci/tags.ts");
    await using repository = await openRepository();
    const found = repository.images();
    if (global.json) return out.json({ images: found.map(({ name, target }) => ({ name, digest: target })) });
    if (found.length === 0) {
      await out.line("No images found");
      const tagged = listTags(repository).length;
      if (tagged > 0) note(`OCI images: ${tagged}, see composefs oci images`);
      return undefined;
    }
    const rows = found.map(({ name, target }) => [name, flag("no-trunc") ? target : target.slice(0, 12)]);
    return out.write(formatTable(["NAME", "DIGEST"], rows, out.isTerminal));
  },
};
