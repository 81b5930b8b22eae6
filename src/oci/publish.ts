// The last step of a pull: links, in the order that leaves nothing dangling wherever it is cut
// (docs/spec/oci.md, sections 5.4 and 6.3; repository.md, section 6.3).

import type { ObjectId } from "../bytes/algorithm.ts";
import type { Repository } from "../repository/repository.ts";
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
  const missing = images.filter((id) => !repository.hasImage(id));
  if (missing.length > 0 || streams.size > 0) {
    await repository.barrier();
    for (const id of missing) await repository.linkImage(id);
    for (const [name, id] of streams) await repository.linkStream(name, id);
    await repository.barrier();
  }
  for (const [name, stream] of refs) await repository.setRef("streams", name, stream);
}
