// Pulls every image of an index, one for each platform (docs/spec/oci.md, section 2.4): a repository has manifests, and no indexes. The
// image for the platform that a plain pull would take has the plain tag, too.

import { ComposefsError } from "../error.ts";
import type { Repository } from "../repository/repository.ts";
import { chooseCandidate, formatPlatform, hostPlatform, type Platform } from "./platform.ts";
import { pullFrom } from "./pull.ts";
import type { PullOptions, PullResult } from "./pull-options.ts";
import type { ImageReference } from "./reference.ts";
import { openSource } from "./source/open.ts";
import type { ImageSource } from "./source/source.ts";
import { checkTag } from "./tag-name.ts";
import { tagImage } from "./tags.ts";

/** An image of an index. */
export interface PlatformPull extends PullResult {
  /** Undefined where the reference leads to one image. */
  readonly platform: Platform | undefined;
}

/** Options of {@link pullAll}. */
export interface PullAllOptions extends Omit<PullOptions, "platform" | "tag" | "expectedDigest"> {
  /** What the tags begin with; the reference itself when left out. */
  tag?: string | undefined;
}

/**
 * The tag of the image for a platform: the common one, `-`, and the platform with `-` in place of `/`, as in `os:v1-linux-arm64`.
 */
export function platformTag(tag: string, platform: Platform): string {
  return `${tag}-${formatPlatform(platform).replaceAll("/", "-")}`;
}

/**
 * Pulls all images of an index, one after the other; layers that they share are read once. A reference to a single image is pulled as
 * {@link pull} does.
 *
 * @returns in the order of the index
 * @throws ComposefsError as `pull`; the images before the one that failed are there, and tagged
 */
export async function pullAll(
  repository: Repository,
  reference: string | ImageReference,
  options: PullAllOptions = {},
): Promise<PlatformPull[]> {
  const name = typeof reference === "string" ? reference : reference.text;
  const { tag = name, signal, onProgress, registry, storage } = options;
  repository.checkWritable();
  checkTag(tag);
  await using source = await openSource(reference, { onProgress, signal, registry, storage });
  const platforms = await offeredPlatforms(source, signal);
  if (platforms === undefined)
    return [{ ...(await pullFrom(repository, source, { ...options, tag, name })), platform: undefined }];
  const pulled: PlatformPull[] = [];
  for (const platform of platforms) {
    const own = platformTag(tag, platform);
    checkTag(own);
    pulled.push({ ...(await pullFrom(repository, source, { ...options, platform, tag: own, name })), platform });
  }
  const wanted = usualPlatform(platforms);
  const usual = pulled.find(({ platform }) => platform === wanted);
  if (usual !== undefined) await tagImage(repository, usual.manifestDigest, tag);
  return pulled;
}

/** What an index offers; undefined where there is none, or nothing to choose from, as in most layouts. */
async function offeredPlatforms(
  source: ImageSource,
  signal: AbortSignal | undefined,
): Promise<readonly Platform[] | undefined> {
  let platforms: readonly Platform[] | undefined;
  try {
    await source.resolve({ onOffer: (offered) => void (platforms = offered), ...(signal && { signal }) });
  } catch (error) {
    // This machine's platform need not be among them.
    if (
      platforms === undefined ||
      platforms.length === 0 ||
      !(error instanceof ComposefsError) ||
      error.code !== "not-found"
    )
      throw error;
  }
  return platforms !== undefined && platforms.length > 1 ? platforms : undefined;
}

/** The platform that is taken where none is asked for. */
function usualPlatform(platforms: readonly Platform[]): Platform | undefined {
  const candidates = platforms.map((platform) => ({ platform, digest: formatPlatform(platform), name: undefined }));
  const choice = chooseCandidate(candidates, hostPlatform());
  return choice.kind === "chosen" ? choice.candidate.platform : undefined;
}
