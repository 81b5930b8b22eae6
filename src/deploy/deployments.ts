// Which deployments a sysroot has and what each of them is: booted, staged, rollback, another (docs/spec/deployments.md, sections 4.1 and
// 4.9). Status, gc and every decision start from this. Damage in one deployment is a warning and keeps the others usable.

import { sameForSoftReboot } from "../boot/kargs/command-line.ts";
import { ComposefsError } from "../error.ts";
import type { Digest } from "../oci/digest.ts";
import { parseImginfo } from "./image-info.ts";
import { type CachedUpdate, parseCachedUpdate } from "./cached-update.ts";
import { type HostImage, parseHostImage, sameReference } from "./image-reference.ts";
import { type Menu, readMenu } from "./menu.ts";
import { entryOptions, type MenuEntry, orUndefined } from "./menu-entry.ts";
import {
  BOOT_DIGEST,
  BOOT_TYPE,
  IMAGE_REFERENCE,
  MANIFEST_DIGEST,
  type Origin,
  originValue,
  parseOrigin,
} from "./origin.ts";
import { type StagedMarker, parseStagedMarker } from "./staged-marker.ts";
import { type DeployWarning, type ImageDocuments, isManifestDigest, type SysrootState } from "./state.ts";

/** A deployment that is in the menu and whose origin can be read. */
export interface Deployment {
  readonly id: string;
  /** The first entry that boots it. */
  readonly entry: MenuEntry;
  readonly bootType: "bls" | "uki";
  readonly bootDigest: string | undefined;
  /** The image it follows; undefined when there is none, or none that can be read. */
  readonly image: HostImage | undefined;
  readonly manifestDigest: Digest | undefined;
  /** Manifest and config, from the repository or an old `.imginfo` file. */
  readonly documents: ImageDocuments | undefined;
  readonly softRebootCapable: boolean;
  /** What the last check found: another image under the same reference. */
  readonly cachedUpdate: CachedUpdate | undefined;
}

/** The deployments of a sysroot by the part that they play. */
export interface Deployments {
  readonly menu: Menu;
  /** The staged deployment file; undefined when there is none that can be read. */
  readonly marker: StagedMarker | undefined;
  readonly booted: Deployment | undefined;
  readonly staged: Deployment | undefined;
  /** The first of the others in the menu; undefined when nothing is booted. */
  readonly rollback: Deployment | undefined;
  /** What is left, in the order of the menu. */
  readonly others: readonly Deployment[];
  /** Whether the next boot starts another deployment than the one that runs, and not because of a staged one. */
  readonly rollbackQueued: boolean;
  readonly warnings: readonly DeployWarning[];
}

/** Reads all of it. Never fails, writes nothing, needs no network. */
export function readDeployments(state: SysrootState): Deployments {
  const menu = readMenu(state);
  const warnings = [...menu.warnings];
  const marker = readMarker(state.stagedDeployment, warnings);
  const { bootedId } = state;
  const active = firstOfEach(menu.active.entries);
  const activeIds = new Set(active.map(({ verity }) => verity));
  const all = firstOfEach([...active, ...(menu.staged?.entries ?? [])]);
  const ids = new Set(all.map(({ verity }) => verity));

  const found = new Map<string, Deployment>();
  for (const entry of all) {
    const deployment = readDeployment(entry, state, warnings);
    if (deployment) found.set(entry.verity, deployment);
  }
  const stagedId = marker?.id === bootedId ? undefined : marker?.id;
  for (const { verity } of all)
    if (!activeIds.has(verity) && verity !== stagedId && verity !== bootedId)
      warnings.push({ code: "W_STALE_STAGED_ENTRY", id: verity });
  if (marker && !ids.has(marker.id)) warnings.push({ code: "W_STAGED_WITHOUT_ENTRY", id: marker.id });
  if (bootedId !== undefined && !ids.has(bootedId)) warnings.push({ code: "W_BOOTED_NOT_FOUND", id: bootedId });

  const booted = bootedId === undefined ? undefined : found.get(bootedId);
  const withSoftReboot = (deployment: Deployment): Deployment => ({
    ...deployment,
    softRebootCapable: canSoftReboot(booted, deployment, state),
  });
  const staged = stagedId === undefined ? undefined : found.get(stagedId);
  const rest = active
    .filter(({ verity }) => verity !== bootedId && verity !== stagedId)
    .flatMap(({ verity }) => found.get(verity) ?? [])
    .map(withSoftReboot);
  const first = active[0]?.verity;
  return {
    menu,
    marker,
    booted,
    staged: staged && withSoftReboot(staged),
    rollback: booted && rest[0],
    others: booted ? rest.slice(1) : rest,
    rollbackQueued: booted !== undefined && rest.some(({ id }) => id === first),
    warnings,
  };
}

