// What upgrade and switch do (docs/spec/deployments.md, section 4.4): decided before anything is written, from the state and the image
// that the reference resolves to now.

import { ComposefsError } from "../error.ts";
import type { Digest } from "../oci/digest.ts";
import { type Deployment, type Deployments, readDeployments } from "./deployments.ts";
import { type HostImage, referenceWithTag, sameReference } from "./image-reference.ts";
import type { SysrootState } from "./state.ts";

/** The part that a deployment plays. Offline, `booted` is the one that an update is based on. */
export type Slot = "booted" | "staged" | "rollback" | "other";

/** The image that is offered. */
export interface UpdateTarget {
  readonly manifest: Digest;
  /** Its deployment id; undefined before it was pulled. */
  readonly id?: string | undefined;
}

/** What to do about an offered image. */
export type UpdateDecision =
  | {
      readonly action: "none";
      readonly reason:
        | "staged"
        | "booted"
        | "matches-rollback"
        | "matches-other"
        | "not-download-only"
        | "unchanged-spec";
    }
  | { readonly action: "update-available" }
  /** The staged deployment is the one; it only has to be allowed to become the default. */
  | { readonly action: "unlock" }
  /** The id must be known to decide: pull, and ask again. */
  | { readonly action: "pull" }
  | { readonly action: "stage" }
  /** The same content under a new manifest or reference: only the origin of that deployment changes. */
  | { readonly action: "refresh-origin"; readonly slot: "booted" | "staged" };

/** What an update is based on, offline. */
export interface BaseOption {
  /** Id of the deployment whose `/etc` and options are inherited; null for none; the first of the menu when left out. */
  readonly base?: string | null | undefined;
}

/** Options of {@link decideUpgrade}. */
export interface UpgradeOptions extends BaseOption {
  /** Only look. */
  readonly check?: boolean | undefined;
  /** Take what was downloaded, do not look for anything newer. */
  readonly fromDownloaded?: boolean | undefined;
  /** Stage without making it the default at the next shutdown. */
  readonly downloadOnly?: boolean | undefined;
}

/** Options of {@link decideSwitch}. */
export interface SwitchOptions extends BaseOption {
  /** A deployment with the same content takes the new reference. */
  readonly inPlace?: boolean | undefined;
}

/**
 * Decides what an upgrade does.
 *
 * @param target what {@link updateSource} resolves to now; not looked at with `fromDownloaded`
 * @throws ComposefsError with the reason `E_GRUB_CFG`, `E_NO_STAGED`, `E_NO_IMAGE_SOURCE` or `E_DEPLOYMENT_NOT_FOUND` (the base)
 */
export function decideUpgrade(state: SysrootState, target: UpdateTarget, options: UpgradeOptions = {}): UpdateDecision {
  const slots = updateSlots(state, options);
  const { booted, staged, locked } = slots;
  if (options.fromDownloaded) {
    if (!staged)
      throw new ComposefsError("not-found", "there is no staged deployment", {
        reason: "E_NO_STAGED",
        hint: "run the upgrade without --from-downloaded",
      });
    return locked ? { action: "unlock" } : { action: "none", reason: "not-download-only" };
  }
  sourceOf(slots);
  if (options.check) {
    if (target.manifest === staged?.manifestDigest) return { action: "none", reason: "staged" };
    if (target.manifest === booted?.manifestDigest) return { action: "none", reason: "booted" };
    return { action: "update-available" };
  }
  if (target.manifest === staged?.manifestDigest)
    return locked && !options.downloadOnly ? { action: "unlock" } : { action: "none", reason: "staged" };
  if (target.manifest === booted?.manifestDigest) return { action: "none", reason: "booted" };
  if (target.id === undefined) return { action: "pull" };
  const slot = slotOf(slots, target.id);
  if (slot === undefined) return { action: "stage" };
  if (slot === "booted" || slot === "staged") return { action: "refresh-origin", slot };
  return { action: "none", reason: `matches-${slot}` };
}

