// Deleting a deployment (docs/spec/deployments.md, section 4.7): its entries go first, so that what is left is an orphan for the garbage
// collection at any moment.

import { ComposefsError } from "../error.ts";
import { readDeployments } from "./deployments.ts";
import type { SysrootState } from "./state.ts";
import { deploymentNotFound } from "./update.ts";

/** What a deletion removes, before the garbage collection that follows. */
export interface DeletePlan {
  readonly id: string;
  /** Whether a queued rollback to it must be taken back first. */
  readonly unqueueRollback: boolean;
  /** Whether `entries.staged` or `user.cfg.staged` goes. */
  readonly removeStagedEntries: boolean;
  /** Whether the staged deployment file goes. */
  readonly removeStagedFile: boolean;
  /** The files of its active entries, one for each entry; `user.cfg` is rewritten without them. */
  readonly removeActiveEntries: readonly string[];
}

/**
 * Plans the deletion of a deployment, damaged or not. Only the booted one is refused, and offline the last one.
 *
 * @param force offline: delete the last one, too
 * @throws ComposefsError with the reason `E_GRUB_CFG`, `E_DELETE_BOOTED`, `E_DEPLOYMENT_NOT_FOUND` or `E_DELETE_LAST`
 */
export function planDelete(state: SysrootState, id: string, force = false): DeletePlan {
  const { menu, marker, rollback, rollbackQueued } = readDeployments(state);
  if (menu.syntaxError) throw menu.syntaxError;
  if (id === state.bootedId)
    throw new ComposefsError("invalid", `Cannot delete currently booted deployment ${id}`, {
      reason: "E_DELETE_BOOTED",
      digest: id,
      hint: "boot another deployment first",
    });
  const active = menu.active.entries.filter(({ verity }) => verity === id);
  const staged = menu.staged?.entries.some(({ verity }) => verity === id) ?? false;
  if (active.length === 0 && !staged && !state.state.has(id)) throw deploymentNotFound(id);
  const isLast = active.length > 0 && active.length === menu.active.entries.length;
  if (state.bootedId === undefined && isLast && !force)
    throw new ComposefsError("invalid", `${id} is the only deployment that can boot`, {
      reason: "E_DELETE_LAST",
      digest: id,
      hint: "install another one first, or use --force",
    });
  return {
    id,
    unqueueRollback: rollbackQueued && rollback?.id === id,
    removeStagedEntries: staged,
    removeStagedFile: marker?.id === id,
    removeActiveEntries: active.map(({ file }) => file),
  };
}
