// What upgrade and switch have in common (docs/spec/deployments.md, section 4.4): an image is fetched, what was decided about it is carried
// out, and offline it becomes the default at once.

import { ComposefsError } from "../error.ts";
import type { Digest } from "../oci/digest.ts";
import { findTag, tagImage, untagImage } from "../oci/tags.ts";
import { openBaseTree } from "./base-image.ts";
import { deployGc, type DeployGcResult } from "./collect.ts";
import {
  type DeploymentImage,
  type FetchOptions,
  openDeploymentImage,
  pullDeploymentImage,
} from "./deployment-image.ts";
import { readDeployments } from "./deployments.ts";
import { tryEtcMerge } from "./etc-base.ts";
import type { EtcMerge } from "./etc-merge.ts";
import { finalizeDeployment, type FinalizedDeployment } from "./finalize.ts";
import { startFinalizeService } from "./finalize-service.ts";
import { ownedTag } from "./gc.ts";
import type { HostImage } from "./image-reference.ts";
import { readMenu } from "./menu.ts";
import { orUndefined } from "./menu-entry.ts";
import { activateMenu } from "./menu-files.ts";
import { migratePrefix } from "./migrate-prefix.ts";
import type { OpenSysroot } from "./open-sysroot.ts";
import { MANIFEST_DIGEST, originValue, parseOrigin } from "./origin.ts";
import { type StagedDeployment, type StageOptions, stageDeployment, writeMarker } from "./stage.ts";
import { rewriteOrigin } from "./state-directory.ts";
import type { SysrootState } from "./state.ts";
import { type BaseOption, baseDeployment, type UpdateDecision } from "./update.ts";
import { baseEntry, openUpdateBase } from "./update-base.ts";

/** Options that upgrade and switch have in common. */
export interface UpdateOptions extends BaseOption, FetchOptions, StageOptions {
  /** Names of addons of the UKI that are wanted, without `.addon.efi`. */
  readonly addons?: readonly string[] | undefined;
  /** Offline: stop when it is staged. */
  readonly noFinalize?: boolean | undefined;
  /** On a host: do not start the service that finalizes when the machine goes down. */
  readonly noService?: boolean | undefined;
  /** Find out what would be done, and write nothing. */
  readonly dryRun?: boolean | undefined;
}

/** What an update did, or would do. */
export interface UpdateResult {
  /** With `dryRun`, `pull` says that the image must be fetched before more can be told. */
  readonly decision: UpdateDecision;
  readonly dryRun: boolean;
  /** The reference that is followed from now on; undefined for `--from-downloaded`. */
  readonly reference: HostImage | undefined;
  readonly manifest: Digest | undefined;
  /** The deployment id of the image; undefined when it was not looked for. */
  readonly id: string | undefined;
  /** The deployment that is inherited from. */
  readonly base: string | undefined;
  readonly staged: StagedDeployment | undefined;
  /** The merge of `/etc` as it would be now, where the image is stored already; only with `dryRun`. */
  readonly planned: EtcMerge | undefined;
  /** Offline. */
  readonly finalized: FinalizedDeployment | undefined;
  /** The collection that follows. */
  readonly collected: DeployGcResult | undefined;
  /** Whether something waits for the machine to go down that was staged before. */
  readonly hasStaged: boolean;
  /** What went wrong after the update was complete. */
  readonly warnings: readonly string[];
}

/** What an update is about. */
export interface UpdateSubject {
  readonly state: SysrootState;
  readonly reference: HostImage;
  /** Empty when nobody was asked. */
  readonly manifest: Digest;
  /** Decides again when the id is known. */
  readonly decide: (target: { readonly manifest: Digest; readonly id: string }) => UpdateDecision;
}

/**
 * The state that an update begins with, after what older versions left was brought up to date. Offline, an activation that was cut is finished first: its menu has both the old and the new
 * default, and would be taken for another one.
 */
export async function beginUpdate(sysroot: OpenSysroot, dryRun: boolean): Promise<SysrootState> {
  if (dryRun) return sysroot.readState();
  const { active, staged } = readMenu(await sysroot.readState());
  const first = staged?.entries[0]?.verity;
  if (sysroot.run === undefined && active.entries.some(({ verity }) => verity === first))
    await activateMenu(sysroot.boot, sysroot.location.bootloader);
  await migratePrefix(sysroot);
  return sysroot.readState();
}