/**
 * Decides what a switch to another image does.
 *
 * @param spec the reference to follow from now on
 * @param target what it resolves to now
 * @throws ComposefsError with the reason `E_GRUB_CFG`, `E_DEPLOYMENT_NOT_FOUND` (the base), or `E_SAME_DEPLOYMENT` and `slot`
 */
export function decideSwitch(
  state: SysrootState,
  spec: HostImage,
  target: UpdateTarget,
  options: SwitchOptions = {},
): UpdateDecision {
  const slots = updateSlots(state, options);
  const current = (slots.staged ?? slots.booted)?.image;
  if (current && sameReference(current, spec)) return { action: "none", reason: "unchanged-spec" };
  if (target.id === undefined) return { action: "pull" };
  const slot = slotOf(slots, target.id);
  if (slot === undefined) return { action: "stage" };
  const inPlace = slot === "booted" || slot === "staged";
  if (options.inPlace && inPlace) return { action: "refresh-origin", slot };
  const deployment = slot === "other" ? "another deployment" : `the ${slot} deployment`;
  throw new ComposefsError("exists", `the image has the same content as ${deployment}, ${target.id}`, {
    reason: "E_SAME_DEPLOYMENT",
    digest: target.id,
    slot,
    hint: inPlace
      ? "use --in-place to follow the new reference without another deployment"
      : "roll back to that deployment, or delete it first",
  });
}

/**
 * The image that an upgrade follows.
 *
 * @param tag takes the place of the tag in the reference
 * @throws ComposefsError with the reason `E_GRUB_CFG`, `E_NO_IMAGE_SOURCE` or `E_DEPLOYMENT_NOT_FOUND` (the base)
 */
export function updateSource(state: SysrootState, options: BaseOption & { tag?: string | undefined } = {}): HostImage {
  const source = sourceOf(updateSlots(state, options));
  return options.tag === undefined ? source : referenceWithTag(source, options.tag);
}

/** The deployment that an update inherits from: the booted one, or offline the base. */
export function baseDeployment(state: SysrootState, options: BaseOption = {}): Deployment | undefined {
  return updateSlots(state, options).booted;
}

interface UpdateSlots extends Pick<Deployments, "booted" | "staged" | "rollback" | "others"> {
  readonly locked: boolean;
}

function updateSlots(state: SysrootState, { base }: BaseOption): UpdateSlots {
  const { menu, marker, booted, staged, rollback, others } = readDeployments(state);
  if (menu.syntaxError) throw menu.syntaxError;
  const locked = marker?.locked ?? false;
  if (state.bootedId !== undefined || base === null) return { booted, staged, rollback, others, locked };
  const id = base ?? menu.active.entries[0]?.verity;
  if (base !== undefined && !menu.active.entries.some(({ verity }) => verity === base)) throw deploymentNotFound(base);
  return {
    booted: others.find((one) => one.id === id),
    staged,
    rollback,
    others: others.filter((one) => one.id !== id),
    locked,
  };
}

function slotOf({ booted, staged, rollback, others }: UpdateSlots, id: string): Slot | undefined {
  if (id === booted?.id) return "booted";
  if (id === staged?.id) return "staged";
  if (id === rollback?.id) return "rollback";
  return others.some((one) => one.id === id) ? "other" : undefined;
}

function sourceOf({ staged, booted }: UpdateSlots): HostImage {
  const deployment = staged ?? booted;
  if (deployment?.image) return deployment.image;
  throw new ComposefsError(
    "not-found",
    deployment
      ? `the origin of the deployment ${deployment.id} names no image to follow`
      : "there is no deployment whose image an upgrade could follow",
    {
      reason: "E_NO_IMAGE_SOURCE",
      ...(deployment && { digest: deployment.id }),
      hint: "use switch with the reference of an image",
    },
  );
}

/** The error for an id that no deployment has. */
export function deploymentNotFound(id: string): ComposefsError {
  return new ComposefsError("not-found", `there is no deployment ${JSON.stringify(id)}`, {
    reason: "E_DEPLOYMENT_NOT_FOUND",
    digest: id,
    hint: "the ids are those that status shows as Verity, in full",
  });
}
