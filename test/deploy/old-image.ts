// Images as old versions stored them: a config that refers to no EROFS image.

import { unlinkSync } from "node:fs";
import { join } from "node:path";
import { openManifest } from "../../src/oci/stored-image.ts";
import { configRef, configStream, manifestStream, writeDocumentStream } from "../../src/oci/streams.ts";
import type { Repository } from "../../src/repository/repository.ts";

/** Makes an image an old one: the streams of its config and manifest are written without images, and the links of those go. */
export async function forgetImages(repository: Repository, manifest: string): Promise<void> {
  const image = await openManifest(repository, manifest, manifest);
  const { config } = image;
  const layers = [...config.refs].filter(([key]) => !image.imageRefs.has(key));
  const configId = await writeDocumentStream(repository, config.bytes, "ociconfg", layers);
  repository.linkStream(configStream(config.digest), configId);
  if (image.manifest === undefined) throw new Error(`${manifest} is no manifest`);
  const refs = new Map([...image.manifest.refs, [configRef(config.digest), configId] as const]);
  const manifestId = await writeDocumentStream(repository, image.manifest.bytes, "ocimanif", refs);
  repository.linkStream(manifestStream(manifest), manifestId);
  for (const id of new Set(image.imageRefs.values())) unlinkSync(join(repository.path, "images", id));
}
