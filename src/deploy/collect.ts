// Collects the garbage of deployments (docs/spec/deployments.md, section 4.8): reads, has everything planned, and carries it out in an
// order in which a cut at any place leaves a system that boots and a rest that the next collection removes.

import { join } from "node:path";
import { removeDurably } from "../boot/change/durable.ts";
import { DirectoryVolume } from "../boot/change/volume.ts";
import { finishActivation } from "../boot/entry/activate.ts";
import { ComposefsError, throwIfAborted } from "../error.ts";
import type { Digest } from "../oci/digest.ts";
import { manifestStream } from "../oci/streams.ts";
import { checkTag, decodeTag, TAG_PREFIX } from "../oci/tag-name.ts";
import { publish } from "../oci/publish.ts";
import { collectGarbage, type GcResult, incompleteWalk } from "../repository/gc/collect.ts";
import type { Repository } from "../repository/repository.ts";
import { type DeployGcPlan, planDeployGc } from "./gc.ts";
import type { GcOptions, GcRepository } from "./gc-input.ts";
import { binaryDirectories, readBootBinaries, readGcRepository } from "./gc-read.ts";
import { findLeftovers, type Leftover } from "./leftovers.ts";
import type { SysrootLocation } from "./location.ts";
import { readMenu } from "./menu.ts";
import { dropStaging } from "./menu-files.ts";
import { migrateFormats } from "./migrate-formats.ts";
import { type ManifestOpener, manifestOpener } from "./open-once.ts";
import { type OpenSysroot, STATE_DIRECTORY } from "./open-sysroot.ts";
import { removeEntries } from "./remove-entries.ts";
import { removeTrees } from "./remove-tree.ts";
import { STAGED_FILE } from "./staged-marker.ts";
import type { DeployWarning, SysrootState } from "./state.ts";
import { readState } from "./sysroot.ts";
import { readGcStorage } from "./unified/gc-storage.ts";
import { OwnedStorage } from "./unified/podman.ts";

/** What the collection of the repository removes, or would. */
export interface CollectedRepository {
  readonly objectsRemoved: number;
  /** Sum of their apparent sizes. */
  readonly objectsBytes: number;
  /** Links of images, those that only break through this collection included. */
  readonly imagesPruned: number;
  /** Links of streams, likewise. */
  readonly streamsPruned: number;
}

/** What a collection did, or would do. */
export interface DeployGcResult extends CollectedRepository {
  readonly dryRun: boolean;
  readonly plan: DeployGcPlan;
  /** Manifests whose images of an older version were brought up to date first; a dry run counts without that. */
  readonly migrated: readonly Digest[];
  /** Paths of temporary files that commands left which were killed. */
  readonly leftovers: readonly string[];
  readonly warnings: readonly DeployWarning[];
}

/** Everything that a collection is decided on, and the decision. */
interface Prepared {
  readonly state: SysrootState;
  readonly repository: GcRepository;
  readonly plan: DeployGcPlan;
  readonly leftovers: readonly Leftover[];
  readonly warnings: readonly DeployWarning[];
}

/**
 * Removes what no entry of the boot menu needs: kernels and UKIs, state directories, tags, and what nothing keeps in the repository.
 * What is not ours stays. Everything is decided before anything is removed.
 *
 * @throws ComposefsError with the reason `E_GRUB_CFG`, `E_BOOTED_NOT_FOUND`, `E_GC_NO_ENTRIES` or `E_GC_BOOTED_BINARIES`; `corrupt` when
 *   not everything that a deployment needs can be found in the repository: its objects stay then; `locked`
 * @example
 * ```ts
 * await using sysroot = await OpenSysroot.open(locateSysroot({ sysroot: "/mnt" }));
 * const { plan } = await deployGc(sysroot);
 * console.log(plan.removeStateDirs);
 * ```
 */
