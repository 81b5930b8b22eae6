// What was changed in the `/etc` of a deployment (docs/spec/deployments.md, sections 5 and 6): the plan of a merge, carried out nowhere.

import { ComposefsError } from "../error.ts";
import type { Repository } from "../repository/repository.ts";
import { storedTree } from "../repository/stored-tree.ts";
import type { Directory } from "../tree/node.ts";
import { currentEtc, planEtcMerge } from "./etc-base.ts";
import type { EtcMerge } from "./etc-merge.ts";
import type { SysrootLocation } from "./location.ts";
import type { MetadataOptions } from "./state-directory.ts";
import type { SysrootState } from "./state.ts";
import { type BaseOption, baseDeployment, deploymentNotFound } from "./update.ts";

/** Options of {@link etcDiff}. */
export interface EtcDiffOptions extends BaseOption, MetadataOptions {
  /** Id of the deployment whose image a merge would go to; that of the base when left out, with which nothing can conflict. */
  readonly next?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Compares the current `/etc` with that of the image it began as.
 *
 * @throws ComposefsError with the reason `E_DEPLOYMENT_NOT_FOUND`, `E_BOOTED_NOT_FOUND` or `E_GRUB_CFG`; `not-found` for an image or a
 *   directory
 */
export async function etcDiff(
  location: SysrootLocation,
  state: SysrootState,
  repository: Repository,
  options: EtcDiffOptions = {},
): Promise<EtcMerge> {
  const base = baseDeployment(state, options);
  if (!base)
    throw new ComposefsError("not-found", "there is no deployment whose /etc could be compared", {
      reason: "E_BOOTED_NOT_FOUND",
      hint: "say with --base which one is meant",
    });
  if (options.next !== undefined && !state.state.has(options.next)) throw deploymentNotFound(options.next);
  const trees = [base.id, options.next ?? base.id].map((id) => storedTree(repository, id)) as [Directory, Directory];
  const current = currentEtc(location, base.id);
  return planEtcMerge(trees[0], current, trees[1], { ...options, algorithm: repository.algorithm });
}
