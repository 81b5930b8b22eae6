// The tests that look into the repository (docs/spec/deployments.md, section 4.10): C1, C4, C5 and C6.

import { repositoryBodies } from "../../boot/boot-directory.ts";
import { bootableTransform } from "../../boot/bootable-transform.ts";
import type { FormatVersion } from "../../core/erofs.ts";
import { ComposefsError, throwIfAborted } from "../../error.ts";
import { imageId } from "../../image/write.ts";
import { buildTree } from "../../oci/build-image.ts";
import type { Digest } from "../../oci/digest.ts";
import { imageRefKey } from "../../oci/image-refs.ts";
import { verifyLayer } from "../../oci/layer-bytes.ts";
import { openManifest, type StoredImage } from "../../oci/stored-image.ts";
import { manifestStream } from "../../oci/streams.ts";
import { listTags } from "../../oci/tags.ts";
import type { Repository } from "../../repository/repository.ts";
import { XATTR_MODES } from "../../tree/xattr-filter.ts";
import type { Deployment } from "../deployments.ts";
import { ownedTag } from "../gc.ts";
import type { CheckReport } from "./finding.ts";

/** How closely images are looked at. */
export interface ImageCheckOptions {
  /** Also read every layer, and compute every image anew. */
  readonly deep?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** C1: the image of a deployment is there. */
export function checkImageLink(id: string, repository: Repository | undefined, report: CheckReport): void {
  try {
    if (repository?.hasObject(repository.resolveImage(id).id)) return;
  } catch (error) {
    if (!isFinding(error)) throw error;
  }
  report.add("error", "C1", `the image is missing: images/${id} leads nowhere`, { id });
}

/** C4, C5 and C6 for one deployment. */
export async function checkImage(
  { id, manifestDigest }: Deployment,
  repository: Repository,
  report: CheckReport,
  options: ImageCheckOptions,
): Promise<void> {
  if (manifestDigest === undefined) return;
  throwIfAborted(options.signal);
  const warn = (error: unknown) => {
    if (!isFinding(error)) throw error;
    report.add("warning", "C4", error.message, { id });
  };
  let image: StoredImage;
  try {
    image = await openManifest(repository, manifestDigest, manifestDigest);
  } catch (error) {
    warn(error);
    return;
  }
  let isWhole = true;
  for (const [index, layer] of image.layers.entries()) {
    try {
      if (options.deep) await verifyLayer(repository, layer.id, layer.digest, `layer ${index + 1}`, options.signal);
      else await repository.openStream(layer.id);
    } catch (error) {
      isWhole = false;
      warn(error);
    }
  }
  const tags = listTags(repository);
  const tag = ownedTag(manifestDigest);
  if (!tags.some((one) => one.name === tag && one.manifestDigest === manifestDigest))
    report.add("warning", "C6", `the image has no tag ${tag}, which keeps it from being collected`, { id });
  const keys = [...image.imageRefs].filter(([, target]) => target === id).map(([key]) => key);
  if (keys.length === 0) {
    report.add("error", "C5", `the config ${image.config.digest} does not refer to the image`, { id });
    return;
  }
  // The damage has been reported already.
  if (!options.deep || !isWhole) return;
  try {
    if (await isMadeOf(id, keys, image, repository, options.signal)) return;
    report.add("error", "C5", `the layers of ${manifestDigest} give another image`, { id });
  } catch (error) {
    if (!isFinding(error)) throw error;
    report.add("error", "C5", `the image cannot be computed: ${error.message}`, { id });
  }
}

// Whether one of the variants that the keys may mean is the image.
async function isMadeOf(
  id: string,
  keys: readonly string[],
  { layers }: StoredImage,
  repository: Repository,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const versions: FormatVersion[] = [0, 1, 2];
  for (const xattrs of XATTR_MODES)
    for (const boot of [true, false]) {
      const wanted = versions.filter((version) => keys.includes(imageRefKey({ version, boot, xattrs })));
      if (wanted.length === 0) continue;
      const tree = await buildTree(repository, layers, { xattrs, signal });
      if (boot) await bootableTransform(tree, { readFile: repositoryBodies(repository), signal });
      for (const version of wanted)
        if (imageId(tree, { version, algorithm: repository.algorithm, dialect: "rs" }).id === id) return true;
    }
  return false;
}

/** C6: no tag leads nowhere. */
export function checkTags(repository: Repository, report: CheckReport): void {
  const isThere = (digest: Digest) => repository.stream(manifestStream(digest)) !== undefined;
  for (const { name, manifestDigest } of listTags(repository))
    if (!isThere(manifestDigest))
      report.add("warning", "C6", `the tag ${name} names a manifest that is missing: ${manifestDigest}`);
}

/** Whether an error is about what was looked at, and not about looking. */
export function isFinding(error: unknown): error is ComposefsError {
  return error instanceof ComposefsError && !["permission", "io", "aborted", "internal"].includes(error.code);
}
