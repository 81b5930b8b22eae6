// The check of a whole repository (docs/spec/repository.md, section 10): objects, streams, images, names. Changes nothing.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { throwIfAborted } from "../../error.ts";
import type { ProgressListener } from "../../progress.ts";
import { type Inventory, takeInventory } from "../gc/inventory.ts";
import { checkMeta, META_FILE, parseMeta } from "../meta.ts";
import type { Repository } from "../repository.ts";
import { Findings, type FsckReport } from "./finding.ts";
import { checkImages } from "./images.ts";
import { checkEntries, checkRefs } from "./links.ts";
import { checkObjects } from "./objects.ts";
import { type ContentProblem, checkStreams } from "./streams.ts";

/** Options of {@link checkRepository}. */
export interface FsckOptions {
  /** Leave out what reads the contents of objects: only names, streams, images and sizes are checked. */
  metadataOnly?: boolean;
  /** Number of threads that hash objects; 0 for none. */
  workers?: number;
  signal?: AbortSignal;
  onProgress?: ProgressListener;
}

/** Checks a repository. Others may use it meanwhile; only what is there from begin to end is sure to be checked. */
export async function checkRepository(repository: Repository, options: FsckOptions = {}): Promise<FsckReport> {
  const { signal } = options;
  throwIfAborted(signal);
  const metadataOnly = options.metadataOnly ?? false;
  const findings = new Findings();
  checkMetaFile(repository, findings);
  const inventory = takeInventory(repository.path, repository.algorithm);
  checkNames(inventory, metadataOnly, findings);

  const context = {
    store: repository.store,
    objects: inventory.objects,
    findings,
    metadataOnly,
    ...(signal ? { signal } : {}),
  };
  const streams = checkEntries(repository.path, "streams", inventory, findings);
  const images = checkEntries(repository.path, "images", inventory, findings);
  for (const category of ["streams", "images"] as const)
    checkRefs(repository.path, category, inventory[category], findings);

  // Streams and images are read on this thread while others hash the objects.
  const objects = metadataOnly
    ? Promise.resolve(new Set<string>())
    : checkObjects(repository.store.options, inventory.objects, findings, options);
  const contents = checkStreams(streams, context).then(async (problems) => {
    await checkImages(images, context);
    return problems;
  });
  const [damaged, problems] = await settle(objects, contents);
  reportContents(problems, damaged, findings);

  const sorted = findings.sorted();
  return {
    ok: sorted.every(({ severity }) => severity === "warning"),
    hasMetadata: repository.hasMeta,
    counters: findings.counters,
    findings: sorted,
  };
}

// Both to their end, so that no thread works on after a failure of the other.
async function settle<A, B>(a: Promise<A>, b: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([a, b]);
  return [await a, await b];
}

function reportContents(problems: readonly ContentProblem[], damaged: ReadonlySet<string>, findings: Findings): void {
  for (const { path, kind, detail, objects } of problems) {
    // A damaged object changes the digest and the size of every stream that holds it: it is reported once, as itself.
    if (kind !== "stream-body-invalid" && objects.some((id) => damaged.has(id))) continue;
    findings.error(kind, path, { detail });
    findings.counters.streams_corrupted++;
  }
}

function checkMetaFile(repository: Repository, findings: Findings): void {
  if (!repository.hasMeta) return;
  try {
    const meta = parseMeta(readFileSync(join(repository.path, META_FILE)), META_FILE);
    checkMeta(meta, META_FILE);
    if (meta.algorithm !== repository.algorithm)
      findings.error("metadata-algorithm-mismatch", META_FILE, { detail: `it names ${meta.algorithm} now` });
  } catch (error) {
    findings.error("metadata-parse-failed", META_FILE, {
      detail: error instanceof Error ? error.message : String(error),
    });
  }
}

function checkNames(inventory: Inventory, metadataOnly: boolean, findings: Findings): void {
  for (const path of inventory.foreign) {
    if (path.split("/").length === 2) {
      findings.warn("stray-file", path, "not an object, and not the repository's");
    } else if (!metadataOnly) {
      findings.error("object-invalid-name", path, { detail: "not the name of an object" });
      findings.counters.objects_checked++;
      findings.counters.objects_corrupted++;
    }
  }
  for (const path of inventory.strays) findings.warn("stray-file", path, "not the repository's");
  for (const path of inventory.temporaries)
    findings.warn("leftover", path, "in use, or left by a crash; gc removes it");
}
