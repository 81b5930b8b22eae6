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

/** All tagged images, sorted by name. An image with many tags is opened once. */
export async function listImages(repository: Repository): Promise<ListedImage[]> {
  const images: ListedImage[] = [];
  const opened = new Map<Digest, Description>();
  for (const { name, manifestDigest } of listTags(repository)) {
    const line: ListedImage = { name, manifest_digest: manifestDigest, ...NOTHING };
    images.push(line);
    try {
      let description = opened.get(manifestDigest);
      if (description === undefined) {
        description = await describe(repository, name, manifestDigest);
        opened.set(manifestDigest, description);
      }
      Object.assign(line, description);
    } catch (error) {
      if (!(error instanceof ComposefsError)) throw error;
      line.error = error.message;
    }
  }
  return images;
}

type Description = Omit<ListedImage, "name" | "manifest_digest" | "error">;

const NOTHING: Description = {
  is_container: false,
  architecture: "",
  os: "",
  created: null,
  layer_count: 0,
  referrer_count: 0,
};

async function describe(repository: Repository, name: string, digest: Digest): Promise<Description> {
  const { manifest, config, isContainer } = await openManifest(repository, name, digest);
  return {
    is_container: isContainer,
    architecture: config.value?.architecture ?? "",
    os: config.value?.os ?? "",
    created: config.value?.created ?? null,
    layer_count: manifest?.value.layers.length ?? 0,
    referrer_count: referrersOf(repository, digest).length,
  };
}
