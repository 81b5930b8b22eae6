// Pulls what refers to an image: signatures, lists of its parts, other artifacts (docs/spec/oci.md, sections 3.1 and 11). They get no
// tags: the referrer index of the repository keeps them.

import { ComposefsError } from "../error.ts";
import type { Repository } from "../repository/repository.ts";
import type { Digest } from "./digest.ts";
import { parseManifest, type Descriptor } from "./manifest.ts";
import { pullUntagged, type UntaggedPull } from "./pull.ts";
import type { PullOptions } from "./pull-options.ts";
import type { ImageReference } from "./reference.ts";
import { readDocument } from "./source/document.ts";
import { openSource } from "./source/open.ts";
import type { ImageSource, ResolvedManifest } from "./source/source.ts";

/** Referrers of one image, at most. */
const MAX_REFERRERS = 256;

/** Options of {@link pullReferrers}. */
export interface PullReferrersOptions extends Pick<PullOptions, "jobs" | "registry" | "signal" | "onProgress"> {
  /** Only artifacts of this type; all of them when left out. */
  artifactType?: string | undefined;
}

/**
 * Pulls the manifests that name an image as their subject, one after the other.
 *
 * @param subject digest of the image's manifest as the registry has it
 * @returns what was pulled, in the registry's order
 * @throws ComposefsError `unsupported` for a source other than a registry, `limit`, and as `pull`
 */
export async function pullReferrers(
  repository: Repository,
  reference: string | ImageReference,
  subject: Digest,
  options: PullReferrersOptions = {},
): Promise<UntaggedPull[]> {
  repository.checkWritable();
  const { artifactType, signal, onProgress, registry } = options;
  await using source = await openSource(reference, { onProgress, signal, registry });
  if (source.referrers === undefined)
    throw new ComposefsError("unsupported", `${source.transport}: has no list of what refers to an image`, {
      hint: "registries have, as in docker://HOST/NAME",
    });
  const offered = await source.referrers(subject, {
    ...(artifactType === undefined ? {} : { artifactType }),
    ...(signal && { signal }),
  });
  const distinct = new Map(offered.map((descriptor) => [descriptor.digest, descriptor]));
  const wanted = [...distinct.values()].filter(
    (one) => artifactType === undefined || one.artifactType === artifactType,
  );
  if (wanted.length > MAX_REFERRERS)
    throw new ComposefsError("limit", `${wanted.length} manifests refer to ${subject}; ${MAX_REFERRERS} is the limit`, {
      digest: subject,
      hint: "choose those of one type",
    });
  const pulled: UntaggedPull[] = [];
  for (const descriptor of wanted) {
    const bytes = await readDocument(source, descriptor, "the manifest", signal);
    if (parseManifest(bytes, `the manifest ${descriptor.digest}`).subject?.digest !== subject) {
      onProgress?.({ type: "warning", message: `${descriptor.digest} does not refer to ${subject}: left out` });
      continue;
    }
    pulled.push(await pullUntagged(repository, onlyManifest(source, descriptor, bytes), options));
  }
  return pulled;
}

/** The source as one that has a single image. */
function onlyManifest(source: ImageSource, { digest, mediaType }: Descriptor, bytes: Uint8Array): ImageSource {
  return {
    transport: source.transport,
    resolve: async (): Promise<ResolvedManifest> => ({ bytes, digest, mediaType }),
    blob: (descriptor, options) => source.blob(descriptor, options),
    // It is closed by who opened it.
    [Symbol.asyncDispose]: async () => {},
  };
}