/** The entries without those that boot what one before them boots. */
export function firstOfEach(entries: readonly MenuEntry[]): MenuEntry[] {
  const seen = new Set<string>();
  return entries.filter(({ verity }) => !seen.has(verity) && seen.add(verity));
}

function readMarker(text: string | undefined, warnings: DeployWarning[]): StagedMarker | undefined {
  if (text === undefined) return undefined;
  try {
    return parseStagedMarker(text);
  } catch (error) {
    reasonOf(error);
    warnings.push({ code: "W_BAD_STAGED_FILE" });
    return undefined;
  }
}

function readDeployment(entry: MenuEntry, state: SysrootState, warnings: DeployWarning[]): Deployment | undefined {
  const id = entry.verity;
  const directory = state.state.get(id);
  if (!directory) {
    warnings.push({ code: "W_ORPHAN_BOOT_ENTRY", id });
    return undefined;
  }
  if (directory.origin === undefined) {
    warnings.push({ code: "W_NO_ORIGIN", id });
    return undefined;
  }
  let origin: Origin;
  try {
    origin = parseOrigin(directory.origin);
  } catch (error) {
    warnings.push({ code: "W_BAD_ORIGIN", id, reason: reasonOf(error) });
    return undefined;
  }
  const image = readReference(id, origin, warnings);
  const bootType = originValue(origin, BOOT_TYPE);
  if (bootType !== "bls" && bootType !== "uki") warnings.push({ code: "W_BAD_BOOT_TYPE", id });
  const information = readImageInformation(id, origin, directory.imginfo, state, warnings);
  return {
    id,
    entry,
    image,
    bootType: bootType === "bls" || bootType === "uki" ? bootType : entry.kind,
    bootDigest: originValue(origin, BOOT_DIGEST),
    ...information,
    softRebootCapable: false,
    cachedUpdate: readUpdate(directory.update, image),
  };
}

function readReference(id: string, origin: Origin, warnings: DeployWarning[]): HostImage | undefined {
  const text = originValue(origin, IMAGE_REFERENCE);
  if (text === undefined) return undefined;
  try {
    return parseHostImage(text);
  } catch (error) {
    warnings.push({ code: "W_BAD_IMGREF", id, reason: reasonOf(error) });
    return undefined;
  }
}

// A cache that cannot be read, or is that of another reference, is as good as none.
function readUpdate(text: string | undefined, image: HostImage | undefined): CachedUpdate | undefined {
  const update = text === undefined ? undefined : orUndefined(() => parseCachedUpdate(text));
  return update && image && sameReference(update.image, image) ? update : undefined;
}

// The chain from the origin to manifest and config (4.1).
function readImageInformation(
  id: string,
  origin: Origin,
  imginfo: string | undefined,
  state: SysrootState,
  warnings: DeployWarning[],
): Pick<Deployment, "manifestDigest" | "documents"> {
  const text = originValue(origin, MANIFEST_DIGEST);
  const digest = text !== undefined && isManifestDigest(text) ? text : undefined;
  if (text !== undefined && digest === undefined) warnings.push({ code: "W_BAD_MANIFEST_DIGEST", id });
  if (digest !== undefined) {
    const documents = state.images.get(digest);
    if (documents) return { manifestDigest: digest, documents };
    warnings.push({ code: "W_MANIFEST_MISSING", id, manifest: digest });
  }
  if (imginfo !== undefined) {
    try {
      const old = parseImginfo(imginfo);
      return { manifestDigest: digest ?? old.digest, documents: old };
    } catch (error) {
      reasonOf(error);
      warnings.push({ code: "W_BAD_IMGINFO", id });
    }
  } else if (digest === undefined) warnings.push({ code: "W_NO_IMAGE_INFO", id });
  return { manifestDigest: digest, documents: undefined };
}

// Whether the kernel that runs can go on with the other deployment (4.9). Anything unknown is a no.
function canSoftReboot(booted: Deployment | undefined, other: Deployment, state: SysrootState): boolean {
  if (!booted || booted.bootDigest === undefined || booted.bootDigest !== other.bootDigest) return false;
  const { selinuxCompatible = true, ukiCommandLines } = state;
  const isCompatible =
    typeof selinuxCompatible === "boolean" ? selinuxCompatible : selinuxCompatible.get(other.id) === true;
  const options = ({ entry }: Deployment) => entryOptions(entry) ?? ukiCommandLines?.get(entry.artifact?.name ?? "");
  const [from, to] = [options(booted), options(other)];
  return isCompatible && from !== undefined && to !== undefined && sameForSoftReboot(from, to);
}

function reasonOf(error: unknown): string {
  if (error instanceof ComposefsError && error.reason !== undefined) return error.reason;
  throw error;
}
