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
    const { listImages } = await import("../../index.ts");
    await using repository = await openRepository();
    const found = await repository.images();
    if (global.json) return out.json({ images: found.map(({ name, id }) => ({ name, digest: id })) });
    if (found.length === 0) {
      await out.line("No images found");
      const tagged = (await listImages(repository)).length;
      if (tagged > 0) note(`there are ${tagged} OCI images: composefs oci images`);
      return undefined;
    }
    const rows = found.map(({ name, id }) => [name, flag("no-trunc") ? id : id.slice(0, 12)]);
    return out.write(formatTable(["NAME", "DIGEST"], rows, out.isTerminal));
  },
};
