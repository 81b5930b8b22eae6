// The plan of a garbage collection (docs/spec/deployments.md, section 4.8): everything is decided before anything is removed. What the
// boot menu names is live; what has not the exact form of our names is not ours and stays.

import { BOOTC_PREFIX } from "../boot/entry/identity.ts";
import { ComposefsError } from "../error.ts";
import type { Digest } from "../oci/digest.ts";
import { readDeployments } from "./deployments.ts";
import type { GcFiles, GcOptions, GcRepository, RepositoryContent } from "./gc-input.ts";
import { deploymentImageName, storageImageName } from "./image-name.ts";
import { type HostImage, parseHostImage, storageNameOf } from "./image-reference.ts";
import type { EntrySet } from "./menu.ts";
import { type EntryIdentity, orUndefined } from "./menu-entry.ts";
import { IMAGE_REFERENCE, MANIFEST_DIGEST, type Origin, originValue, parseOrigin } from "./origin.ts";
import { type DeployWarning, isManifestDigest, type StateDirectory, type SysrootState } from "./state.ts";

/** What a collection does. Lists are sorted and have nothing twice. */
export interface DeployGcPlan {
  /** Kernel directories, UKIs and addon directories that no entry needs. */
  readonly removeBootBinaries: readonly string[];
  /** Whether `entries.staged` or `user.cfg.staged` goes: it was never activated, and the machine has booted since. */
  readonly removeStagedEntriesDir: boolean;
  /** State directories of deployments that no entry boots. */
  readonly removeStateDirs: readonly string[];
  /** Whether the staged deployment file goes. */
  readonly removeStagedFile: boolean;
  /** Tags for live manifests that have none of ours. */
  readonly createTags: readonly (readonly [tag: string, manifest: Digest])[];
  /** Tags of ours that no live deployment needs. */
  readonly removeTags: readonly string[];
  readonly liveManifests: readonly Digest[];
  /** Ids that the collection of the repository keeps whatever refers to them. */
  readonly additionalRoots: readonly string[];
  /** Ids of images in the owned container storage. */
  readonly pruneContainerImages: readonly string[];
  /** Files of entries without state directory; only when they are to be removed. `user.cfg` is rewritten without them. */
  readonly removeBootEntries?: readonly string[];
  /** What is left in the repository; only when it is collected. */
  readonly repoAfter?: RepositoryContent;
}

/** A plan, and what was found damaged on the way to it. */
export interface PlannedGc {
  readonly plan: DeployGcPlan;
  readonly warnings: readonly DeployWarning[];
}

const OWNED_TAG = "localhost/bootc-";

/** The tag that keeps the image of a deployment. */
export function ownedTag(manifest: Digest): string {
  return OWNED_TAG + manifest;
}

/** The digest in the name of a tag of ours; undefined for any other tag. */
export function ownedTagDigest(tag: string): Digest | undefined {
  const digest = tag.startsWith(OWNED_TAG) ? tag.slice(OWNED_TAG.length) : "";
  return isManifestDigest(digest) ? digest : undefined;
}

/**
 * Plans a collection.
 *
 * @throws ComposefsError with the reason `E_GRUB_CFG`, `E_BOOTED_NOT_FOUND`, `E_GC_NO_ENTRIES` or `E_GC_BOOTED_BINARIES`
 */
