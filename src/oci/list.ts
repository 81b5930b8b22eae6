// `oci images`: what is tagged (docs/spec/oci.md, section 8). An image that cannot be opened is listed with its error.

import { ComposefsError } from "../error.ts";
import type { Repository } from "../repository/repository.ts";
import type { Digest } from "./digest.ts";
import { referrersOf } from "./referrers.ts";
import { openManifest } from "./stored-image.ts";
import { listTags } from "./tags.ts";

/** One line of the list; the JSON of `oci images` has these names. */
export interface ListedImage {
  name: string;
  manifest_digest: Digest;
  is_container: boolean;
  /** Empty for artifacts. */
  architecture: string;
  os: string;
  created: string | null;
  layer_count: number;
  referrer_count: number;
  /** Why the image cannot be opened; the fields before are empty then. */
  error?: string;
}

/** All tagged images, sorted by name. */
export async function listImages(repository: Repository): Promise<ListedImage[]> {
  const images: ListedImage[] = [];
  for (const { name, manifestDigest } of listTags(repository)) {
    const line: ListedImage = {
      name,
      manifest_digest: manifestDigest,
      is_container: false,
      architecture: "",
      os: "",
      created: null,
      layer_count: 0,
      referrer_count: 0,
    };
    images.push(line);
    try {
      const { manifest, config, isContainer } = await openManifest(repository, name, manifestDigest);
      line.is_container = isContainer;
      line.architecture = config.value?.architecture ?? "";
      line.os = config.value?.os ?? "";
      line.created = config.value?.created ?? null;
      line.layer_count = manifest?.value.layers.length ?? 0;
      line.referrer_count = referrersOf(repository, manifestDigest).length;
    } catch (error) {
      if (!(error instanceof ComposefsError)) throw error;
      line.error = error.message;
    }
  }
  return images;
}
