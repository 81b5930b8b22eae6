// The last step of a pull: links, in the order that leaves nothing dangling wherever it is cut
// (docs/spec/oci.md, sections 5.4 and 6.3; repository.md, section 6.3).

import type { ObjectId } from "../bytes/algorithm.ts";
import type { Category } from "../repository/names.ts";
import type { Repository } from "../repository/repository.ts";
import { entryObject } from "../repository/resolve.ts";
import type { StreamLinks } from "./rewrite.ts";

/** Everything that is to be linked. All objects exist already. */
export interface Publication {
  readonly images: readonly ObjectId[];
  /** Layers, then configs, then manifests: each names only streams before it. */
  readonly streams: StreamLinks;
  /** Names below `streams/refs` and the streams they point to. */
  readonly refs: ReadonlyMap<string, string>;
}

/** Carries a publication out: objects are on disk before links to them, and links before refs. */
export async function publish(repository: Repository, { images, streams, refs }: Publication): Promise<void> {
  const missing = images.filter((id) => linkedObject(repository, "images", id) !== id);
  if (missing.length > 0 || streams.size > 0) {
    await repository.barrier();
    for (const id of missing) repository.linkImage(id);
    for (const [name, id] of streams) repository.linkStream(name, id);
    await repository.barrier();
  }
  const moved = [...refs].filter(([name, stream]) => repository.ref("streams", name) !== stream);
  for (const [name, stream] of moved) repository.setRef("streams", name, stream);
  if (moved.length > 0) await repository.barrier();
}

/** The object that an entry of `streams/` or `images/` leads to, whether it exists or not. */
export function linkedObject(repository: Repository, category: Category, entry: string): ObjectId | undefined {
  return entryObject(repository.path, category, entry, repository.algorithm);
}