export function planDeployGc(
  state: SysrootState,
  files: GcFiles,
  repository: GcRepository,
  options: GcOptions = {},
): PlannedGc {
  const deployments = readDeployments(state);
  const { menu, marker } = deployments;
  if (menu.syntaxError) throw menu.syntaxError;
  const offline = state.bootedId === undefined;
  const usable = marker !== undefined && hasEntry([menu.active, menu.staged], marker.id) && state.state.has(marker.id);
  // After a boot without the staged file, what was staged will never be activated; nor with a file that is about to go. Offline there is
  // no such file.
  const staleStaged = !offline && menu.staged !== undefined && !usable;
  const sets = [menu.active, ...(menu.staged && !staleStaged ? [menu.staged] : [])];
  // An entry that was only staged does not keep the running system: its state would go with it.
  if (!offline && !(deployments.booted && hasEntry(sets, deployments.booted.id)))
    throw bootedNotFound(state.bootedId ?? "");
  const entries = sets.flatMap((set) => set.entries);
  if (offline && entries.length === 0 && !options.allowEmpty) throw noEntries();
  const named: EntryIdentity[] = [...entries, ...sets.flatMap((set) => set.broken)];
  const removeBootBinaries = unreferencedBinaries(named, files, state.bootedId);
  const warnings = [...deployments.warnings];
  const prune = options.pruneRepository ?? true;
  const orphans = new Set(entries.map(({ verity }) => verity).filter((id) => !state.state.has(id)));
  const removeBootEntries =
    options.pruneBootEntries && prune ? menu.active.entries.filter(({ verity }) => orphans.has(verity)) : [];
  const boot = {
    removeBootBinaries,
    removeStagedEntriesDir: staleStaged,
    ...(options.pruneBootEntries && { removeBootEntries: sorted(removeBootEntries.map(({ file }) => file)) }),
  };
  if (!prune) return { plan: { ...NOTHING, ...boot }, warnings };

  const ids = new Set(named.map(({ verity }) => verity));
  const live = [...ids].filter((id) => state.state.has(id));
  const images = liveImages(live, state, files, repository, warnings);
  const tags = planTags(images.manifests, repository, warnings);
  const plan = {
    ...NOTHING,
    ...boot,
    ...tags,
    removeStateDirs: sorted([...state.state.keys()].filter((id) => !ids.has(id))),
    removeStagedFile: marker !== undefined && !usable,
    liveManifests: sorted(images.manifests),
    additionalRoots: sorted(live),
    pruneContainerImages: unusedStorageImages(images.names, files),
  };
  return { plan: { ...plan, repoAfter: repositoryAfter(plan, repository) }, warnings };
}

function hasEntry(sets: readonly (EntrySet | undefined)[], id: string): boolean {
  return sets.some((set) => set && [...set.entries, ...set.broken].some(({ verity }) => verity === id));
}

const NOTHING: DeployGcPlan = {
  removeBootBinaries: [],
  removeStagedEntriesDir: false,
  removeStateDirs: [],
  removeStagedFile: false,
  createTags: [],
  removeTags: [],
  liveManifests: [],
  additionalRoots: [],
  pruneContainerImages: [],
};

// Steps 3: kernels are compared by artifact, because several deployments may boot from one directory.
function unreferencedBinaries(named: readonly EntryIdentity[], files: GcFiles, bootedId: string | undefined): string[] {
  const needed = new Set(named.map(({ artifact }) => artifact?.name));
  const owned = (name: string, suffix: string): string | undefined =>
    name.startsWith(BOOTC_PREFIX) && name.endsWith(suffix)
      ? name.slice(BOOTC_PREFIX.length, name.length - suffix.length)
      : undefined;
  const candidates = [
    ...files.kernelDirectories.map((name) => ({ name, artifact: owned(name, "") })),
    ...files.ukiFiles.map((name) => ({ name, artifact: owned(name, ".efi") ?? owned(name, ".efi.extra.d") })),
  ];
  const unreferenced = candidates.filter(({ artifact }) => artifact !== undefined && !needed.has(artifact));
  const booted = unreferenced.find(({ artifact }) => artifact === bootedId);
  if (booted)
    throw new ComposefsError(
      "corrupt",
      `no boot entry names ${booted.name}, which the running system was booted from`,
      {
        reason: "E_GC_BOOTED_BINARIES",
        path: booted.name,
        hint: "repair the boot entries first; nothing was removed",
      },
    );
  return sorted(unreferenced.map(({ name }) => name));
}

// Step 6: the manifests and the names in container storages of live deployments.
function liveImages(
  live: readonly string[],
  state: SysrootState,
  files: GcFiles,
  repository: GcRepository,
  warnings: DeployWarning[],
): { manifests: Set<Digest>; names: Set<string> } {
  const manifests = new Set<Digest>();
  const names = new Set<string>();
  const find = imageFinder(repository);
  for (const id of live) {
    const origin = readOrigin(state.state.get(id));
    const image = origin && readReference(origin);
    if (image) names.add(storageNameOf(image));
    for (const name of files.boundImages?.get(id) ?? []) names.add(storageImageName(name));
    const text = origin && originValue(origin, MANIFEST_DIGEST);
    const digest = text !== undefined && isManifestDigest(text) ? text : find(id);
    if (digest === undefined) warnings.push({ code: "W_NO_MANIFEST", id });
    else {
      manifests.add(digest);
      names.add(deploymentImageName(digest));
    }
  }
  return { manifests, names };
}

