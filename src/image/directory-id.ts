// `compute-id`: the id of the image of a directory (docs/spec/tree.md, section 4). Stores nothing.

import type { Algorithm, ObjectId } from "../bytes/algorithm.ts";
import type { FormatVersion } from "../core/erofs.ts";
import { directoryTree, type DirectoryTreeOptions } from "../tree/directory-tree.ts";
import { imageId } from "./write.ts";

/** Options of {@link computeDirectoryId}. */
export interface DirectoryIdOptions extends Omit<DirectoryTreeOptions, "algorithms" | "work"> {
  /** sha512 when left out. */
  readonly algorithm?: Algorithm | undefined;
  /** 1 when left out. */
  readonly version?: FormatVersion | undefined;
}

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
