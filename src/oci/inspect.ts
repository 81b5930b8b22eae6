// `oci inspect`: the documents of an image and what was made of it (docs/spec/oci.md, section 8).

import type { ObjectId } from "../bytes/algorithm.ts";
import type { FormatVersion } from "../core/erofs.ts";
import { ComposefsError } from "../error.ts";
import type { Repository } from "../repository/repository.ts";
import type { Digest } from "./digest.ts";
import { imageRefKey } from "./image-refs.ts";
import { referrersOf } from "./referrers.ts";
import { openImage } from "./stored-image.ts";

/** What `oci inspect` prints; the JSON has these names. */
export interface ImageInspection {
  /** The raw text of the manifest. */
  manifest: string;
  /** The raw text of the config. */
  config: string;
  /** Digests of the manifests that name this one as their subject. */
  referrers: Digest[];
  /** Image id in the repository's default format; null for artifacts and when there is none. */
  composefs_erofs: ObjectId | null;
  /** The same of the boot variant. */
  composefs_boot_erofs: ObjectId | null;
}

/**
 * Inspects an image.
 *
 * @param name tag, `@DIGEST`, `DIGEST` or `TAG@DIGEST`
 * @param version the format whose image ids are wanted; the repository's default when left out
 */
export async function inspectImage(
  repository: Repository,
  name: string,
  version: FormatVersion | undefined = repository.formats[0],
): Promise<ImageInspection> {
  const image = await openImage(repository, name);
  const id = (boot: boolean) =>
    version === undefined ? null : (image.imageRefs.get(imageRefKey({ version, boot })) ?? null);
  return {
    manifest: image.manifest === undefined ? "" : text(image.manifest.bytes),
    config: text(image.config.bytes),
    referrers: image.manifest === undefined ? [] : referrersOf(repository, image.manifest.digest),
    composefs_erofs: id(false),
    composefs_boot_erofs: id(true),
  };
}

/** The raw bytes of an image's manifest. */
export async function imageManifest(repository: Repository, name: string): Promise<Uint8Array> {
  const { manifest, config } = await openImage(repository, name);
  if (manifest !== undefined) return manifest.bytes;
  throw new ComposefsError("invalid", `${name} is a config, which does not say its manifest`, {
    digest: config.digest,
    hint: "name the image by its tag or its manifest digest",
  });
}

/** The raw bytes of an image's config. */
export async function imageConfig(repository: Repository, name: string): Promise<Uint8Array> {
  return (await openImage(repository, name)).config.bytes;
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8");
}
