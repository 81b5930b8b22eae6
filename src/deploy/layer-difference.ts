// How two images differ in what must be fetched (docs/spec/deployments.md, section 4.4): computed from their manifests.

import type { Manifest } from "../oci/manifest.ts";

/** A number of layers, and the sum of their sizes in bytes, as they are stored at the source. */
export interface LayerSum {
  readonly layers: number;
  readonly bytes: number;
}

/** The layers of an image compared with those of another one. */
export interface LayerDifference {
  readonly total: LayerSum;
  /** Only in the old image. */
  readonly removed: LayerSum;
  /** Only in the new one. */
  readonly added: LayerSum;
}

/** Compares by the digests of the layers. An old image that is not known has none. */
export function layerDifference(old: Manifest | undefined, next: Manifest): LayerDifference {
  const digests = (manifest: Manifest | undefined) =>
    new Map(manifest?.layers.map(({ digest, size }) => [digest, size]));
  const [before, after] = [digests(old), digests(next)];
  const sum = (sizes: Iterable<number>): LayerSum => {
    const list = [...sizes];
    return { layers: list.length, bytes: list.reduce((a, b) => a + b, 0) };
  };
  const only = (a: Map<string, number>, b: Map<string, number>) =>
    sum([...a].filter(([digest]) => !b.has(digest)).map(([, size]) => size));
  return { total: sum(after.values()), removed: only(before, after), added: only(after, before) };
}
