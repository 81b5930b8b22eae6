// Carries out a rollback (docs/spec/deployments.md, section 4.6): what is staged is dropped, then the menu changes its order. A cut at any
// place leaves the old menu or the new one, perhaps with entries that are there twice.

import { removeDurably } from "../boot/change/durable.ts";
import { ComposefsError } from "../error.ts";
import { activateMenu, dropStaging, stageMenu } from "./menu-files.ts";
import type { OpenSysroot } from "./open-sysroot.ts";
import { planRollback, type RollbackPlan } from "./rollback.ts";
import { STAGED_FILE } from "./staged-marker.ts";

/**
 * Makes another deployment the default: on a system that runs the one before, or, the second time, the one that runs again; offline the
 * one that is named.
 *
 * @param to offline: the id that is to come first
 * @throws ComposefsError with the reason `E_GRUB_CFG`, `E_BOOTED_NOT_FOUND`, `E_NO_ROLLBACK` or `E_DEPLOYMENT_NOT_FOUND`; `usage` with an
 *   id on a system that runs
 * @example
 * ```ts
 * await using sysroot = await OpenSysroot.open(locateSysroot({ sysroot: "/mnt" }));
 * await rollBack(sysroot, id);
 * ```
 */
export async function rollBack(sysroot: OpenSysroot, to?: string): Promise<RollbackPlan> {
  const { location, boot, run, signal } = sysroot;
  checkRollbackTarget(location.bootedId, to);
  const plan = planRollback(await sysroot.readState(), to);
  if (plan.dropStaged) {
    if (run) removeDurably(run, STAGED_FILE);
    dropStaging(boot, location.bootloader);
  }
  await stageMenu(boot, plan.menu, signal);
  await activateMenu(boot, location.bootloader);
  return plan;
}

/** Refuses an id on a system that runs, where the part of a deployment decides. @throws ComposefsError `usage` */
export function checkRollbackTarget(bootedId: string | undefined, to: string | undefined): void {
  if (bootedId === undefined || to === undefined) return;
  throw new ComposefsError(
    "usage",
    "a system that runs goes back to its rollback deployment, not to one that is named",
    {
      hint: "leave --to out, or say with --sysroot and --offline that the system does not run",
    },
  );
}
