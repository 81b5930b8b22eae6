// `composefs cat NAME`: the original bytes of a stream (docs/spec/splitstream.md)

import type { Command } from "../command.ts";

export const cat: Command = {
  name: "cat",
  summary: "print the original bytes of a stream",
  description:
    "NAME is a content identifier (oci-manifest-sha256:..., oci-config-sha256:..., oci-layer-sha256:...) or refs/... ; " +
    "the tag a/b of an image is refs/oci/a%2Fb. Everything is verified while it is read.",
  arguments: [{ name: "NAME", description: "the stream", completes: "stream" }],
  options: [],
  examples: [{ line: "cat refs/oci/os:v1", says: "the manifest of the image os:v1" }],
  async run({ args, out, global, signal, openRepository }) {
    const [name = ""] = args;
    await using repository = await openRepository();
    if (!global.json) return repository.cat(name, (chunk) => out.write(chunk), { signal });
    const chunks: Uint8Array[] = [];
    await repository.cat(name, (chunk) => void chunks.push(Uint8Array.from(chunk)), { signal });
    const bytes = Buffer.concat(chunks);
    await out.json({ name, size: bytes.length, base64: bytes.toString("base64") });
    return undefined;
  },
};
