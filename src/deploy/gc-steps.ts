// The plan of a garbage collection as steps with reasons, in the order in which they are carried out (docs/spec/deployments.md,
// section 4.8): what a dry run prints.

import { displayBytes, utf8ByteString } from "../bytes/byte-string.ts";
import type { DeployGcPlan } from "./gc.ts";

/** One change and why it is made. */
export interface GcStep {
  readonly action:
    | "create-tag"
    | "remove-staged-entries"
    | "remove-boot-entry"
    | "remove-boot-files"
    | "remove-staged-file"
    | "remove-state"
    | "remove-tag"
    | "prune-container-image";
  /** Tag, file, id or directory; empty where there is only one. */
  readonly name: string;
  readonly reason: string;
}

/** The steps of a plan, but for the collection of the repository, which comes last. */
export function gcSteps(plan: DeployGcPlan): GcStep[] {
  const each = (action: GcStep["action"], names: readonly string[], reason: string): GcStep[] =>
    names.map((name) => ({ action, name, reason }));
  return [
    ...each(
      "create-tag",
      plan.createTags.map(([tag]) => tag),
      "a deployment needs the image, and nothing in the repository says so",
    ),
    ...each("remove-staged-entries", plan.removeStagedEntriesDir ? [""] : [], "the machine was booted without them"),
    ...each("remove-boot-entry", plan.removeBootEntries ?? [], "the deployment it boots has no state directory"),
    ...each("remove-boot-files", plan.removeBootBinaries, "no boot entry names them"),
    ...each("remove-staged-file", plan.removeStagedFile ? [""] : [], "the deployment it names is not complete"),
    ...each("remove-state", plan.removeStateDirs, "no boot entry boots it"),
    ...each("remove-tag", plan.removeTags, "no deployment needs the image"),
    ...each("prune-container-image", plan.pruneContainerImages, "no deployment comes from it or is bound to it"),
  ];
}

const ACTIONS: Record<GcStep["action"], string> = {
  "create-tag": "tag",
  "remove-staged-entries": "remove the staged boot entries",
  "remove-boot-entry": "remove the boot entry",
  "remove-boot-files": "remove",
  "remove-staged-file": "remove the staged deployment file",
  "remove-state": "remove the state directory",
  "remove-tag": "untag",
  "prune-container-image": "remove the container image",
};

/**
 * One line for a step.
 *
 * @example
 * ```ts
 * gcStepText({ action: "remove-state", name: "a1b2", reason: "no boot entry boots it" });
 * // "remove the state directory a1b2: no boot entry boots it"
 * ```
 */
export function gcStepText({ action, name, reason }: GcStep): string {
  return `${ACTIONS[action]}${name === "" ? "" : ` ${displayBytes(utf8ByteString(name))}`}: ${reason}`;
}