/** Carries out what was decided. @throws ComposefsError as `pullDeploymentImage`, `openDeploymentImage`, `stageDeployment`, and `decide` */
export async function runUpdate(
  sysroot: OpenSysroot,
  subject: UpdateSubject,
  first: UpdateDecision,
  id: string | undefined,
  options: UpdateOptions,
): Promise<UpdateResult> {
  const { state, reference, manifest } = subject;
  const deployments = readDeployments(state);
  const base = baseEntry(state, deployments, options);
  const result: UpdateResult = {
    decision: first,
    dryRun: options.dryRun ?? false,
    reference,
    manifest: manifest === "" ? undefined : manifest,
    id,
    base: base?.verity,
    staged: undefined,
    planned: undefined,
    finalized: undefined,
    collected: undefined,
    hasStaged: deployments.staged !== undefined && deployments.marker?.locked === false,
    warnings: [],
  };
  if (options.dryRun) {
    if (first.action !== "stage" || id === undefined || base === undefined) return result;
    const [from, to] = [base.verity, id].map((one) => ({ id: one, tree: openBaseTree(sysroot, one) }));
    return { ...result, planned: from && to && (await tryEtcMerge(sysroot, from, to, options)) };
  }
  if (first.action === "unlock") return { ...result, ...(await unlock(sysroot, state)) };
  if (first.action === "refresh-origin") {
    await tagImage(sysroot.repository, manifest, ownedTag(manifest));
    await refreshOrigin(sysroot, subject, manifest, first.slot, options);
    return result;
  }
  if (first.action !== "pull" && first.action !== "stage") return result;
  const image = await fetch(sysroot, subject, options);
  const pulled = { ...result, manifest: image.manifest, id: image.id };
  let decision: UpdateDecision;
  try {
    decision = subject.decide(image);
  } catch (error) {
    await dropUnusedTag(sysroot, image.manifest);
    throw error;
  }
  if (decision.action === "refresh-origin")
    await refreshOrigin(sysroot, subject, image.manifest, decision.slot, options);
  else if (decision.action !== "stage") await dropUnusedTag(sysroot, image.manifest);
  if (decision.action !== "stage") return { ...pulled, decision };
  const { location } = sysroot;
  if (location.isHost && sysroot.run && !options.noService) startFinalizeService();
  const updateBase = await openUpdateBase(sysroot, base, image.architecture);
  const staged = await stageDeployment(sysroot, image, updateBase, reference, options);
  const stops = sysroot.run !== undefined || options.noFinalize || options.downloadOnly;
  const finalized = stops ? undefined : await finalizeDeployment(sysroot, options);
  return { ...pulled, decision, staged, finalized, ...(await collect(sysroot)) };
}

async function fetch(
  sysroot: OpenSysroot,
  { reference }: UpdateSubject,
  options: UpdateOptions,
): Promise<DeploymentImage> {
  const { manifestDigest } = await pullDeploymentImage(sysroot, reference, options);
  return openDeploymentImage(sysroot, manifestDigest, options.addons);
}

async function collect(sysroot: OpenSysroot): Promise<Pick<UpdateResult, "collected" | "warnings">> {
  try {
    return { collected: await deployGc(sysroot), warnings: [] };
  } catch (error) {
    if (!(error instanceof ComposefsError) || error.code === "aborted") throw error;
    return { collected: undefined, warnings: [`the update is complete, but nothing was collected: ${error.message}`] };
  }
}

/** Allows a staged deployment to become the default. */
export async function unlock(sysroot: OpenSysroot, state: SysrootState): Promise<{ id: string | undefined }> {
  const { marker } = readDeployments(state);
  if (marker) await writeMarker(sysroot, marker.id, false);
  return { id: marker?.id };
}

async function refreshOrigin(
  sysroot: OpenSysroot,
  { state, reference }: UpdateSubject,
  manifest: Digest,
  slot: "booted" | "staged",
  options: BaseOption,
): Promise<void> {
  const { staged } = readDeployments(state);
  const deployment = slot === "staged" ? staged : baseDeployment(state, options);
  if (deployment === undefined) throw new TypeError(`there is no ${slot} deployment`);
  await rewriteOrigin(sysroot, deployment.id, reference, manifest);
  if (deployment.manifestDigest !== undefined && deployment.manifestDigest !== manifest)
    await dropUnusedTag(sysroot, deployment.manifestDigest);
}

// What was fetched in vain, or is not followed any more, is left to the next collection.
async function dropUnusedTag(sysroot: OpenSysroot, manifest: Digest): Promise<void> {
  const { state } = await sysroot.readState();
  const isUsed = [...state.values()].some(({ origin }) => origin !== undefined && manifestOf(origin) === manifest);
  const tag = ownedTag(manifest);
  if (!isUsed && findTag(sysroot.repository, tag) !== undefined) await untagImage(sysroot.repository, tag);
}

function manifestOf(origin: string): string | undefined {
  return orUndefined(() => originValue(parseOrigin(origin), MANIFEST_DIGEST));
}
