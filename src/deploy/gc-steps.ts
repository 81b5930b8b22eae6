// The plan of a garbage collection as steps with reasons, in the order in which they are carried out (docs/spec/deployments.md,
// section 4.8): what a dry run prints.

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
