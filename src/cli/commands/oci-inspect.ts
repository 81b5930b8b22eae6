// `composefs oci inspect IMAGE` (docs/spec/oci.md, section 8)

import type { Command } from "../command.ts";
import { UsageError } from "../failure.ts";

export const ociInspect: Command = {
  name: "oci inspect",
  summary: "print manifest, config and image id of an OCI image",
  description: "IMAGE is a tag, or a manifest or config digest as sha256:..., @sha256:... or TAG@sha256:...",
  arguments: [{ name: "IMAGE", description: "the image", completes: "tag" }],
  options: [
    { name: "manifest", description: "only the manifest, as it is stored" },
    { name: "config", description: "only the config, as it is stored" },
  ],
  examples: [
    { line: "oci inspect os:v1", says: "everything as JSON" },
    { line: "oci inspect --config os:v1 | jq .config.Entrypoint", says: "one fact" },
  ],
  async run({ args, flag, out, openRepository }) {
    const [name = ""] = args;
    if (flag("manifest") && flag("config")) throw new UsageError("--manifest and --config exclude each other");
    const { imageConfig, imageManifest, inspectImage } = await import("../../oci/inspect.ts");
    await using repository = await openRepository();
    if (!flag("manifest") && !flag("config")) return out.json(await inspectImage(repository, name));
    await out.write(await (flag("manifest") ? imageManifest : imageConfig)(repository, name));
    return out.write("\n");
  },
};
