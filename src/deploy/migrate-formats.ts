// Brings images of older versions up to date (docs/spec/deployments.md, section 4.8, step 1): those whose config refers to no EROFS image
// get one, so that their tag keeps all that they need. Bytes and digests of manifests and configs stay.

import type { FormatVersion } from "../core/erofs.ts";
import { ComposefsError, throwIfAborted } from "../error.ts";
import { commitImage, type ImageParts } from "../oci/commit.ts";
import type { Digest } from "../oci/digest.ts";
import { imageRefKey } from "../oci/image-refs.ts";
import { isStoredImage } from "../oci/image-version.ts";
import { linkedObject } from "../oci/publish.ts";
import { configStream } from "../oci/streams.ts";
import { listTags } from "../oci/tags.ts";
import type { ProgressListener } from "../progress.ts";
import type { Repository } from "../repository/repository.ts";
import { type ManifestOpener, manifestOpener } from "./open-once.ts";

/** Options of {@link migrateFormats}. */
export interface MigrateFormatsOptions {
  /** Only say which images it would be. */
  readonly dryRun?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
  /** How images are opened; what it remembers is out of date when anything was brought up to date. */
  readonly open?: ManifestOpener | undefined;
}

/**
 * Makes the EROFS images that tagged container images lack in the default format of the repository. An image that cannot be opened or
 * made into a file system is a warning to the listener, and stays as it is. Harmless to repeat.
 *
 * @returns the manifests of the images that were brought up to date, or would be
 * @throws ComposefsError `aborted`, `read-only`
 */
export async function migrateFormats(
  { repository }: { readonly repository: Repository },
  { dryRun = false, signal, onProgress, open = manifestOpener(repository) }: MigrateFormatsOptions = {},
): Promise<Digest[]> {
  if (!dryRun) repository.checkWritable();
  const [format] = repository.formats as readonly [FormatVersion];
  const migrated: Digest[] = [];
  const seen = new Set<Digest>();
  for (const { name, manifestDigest } of listTags(repository)) {
    throwIfAborted(signal);
    if (seen.has(manifestDigest)) continue;
    seen.add(manifestDigest);
    try {
      const parts = await partsWithoutImage(repository, manifestDigest, format, open);
      if (parts === undefined) continue;
      if (!dryRun)
        await commitImage(repository, parts, {
          formats: [format],
          ...(signal && { signal }),
          ...(onProgress && { onProgress }),
        });
      migrated.push(manifestDigest);
    } catch (error) {
      if (!(error instanceof ComposefsError) || error.code === "aborted") throw error;
      onProgress?.({ type: "warning", message: `${name} could not be brought up to date: ${error.message}` });
    }
  }
  return migrated;
}

async function partsWithoutImage(
  repository: Repository,
  digest: Digest,
  format: FormatVersion,
  open: ManifestOpener,
): Promise<ImageParts | undefined> {
  // A dangling tag is reported where tags are looked at.
  const image = await open(digest);
  const { manifest, config, isContainer, layers } = image;
  if (!isContainer || manifest === undefined) return undefined;
  const id = image.imageRefs.get(imageRefKey({ version: format }));
  // Names that a loss of power took are made again, too.
  const isLinked = id !== undefined && linkedObject(repository, "images", id) === id;
  const isNamed = repository.stream(configStream(config.digest)) !== undefined;
  if (isStoredImage(repository, id, format) && isLinked && isNamed) return undefined;
  return {
    manifestDigest: digest,
    manifestBytes: manifest.bytes,
    manifest: manifest.value,
    configDigest: config.digest,
    configBytes: config.bytes,
    isContainer,
    layers,
  };
}
