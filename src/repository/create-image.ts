// `create-image`: a directory becomes an image of the repository, its files objects (docs/spec/tree.md, section 4).

import type { ObjectId } from "../bytes/algorithm.ts";
import type { FormatVersion } from "../core/erofs.ts";
import { throwIfAborted } from "../error.ts";
import { directoryTree, type DirectoryTreeOptions } from "../tree/directory-tree.ts";
import { checkOutside } from "../tree/scan/outside.ts";
import { checkRefName } from "./names.ts";
import type { Repository } from "./repository.ts";
import { storingWork } from "./scan-objects.ts";
import { storeImage } from "./store-image.ts";

/** Options of {@link createImage}. */
export interface CreateImageOptions extends Omit<DirectoryTreeOptions, "algorithms" | "work"> {
  /** Name of the ref below `images/refs/`; an existing one is re-pointed. */
  readonly name?: string | undefined;
  /** Formats to write, the one that gets the name first; the repository's when left out. */
  readonly versions?: readonly FormatVersion[] | undefined;
}

/** A directory in the repository. */
export interface CreatedImage {
  /** One for each format, in their order. */
  readonly images: readonly { readonly version: FormatVersion; readonly id: ObjectId }[];
  /** Names in the tree, the root included. */
  readonly entries: number;
  /** Files that are objects. */
  readonly files: number;
  /** Bytes of those. */
  readonly bytes: bigint;
}

/**
 * Scans a directory, stores its files as objects and its images, and gives the first one a name. Whatever fails leaves objects
 * that nothing refers to and nothing else.
 *
 * @throws ComposefsError as `directoryTree`; `usage` when the repository lies in the directory
 * @example
 * ```ts
 * await using repository = await Repository.open("/srv/images", { write: true });
 * const { images } = await createImage(repository, "./rootfs", { name: "os/v1" });
 * ```
 */
export async function createImage(
  repository: Repository,
  path: string,
  options: CreateImageOptions = {},
): Promise<CreatedImage> {
  const { name, versions = repository.formats, signal } = options;
  if (name !== undefined) checkRefName(name);
  repository.checkWritable();
  checkOutside(path, repository.path, "the repository");
  const { algorithm } = repository;
  const scanned = await directoryTree(path, {
    ...options,
    algorithms: [algorithm],
    work: storingWork(repository.store.options),
  });
  const images: { version: FormatVersion; id: ObjectId }[] = [];
  for (const version of versions) {
    throwIfAborted(signal);
    images.push({ version, id: await storeImage(repository, scanned.root, version) });
  }
  throwIfAborted(signal);
  await repository.barrier();
  for (const { id } of images) repository.linkImage(id);
  const [first] = images;
  await repository.barrier();
  if (name !== undefined && first !== undefined) {
    repository.setRef("images", name, first.id);
    await repository.barrier();
  }
  const { entries, files, bytes } = scanned;
  return { images, entries, files, bytes };
}
