// `explain`: opens what its arguments name and explains it. The one entry of this folder for programs.

import { openImage } from "../oci/stored-image.ts";
import type { OpenTreeOptions } from "../oci/open-tree.ts";
import type { Repository } from "../repository/repository.ts";
import { explain, type Explanation, type ExplainOptions } from "./explain.ts";
import { parseExpected } from "./expected.ts";
import { openExplainSource } from "./source.ts";

/** How to explain a digest. */
export interface ExplainDigestOptions
  extends Pick<OpenTreeOptions, "openRepository" | "signal" | "onProgress">,
    Pick<ExplainOptions, "limit"> {
  /** A tree that should have the digest. */
  readonly other?: string | undefined;
}

/**
 * Explains why a tree does or does not have an expected digest.
 *
 * @param asked a digest, a UKI, a kernel command line or a file with one, a boot entry, a tag with a label; or a tree, which is then
 *   compared with the other one
 * @param tree a directory, an image file, a dump; or an image, tag or digest of the repository
 * @throws ComposefsError `usage` for what is nothing of that, and what reading them causes
 * @example
 * ```ts
 * const { matches, suspicion } = await explainDigest("linux.efi", "./rootfs", {
 *   openRepository: () => Repository.open("/sysroot/composefs"),
 * });
 * ```
 */
export async function explainDigest(
  asked: string,
  tree: string,
  { other, limit, ...options }: ExplainDigestOptions,
): Promise<Explanation> {
  const expected = await parseExpected(asked, { labelOf: (name) => labelOf(name, options.openRepository) });
  const compared = other ?? (expected.length === 0 ? asked : undefined);
  await using source = await openExplainSource(tree, options);
  await using second = compared === undefined ? undefined : await openExplainSource(compared, options);
  return await explain(expected, source, {
    other: second,
    limit,
    signal: options.signal,
    onProgress: options.onProgress,
  });
}

/** The label of an image of the repository; empty without one, undefined without the image or the repository. */
async function labelOf(
  name: string,
  openRepository: ExplainDigestOptions["openRepository"],
): Promise<string | undefined> {
  try {
    await using repository = await openRepository();
    if (isStored(repository, name)) return "";
    const { config } = await openImage(repository, name);
    return config.value?.labels["containers.composefs.fsverity"] ?? "";
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (code === "not-found" || code === "not-a-repository" || code === "invalid") return undefined;
    throw error;
  }
}

function isStored(repository: Repository, name: string): boolean {
  try {
    repository.resolveImage(name);
    return true;
  } catch {
    return false;
  }
}
