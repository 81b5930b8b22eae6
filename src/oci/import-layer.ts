// `oci import-layer`: one layer from a tar archive, without an image (docs/spec/oci.md, section 8).

import type { ObjectId } from "../bytes/algorithm.ts";
import type { Repository } from "../repository/repository.ts";
import { checkVerifiable } from "./manifest.ts";
import type { Digest } from "./digest.ts";
import { importLayer } from "./layer/import.ts";
import { linkedObject, publish } from "./publish.ts";
import { withPublishLock } from "./publish-lock.ts";
import { rewriteDependents } from "./rewrite.ts";
import { usableLayer } from "./stored-layer.ts";
import { checkStreamDigest, layerStream } from "./streams.ts";

/** What {@link importSingleLayer} did. */
export interface ImportedSingleLayer {
  /** Object id of the layer's stream. */
  id: ObjectId;
  /** Whether the layer was there already; then nothing was read. */
  existed: boolean;
}

/**
 * Imports a layer and verifies it against its diff_id. Compressed archives are decompressed.
 *
 * @param diffId digest of the uncompressed archive
 * @param source opened only when the layer is not there yet
 * @param options.name a name below `streams/refs` that keeps the layer alive
 * @throws ComposefsError `digest-mismatch` when the archive is another one
 */
export async function importSingleLayer(
  repository: Repository,
  diffId: Digest,
  source: () => AsyncIterable<Uint8Array>,
  options: { name?: string | undefined; signal?: AbortSignal | undefined } = {},
): Promise<ImportedSingleLayer> {
  const { name, signal } = options;
  repository.checkWritable();
  checkStreamDigest(diffId, "the layer");
  checkVerifiable({ mediaType: "", digest: diffId, size: 0 }, "the layer");
  const stream = layerStream(diffId);
  const refs = new Map(name === undefined ? [] : [[name, stream]]);
  const known = await usableLayer(repository, diffId, "container");
  if (known !== undefined) {
    await publish(repository, { images: [], streams: new Map(), refs });
    return { id: known, existed: true };
  }
  const { streamId: id } = await importLayer(repository, source(), {
    diffId,
    name: `layer ${diffId}`,
    ...(signal === undefined ? {} : { signal }),
  });
  await withPublishLock(repository, signal, async () => {
    const links = new Map([[stream, id]]);
    const changed = linkedObject(repository, "streams", stream) === undefined ? new Map<string, ObjectId>() : links;
    const dependents = await rewriteDependents(repository, changed, new Set([stream]));
    await publish(repository, { images: [], streams: new Map([...links, ...dependents]), refs });
  });
  return { id, existed: false };
}