export async function deployGc(sysroot: OpenSysroot, options: GcOptions = {}): Promise<DeployGcResult> {
  const { location, repository, signal } = sysroot;
  const warn = (message: string) => sysroot.onProgress?.({ type: "warning", message });
  const open = manifestOpener(repository);
  const migrated =
    options.pruneRepository === false
      ? []
      : await migrateFormats(sysroot, { signal, onProgress: sysroot.onProgress, open });
  const current = migrated.length === 0 ? open : manifestOpener(repository);
  const prepared = await prepare(location, repository, options, current, signal, warn);
  await carryOut(sysroot, prepared);
  const { plan, warnings, leftovers } = prepared;
  const common = { plan, warnings, migrated, leftovers: leftovers.map(({ volume, path }) => join(volume.root, path)) };
  if (plan.repoAfter === undefined) return { ...common, dryRun: false, ...NOTHING };
  const { lock, onProgress } = sysroot;
  const result = await collectGarbage(repository, {
    ...repositoryOptions(prepared),
    ...(signal && { signal }),
    ...(lock && { lock }),
    ...(onProgress && { onProgress }),
  });
  return { ...common, dryRun: false, ...counts(result) };
}

/**
 * What {@link deployGc} would do. Nothing is written, and no lock of the deployments is needed.
 *
 * @throws ComposefsError as {@link deployGc}
 */
export async function deployGcDryRun(
  location: SysrootLocation,
  repository: Repository,
  options: GcOptions = {},
  signal?: AbortSignal,
): Promise<DeployGcResult> {
  const prune = options.pruneRepository !== false;
  const open = manifestOpener(repository);
  const migrated = prune ? await migrateFormats({ repository }, { dryRun: true, signal, open }) : [];
  const prepared = await prepare(location, repository, options, open, signal, () => undefined);
  const { plan, warnings, leftovers } = prepared;
  const common = { plan, warnings, migrated, leftovers: leftovers.map(({ volume, path }) => join(volume.root, path)) };
  if (plan.repoAfter === undefined) return { ...common, dryRun: true, ...NOTHING };
  const result = await collectGarbage(repository, {
    ...repositoryOptions(prepared),
    dryRun: true,
    assume: {
      removed: tagRefs(repository, plan.removeTags),
      added: plan.createTags.map(([tag, manifest]) => [`${TAG_PREFIX}/${checkTag(tag)}`, manifestStream(manifest)]),
    },
    ...(signal && { signal }),
  });
  if (result.plan.problems.length > 0) throw incompleteWalk(result.plan);
  return { ...common, dryRun: true, ...counts(result) };
}

/**
 * Checks that a dry run found nothing to do.
 *
 * @throws ComposefsError with the reason `E_GC_NOT_CLEAN`
 */
export function assertCollected(result: DeployGcResult, sysroot: string): void {
  const { plan } = result;
  const boot = plan.removeBootBinaries.length + (plan.removeBootEntries?.length ?? 0) + result.leftovers.length;
  const staged = Number(plan.removeStagedEntriesDir) + Number(plan.removeStagedFile);
  const kept = plan.createTags.length + plan.removeTags.length + plan.pruneContainerImages.length;
  const links = result.imagesPruned + result.streamsPruned;
  const count = boot + staged + plan.removeStateDirs.length + kept + links + result.objectsRemoved;
  if (count === 0) return;
  throw new ComposefsError("exists", `a garbage collection of ${sysroot} would change ${count} things`, {
    path: sysroot,
    reason: "E_GC_NOT_CLEAN",
    hint: "`composefs deploy gc --dry-run` lists them",
  });
}

const NOTHING: CollectedRepository = { objectsRemoved: 0, objectsBytes: 0, imagesPruned: 0, streamsPruned: 0 };