// The manifest one of whose images is the deployment: tagged ones first, in the order of their tags, then all by digest.
function imageFinder({ tags, manifests }: GcRepository): (id: string) => Digest | undefined {
  let byImage: Map<string, Digest> | undefined;
  return (id) => {
    if (!byImage) {
      byImage = new Map();
      const tagged = sorted(tags.keys()).map((tag) => tags.get(tag) ?? "");
      for (const digest of [...tagged, ...sorted(manifests.keys())])
        for (const image of manifests.get(digest)?.images ?? []) if (!byImage.has(image)) byImage.set(image, digest);
    }
    return byImage.get(id);
  };
}

function readOrigin(directory: StateDirectory | undefined): Origin | undefined {
  return directory?.origin === undefined ? undefined : orUndefined(() => parseOrigin(directory.origin ?? ""));
}

function readReference(origin: Origin): HostImage | undefined {
  const text = originValue(origin, IMAGE_REFERENCE);
  return text === undefined ? undefined : orUndefined(() => parseHostImage(text));
}

// Steps 7 and 8. A tag to a manifest that is missing would stop the collections of other tools, so none is made.
function planTags(
  live: ReadonlySet<Digest>,
  { tags, manifests }: GcRepository,
  warnings: DeployWarning[],
): Pick<DeployGcPlan, "createTags" | "removeTags"> {
  const createTags: [string, Digest][] = [];
  for (const digest of sorted(live)) {
    const tag = ownedTag(digest);
    if (tags.get(tag) === digest && manifests.has(digest)) continue;
    if (manifests.has(digest)) createTags.push([tag, digest]);
    else if (!tags.has(tag)) warnMissing(digest, warnings);
  }
  const created = new Set(createTags.map(([tag]) => tag));
  const removeTags: string[] = [];
  for (const tag of sorted(tags.keys())) {
    const target = tags.get(tag) ?? "";
    const digest = ownedTagDigest(tag);
    const missing = !manifests.has(target);
    if (digest === undefined) {
      if (missing) warnings.push({ code: "W_DANGLING_TAG", tag });
    } else if (created.has(tag)) continue;
    else if (!live.has(target) && !live.has(digest)) removeTags.push(tag);
    else if (missing) {
      removeTags.push(tag);
      warnings.push({ code: "W_DANGLING_TAG", tag });
    }
  }
  return { createTags, removeTags };
}

function warnMissing(manifest: Digest, warnings: DeployWarning[]): void {
  if (warnings.some((warning) => warning.code === "W_MANIFEST_MISSING" && warning.manifest === manifest)) return;
  warnings.push({ code: "W_MANIFEST_MISSING", manifest });
}

// Step 9. Without any name it would be everything, which is more likely a mistake.
function unusedStorageImages(names: ReadonlySet<string>, { containerStorage = [] }: GcFiles): string[] {
  if (names.size === 0) return [];
  return sorted(
    containerStorage
      .filter((image) => !image.names.some((name) => names.has(storageImageName(name))))
      .map(({ id }) => id),
  );
}

// Step 10, as far as it can be told from tags and roots.
function repositoryAfter(plan: DeployGcPlan, { tags, manifests, images }: GcRepository): RepositoryContent {
  const removed = new Set(plan.removeTags);
  const after = new Map([...[...tags].filter(([tag]) => !removed.has(tag)), ...plan.createTags]);
  const kept = new Set([...after.values()].filter((digest) => manifests.has(digest)));
  const stored = [...kept].flatMap((digest) => manifests.get(digest) ?? []);
  const referred = [...plan.additionalRoots, ...stored.flatMap((manifest) => manifest.images)];
  return {
    manifests: sorted(kept),
    configs: sorted(stored.map(({ config }) => config)),
    layers: sorted(stored.flatMap(({ layers }) => layers)),
    images: sorted(referred.filter((id) => images.has(id))),
  };
}

// Names of tags and files may have any characters; their order is that of their UTF-8.
function sorted(texts: Iterable<string>): string[] {
  return [...new Set(texts)].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

function bootedNotFound(id: string): ComposefsError {
  return new ComposefsError(
    "corrupt",
    `the booted deployment ${id} is not in the boot menu, or its state cannot be read`,
    {
      reason: "E_BOOTED_NOT_FOUND",
      digest: id,
      hint: "look at the warnings of status; nothing was removed",
    },
  );
}

function noEntries(): ComposefsError {
  return new ComposefsError("corrupt", "no boot entry can be read, so every deployment would be removed", {
    reason: "E_GC_NO_ENTRIES",
    hint: "check the paths of sysroot and boot directory; with --allow-empty everything is removed indeed",
  });
}
