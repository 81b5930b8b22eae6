// An activation that was cut is finished before anything else is changed (docs/spec/deployments.md, section 8): until then its menu may
// have entries twice, and offline nothing else tells it from a deployment that waits to be finalized.

import { readMenu } from "./menu.ts";
import { activateMenu, hasStagedMenu } from "./menu-files.ts";
import type { OpenSysroot } from "./open-sysroot.ts";

/**
 * Offline: activates a staged menu whose default is active already. What is staged to be finalized has a default that is not.
 *
 * @returns whether there was one
 */
export async function finishCutActivation(sysroot: OpenSysroot): Promise<boolean> {
  const { boot, location } = sysroot;
  if (location.bootedId !== undefined || !hasStagedMenu(boot, location.bootloader)) return false;
  const { active, staged, syntaxError } = readMenu(await sysroot.readState());
  const first = staged?.entries[0]?.verity;
  if (syntaxError || !active.entries.some(({ verity }) => verity === first)) return false;
  await activateMenu(boot, location.bootloader);
  return true;
}