async function prepare(
  location: SysrootLocation,
  repository: Repository,
  options: GcOptions,
  open: ManifestOpener,
  signal: AbortSignal | undefined,
  warn: (message: string) => void,
): Promise<Prepared> {
  const state = await readState(location, repository);
  const stored = options.pruneRepository === false ? NO_REPOSITORY : await readGcRepository(repository, signal, open);
  throwIfAborted(signal);
  const storage =
    options.pruneRepository === false ? {} : await readGcStorage(location.sysroot, state, repository, warn);
  const files = { ...readBootBinaries(location, location.bootloader), ...storage };
  const { plan, warnings } = planDeployGc(state, files, stored, options);
  return { state, repository: stored, plan, warnings, leftovers: findLeftovers(location) };
}

const NO_REPOSITORY: GcRepository = { tags: new Map(), manifests: new Map(), images: new Set() };

function repositoryOptions({ plan, repository }: Prepared) {
  const manifests = plan.liveManifests.filter((digest) => repository.manifests.has(digest)).map(manifestStream);
  return { roots: [...plan.additionalRoots, ...manifests], unknownRoots: "ignore", brokenRefs: "skip" } as const;
}

function counts({ plan, objectBytes }: GcResult): CollectedRepository {
  return {
    objectsRemoved: plan.objects.length,
    objectsBytes: objectBytes,
    imagesPruned: plan.images.length,
    streamsPruned: plan.streams.length,
  };
}

// The order is that of section 4.8: what keeps something comes first, and of what goes, what others depend on comes last.
async function carryOut(sysroot: OpenSysroot, { state, plan, leftovers }: Prepared): Promise<void> {
  const { location, boot, repository, run } = sysroot;
  if (plan.createTags.length > 0)
    await publish(repository, {
      images: [],
      streams: new Map(),
      refs: new Map(
        plan.createTags.map(([tag, manifest]) => [`${TAG_PREFIX}/${checkTag(tag)}`, manifestStream(manifest)]),
      ),
    });
  for (const { volume, path } of leftovers) removeDurably(volume, path);
  finishActivation(boot);
  if (plan.removeStagedEntriesDir) dropStaging(boot, location.bootloader);
  if (plan.removeBootEntries !== undefined) await removeEntries(boot, state, plan.removeBootEntries, orphans(state));
  removeBinaries(location, plan.removeBootBinaries);
  if (plan.removeStagedFile && run) removeDurably(run, STAGED_FILE);
  if (plan.removeStateDirs.length > 0) {
    const gone = new Set(plan.removeStateDirs);
    removeTrees(join(location.sysroot, STATE_DIRECTORY), (name) => gone.has(name));
  }
  const refs = tagRefs(repository, plan.removeTags);
  for (const ref of refs) repository.removeRef("streams", ref);
  if (refs.length > 0) await repository.barrier();
  if (plan.pruneContainerImages.length === 0) return;
  using storage = new OwnedStorage(sysroot);
  await storage.remove(plan.pruneContainerImages, (message) => sysroot.onProgress?.({ type: "warning", message }));
}

function orphans(state: SysrootState): Set<string> {
  const ids = readMenu(state).active.entries.map(({ verity }) => verity);
  return new Set(ids.filter((id) => !state.state.has(id)));
}

function removeBinaries(location: SysrootLocation, names: readonly string[]): void {
  const { kernels, ukis } = binaryDirectories(location, location.bootloader);
  for (const directory of [kernels, ukis]) {
    if (directory === undefined) continue;
    const volume = new DirectoryVolume(directory);
    const wanted = new Set(names);
    for (const { name, type } of volume.list("") ?? [])
      if (wanted.has(name) && (directory === ukis || type === "directory")) removeDurably(volume, name);
  }
}

// Others may have made refs in subdirectories, which are tags of the same name.
function tagRefs(repository: Repository, tags: readonly string[]): string[] {
  const wanted = new Set(tags);
  return repository
    .refs("streams", TAG_PREFIX)
    .filter(({ name }) => wanted.has(decodeTag(name)))
    .map(({ name }) => `${TAG_PREFIX}/${name}`);
}
