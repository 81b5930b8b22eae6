// `compute-id`: the id of the image of a directory (docs/spec/tree.md, section 4). Stores nothing.

import type { Algorithm, ObjectId } from "../bytes/algorithm.ts";
import type { FormatVersion } from "../core/erofs.ts";
import { throwIfAborted } from "../error.ts";
import { directoryTree, type DirectoryTreeOptions } from "../tree/directory-tree.ts";
import { withDigests } from "../tree/other-digests.ts";
import { imageId } from "./write.ts";

/** Options of {@link computeDirectoryId}. */
export interface DirectoryIdOptions extends Omit<DirectoryTreeOptions, "algorithms" | "work"> {
  /** sha512 when left out. */
  readonly algorithm?: Algorithm | undefined;
  /** 1 when left out. */
  readonly version?: FormatVersion | undefined;
}

/** The id of one variant of an image. */
export interface VariantId {
  readonly algorithm: Algorithm;
  readonly version: FormatVersion;
  readonly id: ObjectId;
}

/** Every hash and every format. */
const ALGORITHMS: readonly Algorithm[] = ["sha256", "sha512"];
const VERSIONS: readonly FormatVersion[] = [0, 1, 2];

/**
 * The id that the image of a directory has or would have.
 *
 * @throws ComposefsError as `directoryTree`
 * @example
 * ```ts
 * const id = await computeDirectoryId("./rootfs", { algorithm: "sha256" });
 * ```
 */
export async function computeDirectoryId(path: string, options: DirectoryIdOptions = {}): Promise<ObjectId> {
  const { algorithm = "sha512", version = 1 } = options;
  const { root } = await directoryTree(path, { ...options, algorithms: [algorithm] });
  return imageId(root, { version, algorithm, dialect: "rs" }).id;
}

/**
 * The ids of all variants, from one scan: which of them is it that somebody else has?
 *
 * @throws ComposefsError as `directoryTree`
 */
export async function computeAllDirectoryIds(
  path: string,
  options: Omit<DirectoryIdOptions, "algorithm" | "version"> = {},
): Promise<VariantId[]> {
  const { root, digests } = await directoryTree(path, { ...options, algorithms: ALGORITHMS });
  const ids: VariantId[] = [];
  for (const [i, algorithm] of ALGORITHMS.entries()) {
    const tree = i === 0 ? root : withDigests(root, (content) => digests.get(content)?.[i]);
    for (const version of VERSIONS) {
      throwIfAborted(options.signal);
      ids.push({ algorithm, version, id: imageId(tree, { version, algorithm, dialect: "rs" }).id });
    }
  }
  return ids;
}
