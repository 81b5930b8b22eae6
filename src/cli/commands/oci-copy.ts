// `composefs oci copy IMAGE [DESTINATION]` (docs/spec/oci.md, section 9)

import { writeFile } from "node:fs/promises";

import type { Command, Context } from "../command.ts";
import { UsageError } from "../failure.ts";
import { REGISTRY_OPTIONS, registryOptions } from "../registry-options.ts";

export const ociCopy: Command = {
  name: "oci copy",
  summary: "copy an image from another repository, or out of one",
  description:
    "Without DESTINATION, from the repository --from into this one: every layer is checked against its diff_id on the way; the algorithms " +
    "of the repositories may differ; the copy gets the same tag, or that of --name, and an image named by its digest needs --name to stay. " +
    "With DESTINATION, out of the repository (or that of --from): oci:DIRECTORY[:TAG] adds to a layout, oci-archive:FILE[:TAG] writes an " +
    "archive, docker://NAME[:TAG] pushes to a registry, which is sent what it does not have, the manifest last. Layers are the archives that " +
    "were imported, byte for byte. They go in the blobs that they came in where the pull kept these (--keep-compressed) or they were " +
    "plain, and then the manifest is the one that came, with its digest; the others are compressed with gzip, and the manifest names them.",
  arguments: [
    { name: "IMAGE", description: "the image in the repository that is copied from", completes: "image" },
    { name: "DESTINATION", optional: true, description: "where to, out of the repository" },
  ],
  options: [
    { name: "from", value: "REPOSITORY", description: "the repository that is copied from", completes: "directory" },
    { name: "name", value: "TAG", description: "the tag of the copy in this repository" },
    { name: "uncompressed", description: "with DESTINATION: write layers as plain tar archives" },
    ...REGISTRY_OPTIONS,
    {
      name: "digest-file",
      value: "FILE",
      description: "write the digest of the manifest into FILE",
      completes: "file",
    },
  ],
  examples: [
    { line: "oci copy --repo /srv/new --from /srv/old os:v1", says: "from /srv/old into /srv/new" },
    { line: "oci copy os:v1 docker://h.example/project/os:v1", says: "to a registry" },
    { line: "oci copy os:v1 oci-archive:os.tar:v1", says: "into a file" },
  ],
  interrupted: "interrupted; nothing of the image was published. Run the same copy again to go on",
  async run(context) {
    const [, destination] = context.args;
    const isOut = destination !== undefined;
    for (const name of isOut ? ["name"] : ["uncompressed", "authfile", "creds", "tls-verify"]) {
      const isGiven = name === "uncompressed" ? context.flag(name) : context.text(name) !== undefined;
      if (!isGiven) continue;
      throw new UsageError(
        `oci copy: --${name} ${isOut ? "and DESTINATION exclude each other" : "needs DESTINATION"}`,
        "see composefs oci copy --help",
      );
    }
    return isOut ? copyOut(context, destination) : copyIn(context);
  },
};

async function copyOut(context: Context, destination: string): Promise<void> {
  const { args, text, flag, global, out, signal, progress } = context;
  const [image = ""] = args;
  const from = text("from");
  const digestFile = text("digest-file");
  const { Repository } = await import("../../repository/repository.ts");
  const { exportImage, parseExportTarget } = await import("../../oci/export.ts");
  parseExportTarget(destination);
  await using source = from === undefined ? await context.openRepository() : await Repository.open(from, { signal });
  const exported = await exportImage(source, image, destination, {
    uncompressed: flag("uncompressed"),
    registry: registryOptions(context),
    signal,
    onProgress: progress,
  });
  if (!exported.isOriginal)
    context.note(
      "the manifest is another one than the image came with, since its compressed layers were not kept: " +
        "signatures of that do not hold for this; see oci pull --keep-compressed",
    );
  if (digestFile !== undefined) await writeFile(digestFile, `${exported.manifest}\n`);
  if (global.json) {
    const { manifest, config, layers, isOriginal } = exported;
    return out.json({ manifest, config, layers, is_original: isOriginal, destination });
  }
  return out.write(
    [
      `Copied image ${image} to ${destination}`,
      `Manifest digest: ${exported.manifest}`,
      `Config digest:   ${exported.config}`,
      "",
    ].join("\n"),
  );
}

async function copyIn(context: Context): Promise<void> {
  const { args, text, global, out, signal, progress } = context;
  const [image = ""] = args;
  const from = text("from");
  const digestFile = text("digest-file");
  if (from === undefined) {
    throw new UsageError(
      "oci copy: --from is missing",
      "name the repository to copy from, or a DESTINATION to copy to; see composefs oci copy --help",
    );
  }
  const { Repository } = await import("../../repository/repository.ts");
  const { copyImage } = await import("../../oci/copy.ts");
  await using source = await Repository.open(from, { signal });
  await using destination = await context.openRepository({ write: true });
  const result = await copyImage(source, destination, image, { tag: text("name"), signal, onProgress: progress });
  if (digestFile !== undefined) await writeFile(digestFile, `${result.manifestDigest}\n`);
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
}
