// The layers of the stores, and which of them make an image (docs/spec/containers-storage.md, section 5).

import * as v from "valibot";

import type { Digest } from "../../digest.ts";
import { storageError } from "./fault.ts";
import { parseIndexFile } from "./index-file.ts";

const size = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const layerList = v.array(
  v.object({
    id: v.string(),
    parent: v.nullish(v.string()),
    "diff-digest": v.nullish(v.string()),
    "diff-size": v.nullish(size),
    uidmap: v.nullish(v.array(v.unknown())),
    flags: v.nullish(v.record(v.string(), v.unknown())),
  }),
);

/** A layer as its store lists it. */
export interface ListedLayer {
  /** The store it is in. */
  readonly root: string;
  /** Name of its directory, which is not its digest. */
  readonly id: string;
  readonly parent: string | undefined;
  /** The diff_id, where the store knows it. */
  readonly diffId: string | undefined;
  /** Bytes of the uncompressed archive, where the store knows them. */
  readonly size: number | undefined;
  /** It is being written or deleted. */
  readonly incomplete: boolean;
  /** Its files have been given other owners; their content is the same. */
  readonly mapped: boolean;
}

/**
 * Reads the layers of a store.
 *
 * @throws ComposefsError `invalid` (`bad-index`)
 */
export function readLayers(root: string): ListedLayer[] {
  return parseIndexFile(`${root}/overlay-layers/layers.json`, layerList).map((layer) => ({
    root,
    id: layer.id,
    parent: layer.parent || undefined,
    diffId: layer["diff-digest"] || undefined,
    size: layer["diff-size"] ?? undefined,
    incomplete: layer.flags?.["incomplete"] === true,
    mapped: (layer.uidmap ?? []).length > 0,
  }));
}

/**
 * The layers of an image, lowest first: the chain of parents where it fits the diff_ids, else each by its diff_id. What they really are
 * is proved by their digests.
 *
 * @param layers of all stores, in their order
 * @param top the topmost layer
 * @throws ComposefsError `not-found` (`layer-missing`, `layer-incomplete`), `invalid` when parents run in a circle
 */
export function layersOfImage(
  layers: readonly ListedLayer[],
  top: string | undefined,
  diffIds: readonly Digest[],
): ListedLayer[] {
  const { chain, incomplete } = walkDown(layers, top, diffIds.length);
  const fits =
    chain !== undefined &&
    chain.length === diffIds.length &&
    chain.every(({ diffId }, i) => diffId === undefined || diffId === diffIds[i]);
  if (fits) return chain;
  return diffIds.map((diffId, i) => {
    const known = layers.filter((layer) => layer.diffId === diffId);
    const usable = known.filter((layer) => !layer.incomplete);
    const found = usable.find((layer) => !layer.mapped) ?? usable[0];
    if (found !== undefined) return found;
    const unfinished = known[0] ?? (incomplete?.height === i ? incomplete.layer : undefined);
    const place = `layer ${i + 1} of ${diffIds.length} (${diffId})`;
    if (unfinished === undefined) {
      throw storageError("layer-missing", `${place} is not in the container store`, { digest: diffId });
    }
    throw storageError("layer-incomplete", `${place} is incomplete in the container store: layer ${unfinished.id}`, {
      digest: diffId,
      path: `${unfinished.root}/overlay/${unfinished.id}`,
    });
  });
}

/** The chain of parents from a layer to one without, lowest first; or the incomplete layer that it ends at. */
function walkDown(
  layers: readonly ListedLayer[],
  top: string | undefined,
  length: number,
): { chain?: ListedLayer[]; incomplete?: { layer: ListedLayer; height: number } } {
  const byId = new Map<string, ListedLayer>();
  const unfinished = new Map<string, ListedLayer>();
  for (const layer of layers) {
    const target = layer.incomplete ? unfinished : byId;
    if (!target.has(layer.id)) target.set(layer.id, layer);
  }
  const found: ListedLayer[] = [];
  const seen = new Set<string>();
  for (let id = top; id !== undefined; ) {
    if (seen.has(id)) {
      throw storageError("bad-index", `the layers of the container store run in a circle at ${id}`, {
        path: byId.get(id)?.root ?? "",
      });
    }
    seen.add(id);
    const layer = byId.get(id);
    if (layer === undefined) {
      const partial = unfinished.get(id);
      return partial === undefined ? {} : { incomplete: { layer: partial, height: length - 1 - found.length } };
    }
    found.push(layer);
    id = layer.parent;
  }
  return { chain: found.reverse() };
}
