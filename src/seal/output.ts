// Where a sealed image goes: a layout or a repository. Blobs and objects first, the name last.

import type { ObjectId } from "../bytes/algorithm.ts";
import { LayoutWriter } from "../oci/layout-write.ts";
import { MEDIA_TYPE } from "../oci/manifest.ts";
import { parseImageConfig } from "../oci/config.ts";
import { pullFrom } from "../oci/pull.ts";
import { checkTag } from "../oci/tag-name.ts";
import type { ProgressListener } from "../progress.ts";
import type { Repository } from "../repository/repository.ts";
import type { FormatVersion } from "../core/erofs.ts";
import type { SealedImage } from "./sealed-image.ts";

/** Where the result goes. */
export type SealOutput =
  /** An OCI layout, made when missing. */
  | { readonly kind: "layout"; readonly directory: string; readonly tag: string | undefined }
  /** A tag of a repository. */
  | { readonly kind: "tag"; readonly repository: Repository; readonly name: string };

/**
 * Refuses what could not be written, before the work.
 *
 * @throws ComposefsError `exists` for a directory that is no layout, `invalid` for an impossible tag, `read-only`, `permission`
 */
export async function checkOutput(output: SealOutput): Promise<void> {
  if (output.kind === "layout") {
    LayoutWriter.open(output.directory);
    return;
  }
  output.repository.checkWritable();
  checkTag(output.name);
}

/** Writes the image. What is there already is not written again. */
export async function writeSealed(
  image: SealedImage,
  output: SealOutput,
  { version, bootId }: { readonly version: FormatVersion; readonly bootId: ObjectId },
  options: { readonly signal?: AbortSignal | undefined; readonly onProgress?: ProgressListener | undefined },
): Promise<void> {
  const { signal, onProgress } = options;
  if (output.kind === "tag") {
    const { repository, name } = output;
    // The UKI names an image of this format: the repository must have it, whatever else it keeps.
    const formats = [...new Set([...repository.formats, version])];
    const expected = version === 0 ? {} : { expectedDigest: bootId };
    await pullFrom(repository, image, { tag: name, name, formats, bootable: true, ...expected, signal, onProgress });
    return;
  }
  const writer = LayoutWriter.open(output.directory);
  for (const blob of image.blobs) {
    const { digest, size } = blob;
    if (writer.has(blob)) {
      onProgress?.({ type: "done", id: digest, skipped: true });
      continue;
    }
    onProgress?.({
      type: "start",
      id: digest,
      kind: blob.mediaType === MEDIA_TYPE.ociConfig ? "config" : "layer",
      label: digest,
      total: size,
    });
    await writer.put(blob, image.blob(blob, signal === undefined ? {} : { signal }), signal);
    onProgress?.({ type: "done", id: digest });
  }
  const manifest = await writer.putBytes(image.manifest.bytes, MEDIA_TYPE.ociManifest);
  const { os, architecture, variant } = parseImageConfig(image.config.bytes);
  await writer.publish(manifest, output.tag, { os, architecture, ...(variant === undefined ? {} : { variant }) });
}
