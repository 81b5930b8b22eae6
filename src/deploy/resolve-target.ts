// The image that a reference means now (docs/spec/deployments.md, section 4.4): its manifest as it would be stored, fetched before anything
// is decided.

import type { Digest } from "../oci/digest.ts";
import { imageRefKey, isBootImageRef } from "../oci/image-refs.ts";
import type { Manifest } from "../oci/manifest.ts";
import { resolveImage } from "../oci/pull-plan.ts";
import { readDocument } from "../oci/source/document.ts";
import { openSource } from "../oci/source/open.ts";
import { manifestStream } from "../oci/streams.ts";
import { openManifest } from "../oci/stored-image.ts";
import { ComposefsError } from "../error.ts";
import { checkSignature, type FetchOptions } from "./deployment-image.ts";
import { type HostImage, pullReference } from "./image-reference.ts";
import type { OpenSysroot, OpenSysrootOptions } from "./open-sysroot.ts";
import type { SysrootState } from "./state.ts";

/** What a reference means now. */
export interface ResolvedTarget {
  /** As it is stored: that of a Docker manifest is another one than the registry's. */
  readonly digest: Digest;
  readonly bytes: Uint8Array;
  readonly manifest: Manifest;
  /** Only when it was asked for. */
  readonly configBytes: Uint8Array | undefined;
}

/**
 * Asks the source of an image.
 *
 * @throws ComposefsError as the sources
 */
export async function resolveTarget(
  { signal, onProgress }: Pick<OpenSysrootOptions, "signal" | "onProgress">,
  reference: HostImage,
  options: FetchOptions & { readonly config?: boolean } = {},
): Promise<ResolvedTarget> {
  checkSignature(reference);
  const { registry, platform } = options;
  await using source = await openSource(pullReference(reference), { signal, onProgress, registry });
  const { digest, bytes, manifest } = await resolveImage(source, { platform, signal, onProgress });
  const configBytes = options.config ? await readDocument(source, manifest.config, "the config", signal) : undefined;
  return { digest, bytes, manifest, configBytes };
}

/**
 * The deployment id of an image that is stored with its boot image; undefined otherwise. Where it has several, one that a deployment has.
 */
export async function storedDeploymentId(
  { repository }: OpenSysroot,
  digest: Digest,
  state: SysrootState,
): Promise<string | undefined> {
  if (repository.stream(manifestStream(digest)) === undefined) return undefined;
  try {
    const { imageRefs } = await openManifest(repository, digest, digest);
    const ids = [...imageRefs].filter(([key]) => isBootImageRef(key)).map(([, id]) => id);
    const [version = 1] = repository.formats;
    const usual = imageRefs.get(imageRefKey({ version, boot: true }));
    return ids.find((id) => state.state.has(id)) ?? usual;
  } catch (error) {
    // It is pulled again.
    if (error instanceof ComposefsError && ["corrupt", "not-found", "invalid"].includes(error.code)) return undefined;
    throw error;
  }
}
