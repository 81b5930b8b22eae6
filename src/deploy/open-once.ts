// Opens every image of a repository once for all that an operation asks about it: reading and verifying manifests and configs is most of
// what a collection does where there are many.

import type { Digest } from "../oci/digest.ts";
import { openManifest, type StoredImage } from "../oci/stored-image.ts";
import type { Repository } from "../repository/repository.ts";

/** Opens an image by the digest of its manifest. @throws ComposefsError as `openManifest`, each time */
export type ManifestOpener = (digest: Digest) => Promise<StoredImage>;

/** An opener that remembers what it found; good for as long as nobody changes the images. */
export function manifestOpener(repository: Repository): ManifestOpener {
  const opened = new Map<Digest, Promise<StoredImage>>();
  return (digest) => {
    const known = opened.get(digest) ?? openManifest(repository, digest, digest);
    opened.set(digest, known);
    return known;
  };
}
