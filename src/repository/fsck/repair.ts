// Repairs what can be repaired, and says what a pull has to restore (docs/spec/repository.md, sections 6.2 and 10).

import { closeSync, constants, lstatSync, openSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { isObjectId, type ObjectId } from "../../bytes/algorithm.ts";
import { fsverityFile } from "../../core/fsverity.ts";
import { ComposefsError, systemError } from "../../error.ts";
import type { LockWait } from "../../runtime/syscalls.ts";
import { syscalls } from "../../runtime/syscalls.ts";
import { takeInventory } from "../gc/inventory.ts";
import { ObjectSet } from "../gc/object-set.ts";
import { reach } from "../gc/reach.ts";
import { referenceReader } from "../gc/references.ts";
import { putLink, removeLink } from "../links.ts";
import type { Repository } from "../repository.ts";
import { deriveNames } from "./derive.ts";
import type { FsckReport } from "./finding.ts";
import { checkRepository, type FsckOptions } from "./fsck.ts";
import { planRepair, type RepairPlan } from "./repair-plan.ts";

/** Options of {@link repairRepository}. */
export interface RepairOptions extends FsckOptions {
  /** Only check and plan. */
  dryRun?: boolean;
  /** How long to wait for other users of the repository to end. */
  lock?: LockWait;
}

/** What a repair found and did. */
export interface RepairResult {
  dryRun: boolean;
  /** The check before. */
  before: FsckReport;
  plan: RepairPlan;
  /** The check after; the same as before in a dry run or when there was nothing to do. */
  after: FsckReport;
  /** Refs below `streams/refs/` that name something incomplete: pulling them again restores it. */
  restore: string[];
}

/**
 * Checks a repository and repairs it: removes damaged objects and the names that lead to nothing, makes names anew that
 * can be derived. Everything else is left as it is. Waits for all other users of the repository.
 */
export async function repairRepository(repository: Repository, options: RepairOptions = {}): Promise<RepairResult> {
  if (options.dryRun) return repair(repository, options);
  repository.checkWritable();
  const wait = { ...(options.signal ? { signal: options.signal } : {}), ...options.lock };
  return repository.withExclusiveLock(wait, () => repair(repository, options));
}

async function repair(repository: Repository, options: RepairOptions): Promise<RepairResult> {
  const dryRun = options.dryRun ?? false;
  const { signal } = options;
  const before = await checkRepository(repository, { ...options, metadataOnly: false });
  const { path: root, algorithm, store } = repository;
  const inventory = takeInventory(root, algorithm);
  const damaged = new Set(before.findings.map(({ kind, id }) => (kind.startsWith("object-") ? id : undefined)));
  const whole = ObjectSet.of(
    algorithm,
    [...inventory.objects].filter((id) => !damaged.has(id)),
  );
  const names = before.ok ? new Map<string, ObjectId>() : await deriveNames(store, whole, signal);
  const restore = before.ok ? [] : await incompleteRefs(repository, whole, signal);
  const plan = planRepair(before, {
    inventory,
    derive: (path) => names.get(path) ?? imageOfName(path, whole, algorithm),
    removable: (path) => lstatSync(join(root, path), { throwIfNoEntry: false })?.isDirectory() === false,
    intact: (id) => measure(repository, id) === id,
  });
  if (dryRun || plan.actions.length === 0) return { dryRun, before, plan, after: before, restore };
  await execute(repository, plan);
  const after = await checkRepository(repository, options);
  return { dryRun, before, plan, after, restore };
}

// A damaged entry of images/ that is named like an object that exists.
function imageOfName(path: string, whole: ObjectSet, algorithm: "sha256" | "sha512"): ObjectId | undefined {
  const name = path.startsWith("images/") ? path.slice(7) : "";
  return isObjectId(name, algorithm) && whole.has(name) ? name : undefined;
}

async function execute(repository: Repository, plan: RepairPlan): Promise<void> {
  const { path: root } = repository;
  let synced = false;
  for (const { action, path, target } of plan.actions) {
    switch (action) {
      case "relink":
        putLink(root, path, target as string);
        break;
      case "enable-verity":
        enableVerity(repository, path);
        break;
      case "drop-ref":
      case "drop-link":
        removeLink(root, path);
        break;
      case "drop-object":
        // Names first, for good: see the order of the plan.
        if (!synced) await repository.barrier();
        synced = true;
        removeFile(root, path);
        break;
    }
  }
  repository.store.forget();
  await repository.barrier();
}

/** The refs from which something missing or damaged is reached. */
async function incompleteRefs(
  repository: Repository,
  whole: ObjectSet,
  signal: AbortSignal | undefined,
): Promise<string[]> {
  const inventory = takeInventory(repository.path, repository.algorithm);
  const incomplete: string[] = [];
  for (const ref of inventory.streams.refs) {
    const one = {
      ...inventory,
      streams: { entries: inventory.streams.entries.filter(({ object }) => object !== undefined), refs: [ref] },
      images: { entries: [], refs: [] },
    };
    const { live, problems } = await reach(one, referenceReader(repository.store, signal));
    const damaged = () => [...live.marked()].some((id) => !whole.has(id));
    if (problems.length > 0 || live.missing.size > 0 || damaged()) incomplete.push(ref.name);
  }
  return incomplete;
}

function measure(repository: Repository, id: ObjectId): ObjectId | undefined {
  try {
    const object = repository.store.openUncheckedSync(id);
    try {
      return fsverityFile(repository.algorithm, object.fd, object.size);
    } finally {
      object.close();
    }
  } catch (error) {
    if (error instanceof ComposefsError) return undefined;
    throw error;
  }
}

function enableVerity(repository: Repository, path: string): void {
  const file = join(repository.path, path);
  const fd = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const result = syscalls().enableVerity(fd, file, repository.algorithm);
    if (result !== "enabled")
      throw new ComposefsError("io", `fs-verity could not be enabled on ${path}: ${result}`, {
        path,
        hint: "is some process writing to it, or does it have fs-verity of another kind? remove the file and pull again",
      });
  } finally {
    closeSync(fd);
  }
}

function removeFile(root: string, path: string): void {
  try {
    unlinkSync(join(root, path));
  } catch (error) {
    if ((error as { code?: unknown }).code !== "ENOENT") throw systemError(error, `removing ${path}`, join(root, path));
  }
}
