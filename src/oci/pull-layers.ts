// The layers of a pull (docs/spec/oci.md, sections 5 and 6): those that are there are used, the others imported, the largest first.

import { availableParallelism } from "node:os";

import type { ObjectId } from "../bytes/algorithm.ts";
import { ComposefsError } from "../error.ts";
import type { ProgressListener } from "../progress.ts";
import type { Repository } from "../repository/repository.ts";
import { importBlob } from "./blob-import.ts";
import { runBounded } from "./bounded.ts";
import type { StoredLayer } from "./build-image.ts";
import { ContentFinder } from "./chunked/known-content.ts";
import { importInParts } from "./chunked/import.ts";
import type { Digest } from "./digest.ts";
import { type ImportedLayer, type ImportLayerOptions, importLayer } from "./layer/import.ts";
import { importUnpackedLayer } from "./layer/import-unpacked.ts";
import { type EntryBudget, noObjects } from "./layer/split.ts";
import { ObjectPool } from "./layer/object-pool.ts";
import { ZeroCopy } from "./layer/zero-copy.ts";
import { isTarLayer } from "./manifest.ts";
import type { ImageSource } from "./source/source.ts";
import { usableLayer } from "./stored-layer.ts";

import type { PullOptions, PullStats } from "./pull-options.ts";
import { announcedCompression, type PlannedLayer } from "./pull-plan.ts";

/** Entries that a pull keeps for the merge instead of reading them back: about 40 MB. */
const KEPT_ENTRIES = 100_000;

/**
 * Imports the layers that are missing, several at once.
 *
 * @param configRefs named refs of the stored config: layers whose own link may be lost
 * @throws ComposefsError as the imports
 */
export async function importLayers(
  repository: Repository,
  source: ImageSource,
  plan: readonly PlannedLayer[],
  configRefs: ReadonlyMap<string, ObjectId>,
  options: PullOptions,
): Promise<{ layers: StoredLayer[]; stats: PullStats }> {
  const stats: PullStats = { ...noObjects(), importedLayers: 0, skippedLayers: 0, sparedBytes: 0 };
  const stored = new Map<Digest, StoredLayer>();
  const missing: PlannedLayer[] = [];
  const distinct = new Map(plan.map((layer) => [layer.digest, layer]));
  for (const layer of distinct.values()) {
    const id = await usableLayer(repository, layer.digest, layer.kind, configRefs.get(layer.digest));
    if (id === undefined) {
      missing.push(layer);
      continue;
    }
    stored.set(layer.digest, { digest: layer.digest, id });
    stats.skippedLayers++;
    options.onProgress?.({ type: "done", id: layer.digest, skipped: true });
  }
  options.beforeImport?.(missing.reduce((sum, { blob }) => sum + blob.size, 0));
  // Largest first: the longest one decides when all are done.
  missing.sort((a, b) => b.blob.size - a.blob.size);
  const jobs = options.jobs ?? Math.min(availableParallelism(), 4);
  await using pool = new ObjectPool(repository.store.options);
  pool.expect(missing.reduce((sum, { blob }) => sum + blob.size, 0));
  const keepEntries = { left: KEPT_ENTRIES };
  const zeroCopy = new ZeroCopy(repository.store, options.localFetch ?? "auto", options.onProgress);
  const finder = options.wholeLayers === true ? undefined : new ContentFinder(repository);
  const context: LayerImport = { repository, source, pool, zeroCopy, keepEntries, stats, finder };
  await runBounded(missing, jobs, options.signal, async (layer, signal) => {
    stored.set(layer.digest, await importOne(context, layer, signal, options.onProgress));
    stats.importedLayers++;
  });
  return { layers: plan.map(({ digest }) => stored.get(digest) as StoredLayer), stats };
}

interface LayerImport {
  readonly repository: Repository;
  readonly source: ImageSource;
  readonly pool: ObjectPool;
  readonly zeroCopy: ZeroCopy;
  readonly keepEntries: EntryBudget;
  readonly stats: PullStats;
  /** Finds the files that need not be fetched; undefined where all shall be. */
  readonly finder: ContentFinder | undefined;
}

