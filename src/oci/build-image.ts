// From stored layers to the EROFS image (docs/spec/oci.md, section 7).

import type { ObjectId } from "../bytes/algorithm.ts";
import { throwIfAborted } from "../error.ts";
import type { Repository } from "../repository/repository.ts";
import { containerTransform } from "../tree/container-transform.ts";
import type { Directory } from "../tree/node.ts";
import type { XattrMode } from "../tree/xattr-filter.ts";
import type { Digest } from "./digest.ts";
import { type LayerEntry, readLayer } from "./layer/read.ts";
import { LayerMerger } from "./merge.ts";

/** A layer of an image in the repository. */
export interface StoredLayer {
  /** The diff_id, or the blob's digest in an artifact. */
  readonly digest: Digest;
  /** The object id of its stream. */
  readonly id: ObjectId;
  /** The entries, where an import has just seen them; else they are read back from the stream. */
  readonly entries?: readonly LayerEntry[];
}

/** How often a long merge looks at the signal, in entries. */
const ABORT_INTERVAL = 256;

/**
 * Merges the layers and makes the result a container root: the tree of the image, without the boot transform.
 *
 * @throws ComposefsError `invalid` naming layer and entry, or saying what the tree lacks
 */
export async function buildTree(
  repository: Repository,
  layers: readonly StoredLayer[],
  options: { xattrs?: XattrMode; signal?: AbortSignal | undefined } = {},
): Promise<Directory> {
  const root = await mergeLayers(repository, layers, options.signal);
  containerTransform(root, options.xattrs);
  return root;
}

/**
 * Merges the layers and leaves the result as it is: with every xattr, and the root as the layers have it.
 *
 * @throws ComposefsError `invalid` naming layer and entry
 */
export async function mergeLayers(
  repository: Repository,
  layers: readonly StoredLayer[],
  signal?: AbortSignal,
): Promise<Directory> {
  const merger = new LayerMerger();
  for (const [i, layer] of layers.entries()) {
    const name = layerName(i, layers.length, layer.digest);
    let count = 0;
    const apply = (entry: LayerEntry): void => {
      if (++count % ABORT_INTERVAL === 0) throwIfAborted(signal);
      merger.apply(entry, name);
    };
    if (layer.entries !== undefined) layer.entries.forEach(apply);
    else for await (const entry of readLayer(repository, layer.id, name)) apply(entry);
  }
  return merger.root;
}

/** What a layer is called in messages. */
export function layerName(index: number, count: number, digest: Digest): string {
  return `layer ${index + 1} of ${count} (${digest})`;
}
