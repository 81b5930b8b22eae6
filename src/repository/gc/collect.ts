// Garbage collection: takes the lock, makes the plan, carries it out (docs/spec/repository.md, section 9).

import { lstatSync, readdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { ComposefsError, throwIfAborted } from "../../error.ts";
import type { ProgressListener } from "../../progress.ts";
import type { LockWait } from "../../runtime/syscalls.ts";
import type { Repository } from "../repository.ts";
import { type RefEntry, TEMPORARY_META, takeInventory } from "./inventory.ts";
import { type GcPlan, objectBytes, planCollection } from "./plan.ts";
import { reach } from "./reach.ts";
import { referenceReader } from "./references.ts";
import { RootFiles } from "./root-files.ts";

/** Options of {@link collectGarbage}. */
export interface GcOptions {
  /** Only make the plan; other processes may go on meanwhile. */
  dryRun?: boolean;
  /** Content ids and image ids to keep besides what refs keep; unknown ones are an error unless {@link unknownRoots} says otherwise. */
  roots?: readonly string[];
  /** `ignore`: roots that are not there keep nothing. */
  unknownRoots?: "error" | "ignore";
  /**
   * `skip`: refs that lead to nothing, or to what is damaged, keep only what can be found. What {@link roots} need must be whole in any
   * case.
   */
  brokenRefs?: "problem" | "skip";
  /** For a dry run: stream refs as they will be by then. */
  assume?: AssumedRefs;
  /** How long to wait for other users of the repository to end. */
  lock?: LockWait;
  signal?: AbortSignal;
  onProgress?: ProgressListener;
}

/** Refs below `streams/refs/`, by their names there, that a dry run takes for gone or made. */
export interface AssumedRefs {
  readonly removed: readonly string[];
  readonly added: readonly (readonly [name: string, stream: string])[];
}

const BATCH = 1024;

/** What was done, or would be done by a run that is not dry. */
export interface GcResult {
  dryRun: boolean;
  plan: GcPlan;
  /** Sum of the apparent sizes of the removed objects. */
  objectBytes: number;
  /** Empty directories that were removed. */
  directories: string[];
}

/**
 * Removes everything that no ref reaches. Waits for all other users of the repository; they wait until it is done.
 *
 * @throws ComposefsError `corrupt` when the walk was incomplete: nothing is removed then; `locked` when the lock was not
 * free in time; `not-found` for an unknown root
 */
export async function collectGarbage(repository: Repository, options: GcOptions = {}): Promise<GcResult> {
  if (options.dryRun) {
    const plan = await makePlan(repository, options);
    return { dryRun: true, plan, objectBytes: objectBytes(plan), directories: [] };
  }
  repository.checkWritable();
  return repository.withExclusiveLock(
    { ...(options.signal ? { signal: options.signal } : {}), ...options.lock },
    async () => {
      const plan = await makePlan(repository, options);
      if (plan.problems.length > 0) throw incompleteWalk(plan);
      const directories = await execute(repository, plan, options);
      return { dryRun: false, plan, objectBytes: objectBytes(plan), directories };
    },
  );
}

/** The error of a collection whose walk was incomplete. */
export function incompleteWalk(plan: GcPlan): ComposefsError {
  const [first] = plan.problems;
  const more = plan.problems.length > 1 ? ` (and ${plan.problems.length - 1} more)` : "";
  return new ComposefsError(
    "corrupt",
    `nothing was deleted, because not everything that is in use could be found: ${first?.path}: ${first?.message}${more}`,
    {
      ...(first ? { path: first.path } : {}),
      hint: "`composefs gc --dry-run` lists all reasons; pull the image again, remove the name, or run `composefs fsck --repair`",
    },
  );
}

async function makePlan(repository: Repository, options: GcOptions): Promise<GcPlan> {
  const { signal, assume, dryRun } = options;
  throwIfAborted(signal);
  const inventory = takeInventory(repository.path, repository.algorithm);
  inventory.temporaries = inventory.temporaries.filter((path) => isStale(repository.path, path));
  if (dryRun && assume) inventory.streams.refs = assumedRefs(inventory.streams.refs, assume);
  const reached = await reach(inventory, referenceReader(repository.store, signal), options);
  throwIfAborted(signal);
  using files = new RootFiles(repository.path);
  return planCollection(inventory, reached, (path) => files.size(path));
}

function assumedRefs(refs: readonly RefEntry[], { removed, added }: AssumedRefs): RefEntry[] {
  const gone = new Set([...removed, ...added.map(([name]) => name)]);
  const made = added.map(([name, entry]) => ({ name, target: entry, entry, straight: true }));
  return [...refs.filter(({ name }) => !gone.has(name)), ...made];
}

// Links first: an object must never be gone while its name is there, at whatever point a crash comes.
async function execute(repository: Repository, plan: GcPlan, { signal, onProgress }: GcOptions): Promise<string[]> {
  const root = repository.path;
  using files = new RootFiles(root);
  const links = [...plan.images, ...plan.streams];
  for (const link of links) files.remove(link);
  if (links.length > 0) await repository.barrier();
  const total = plan.objects.length;
  // A thousand are removed before anybody could read about it.
  const report = total > BATCH ? onProgress : undefined;
  report?.({ type: "start", id: "remove", kind: "objects", label: "removing objects", total });
  const directories = new Set<string>();
  try {
    for (const [index, { path }] of plan.objects.entries()) {
      throwIfAborted(signal);
      files.remove(path);
      directories.add(path.slice(0, path.lastIndexOf("/")));
      if (index % BATCH === BATCH - 1) {
        report?.({ type: "advance", id: "remove", done: index + 1, total });
        // Lets a signal come through.
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
  } finally {
    repository.store.forget();
  }
  for (const { path } of plan.temporaries) files.remove(path);
  report?.({ type: "done", id: "remove" });
  const removed = [...directories].filter((directory) => removeEmpty(join(root, directory)));
  for (const category of ["streams", "images"]) removed.push(...removeEmptyBelow(root, `${category}/refs`));
  return removed.toSorted();
}

// A writer of meta.json takes no lock, so its file is left alone for an hour, or when the clock has gone back.
function isStale(root: string, path: string): boolean {
  if (!path.startsWith(TEMPORARY_META)) return true;
  const stat = lstatSync(join(root, path), { throwIfNoEntry: false });
  return stat !== undefined && Math.abs(Date.now() - stat.mtimeMs) > 3_600_000;
}

function removeEmpty(path: string): boolean {
  try {
    rmdirSync(path);
    return true;
  } catch {
    // Not empty.
    return false;
  }
}

// Directories of refs that became empty, innermost first; `refs` itself stays.
function removeEmptyBelow(root: string, directory: string): string[] {
  const removed: string[] = [];
  let names: string[];
  try {
    names = readdirSync(join(root, directory), { withFileTypes: true }).flatMap((entry) =>
      entry.isDirectory() ? [entry.name] : [],
    );
  } catch {
    return removed;
  }
  for (const name of names) {
    const path = `${directory}/${name}`;
    removed.push(...removeEmptyBelow(root, path));
    if (removeEmpty(join(root, path))) removed.push(path);
  }
  return removed;
}