async function importOne(
  context: LayerImport,
  layer: PlannedLayer,
  signal: AbortSignal,
  onProgress: ProgressListener | undefined,
): Promise<StoredLayer> {
  if (layer.kind === "container" && context.source.unpackedLayer !== undefined) {
    return importUnpacked(context, layer, signal, onProgress);
  }
  const { repository, source, pool, keepEntries, stats, finder } = context;
  const { digest, blob, kind, name } = layer;
  onProgress?.({ type: "start", id: digest, kind: "layer", label: digest, total: blob.size });
  const advance = (done: number) => onProgress?.({ type: "advance", id: digest, done, total: blob.size });
  const content = source.blob(blob, { signal });
  let stored: StoredLayer;
  if (kind === "artifact" && !isTarLayer(blob.mediaType)) {
    const imported = await importBlob(repository, content, blob, { signal, onProgress: advance });
    stats[imported.created ? "newObjects" : "presentObjects"]++;
    if (imported.created) stats.storedBytes += blob.size;
    stored = { digest, id: imported.streamId };
  } else {
    const common = { name, pool, signal, onProgress: advance };
    const parts = { repository, source, finder, blob, diffId: digest, onProgress };
    const inParts = kind === "container" ? await importInParts(parts, { ...common, keepEntries }) : undefined;
    stats.sparedBytes += inParts?.spared ?? 0;
    const options: ImportLayerOptions = {
      ...common,
      ...(kind === "container" ? { diffId: digest, keepEntries } : {}),
      blob: { digest: blob.digest, size: blob.size },
      onCompression: (compression) => {
        if (compression === announcedCompression(blob.mediaType)) return;
        onProgress?.({
          type: "note",
          message: `${name} is called ${blob.mediaType}, its compression is: ${compression}`,
        });
      },
    };
    const imported = inParts?.imported ?? (await importLayer(repository, content, options));
    stored = counted(stats, imported, digest);
  }
  onProgress?.({ type: "done", id: digest });
  return stored;
}

/** A layer whose files lie in the source. It is tried again when another program changed it meanwhile. */
async function importUnpacked(
  { repository, source, pool, zeroCopy, keepEntries, stats }: LayerImport,
  { digest, name }: PlannedLayer,
  signal: AbortSignal,
  onProgress: ProgressListener | undefined,
): Promise<StoredLayer> {
  let gone: unknown;
  for (;;) {
    try {
      const layer = await (source as Required<ImageSource>).unpackedLayer(digest, { signal });
      const total = layer.size === undefined ? {} : { total: layer.size };
      onProgress?.({ type: "start", id: digest, kind: "layer", label: digest, ...total });
      const advance = (done: number) => onProgress?.({ type: "advance", id: digest, done, ...total });
      const options = { name, diffId: digest, pool, zeroCopy, keepEntries, signal, onProgress: advance };
      const stored = counted(stats, await importUnpackedLayer(repository, layer, options), digest);
      onProgress?.({ type: "done", id: digest });
      return stored;
    } catch (error) {
      if (gone !== undefined && error instanceof ComposefsError && error.code === "not-found") throw gone;
      if (gone !== undefined || !(error instanceof ComposefsError) || error.reason !== "vanished") throw error;
      gone = error;
    }
  }
}

function counted(stats: PullStats, { stats: own, streamId: id, entries }: ImportedLayer, digest: Digest): StoredLayer {
  stats.newObjects += own.newObjects;
  stats.presentObjects += own.presentObjects;
  stats.storedBytes += own.storedBytes;
  stats.inlineBytes += own.inlineBytes;
  for (const method of ["reflinked", "hardlinked"] as const) {
    stats[method].objects += own[method].objects;
    stats[method].bytes += own[method].bytes;
  }
  return entries === undefined ? { digest, id } : { digest, id, entries };
}
