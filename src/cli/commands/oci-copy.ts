// `composefs oci copy IMAGE --from REPOSITORY` (docs/spec/oci.md, section 9)

import type { Command } from "../command.ts";
import { UsageError } from "../failure.ts";

export const ociCopy: Command = {
  name: "oci copy",
  summary: "copy an image from another repository",
  description:
    "Every layer is checked against its diff_id on the way; the algorithms of the repositories may differ. " +
    "The copy gets the same tag, or that of --name; an image named by its digest needs --name to stay.",
  arguments: [{ name: "IMAGE", description: "the image in the other repository" }],
  options: [
    { name: "from", value: "REPOSITORY", description: "the other repository", completes: "directory" },
    { name: "name", value: "TAG", description: "the tag of the copy" },
  ],
  examples: [{ line: "oci copy --repo /srv/new --from /srv/old os:v1", says: "from /srv/old into /srv/new" }],
  interrupted: "interrupted; nothing of the image was published. Run the same copy again to go on",
  async run(context) {
    const { args, text, global, out, signal, progress } = context;
    const [image = ""] = args;
    const from = text("from");
    if (from === undefined) throw new UsageError("oci copy: --from is missing", "see composefs oci copy --help");
    const { Repository } = await import("../../repository/repository.ts");
    const { copyImage } = await import("../../oci/copy.ts");
    await using source = await Repository.open(from, { signal });
    await using destination = await context.openRepository({ write: true });
    const result = await copyImage(source, destination, image, { tag: text("name"), signal, onProgress: progress });
    if (global.json) {
      return out.json({
        manifest: result.manifestDigest,
        manifest_verity: result.manifestVerity,
        config: result.configDigest,
        config_verity: result.configVerity,
        tag: result.tag ?? null,
        images: result.images.map(({ version, id }) => ({ format: version, id })),
      });
    }
    const tagged = result.tag === undefined ? "" : `, tagged as ${result.tag}`;
    if (result.tag === undefined)
      context.note("the copy has no tag: garbage collection will remove it; --name gives it one");
    return out.write(
      [
        `Copied image ${image} from ${from} to destination repo${tagged}`,
        `Manifest digest: ${result.manifestDigest}`,
        `Manifest verity: ${result.manifestVerity}`,
        `Config digest:   ${result.configDigest}`,
        `Config verity:   ${result.configVerity}`,
        "",
      ].join("\n"),
    );
  },
};
