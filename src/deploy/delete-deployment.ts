// Carries out a deletion (docs/spec/deployments.md, section 4.7): the entries go first, so that what is left at any moment is an orphan,
// which the collection that follows removes, or the next one.

import { removeDurably } from "../boot/change/durable.ts";
import { type DeployGcResult, deployGc } from "./collect.ts";
import { type DeletePlan, planDelete } from "./delete.ts";
import { readMenu } from "./menu.ts";
import { dropStaging } from "./menu-files.ts";
import type { OpenSysroot } from "./open-sysroot.ts";
import { removeEntries } from "./remove-entries.ts";
import { rollBack } from "./carry-out-rollback.ts";
import { STAGED_FILE } from "./staged-marker.ts";

/** Options of {@link deleteDeployment}. */
export interface DeleteOptions {
  /** Offline: also the last deployment. */
  readonly force?: boolean | undefined;
}

/** What a deletion did. */
export interface DeleteResult {
  readonly plan: DeletePlan;
  /** The collection that removed what the deployment alone needed. */
  readonly gc: DeployGcResult;
}

/**
 * Deletes a deployment, damaged or not: its entries, and then all that nothing else needs.
 *
 * @throws ComposefsError with the reason `E_GRUB_CFG`, `E_DELETE_BOOTED`, `E_DEPLOYMENT_NOT_FOUND` or `E_DELETE_LAST`; those of
 *   `deployGc` when the entries are gone and the rest is still there
 */
export async function deleteDeployment(
  sysroot: OpenSysroot,
  id: string,
  { force = false }: DeleteOptions = {},
): Promise<DeleteResult> {
  const { location, boot, run } = sysroot;
  let state = await sysroot.readState();
  const plan = planDelete(state, id, force);
  let { removeActiveEntries } = plan;
  if (plan.unqueueRollback) {
    await rollBack(sysroot);
    state = await sysroot.readState();
    ({ removeActiveEntries } = planDelete(state, id, force));
  }
  if (plan.removeStagedEntries) dropStaging(boot, location.bootloader);
  if (plan.removeStagedFile && run) removeDurably(run, STAGED_FILE);
  await removeEntries(boot, state, removeActiveEntries, new Set([id]));
  const rest = readMenu(await sysroot.readState());
  const isEmpty = rest.active.entries.length === 0 && rest.active.broken.length === 0;
  return { plan, gc: await deployGc(sysroot, { allowEmpty: force && isEmpty }) };
}
