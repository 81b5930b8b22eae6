// The menu on the disk, as the operations change it (docs/spec/deployments.md, sections 2.8 and 4.4): staged first, then made the active
// one. At every moment, and after a loss of power at any, there is a menu that boots.

import { removeDurably, renameDurably, writeDurably } from "../boot/change/durable.ts";
import type { BootVolume } from "../boot/change/volume.ts";
import {
  type ActivateOptions,
  activateEntries,
  type Activation,
  dropStagedEntries,
  stageEntries,
} from "../boot/entry/activate.ts";
import type { BootLoader } from "../boot/entry/order.ts";
import type { WrittenMenu } from "./rollback.ts";

/** The menu of GRUB with UKIs, in the boot directory. */
export const USER_CFG = "grub2/user.cfg";
const USER_CFG_STAGED = "grub2/user.cfg.staged";

/**
 * Writes a menu to be activated later; one that was staged before goes. What is active is not touched.
 *
 * @param boot the directory that holds `loader`, or `grub2`
 */
export async function stageMenu(boot: BootVolume, menu: WrittenMenu, signal?: AbortSignal): Promise<void> {
  if (menu.kind === "entries") await stageEntries(boot, menu.entries, signal);
  else await writeDurably(boot, USER_CFG_STAGED, [Buffer.from(menu.text)], signal);
}

/** Makes what is staged the active menu. Entries of other systems stay. Harmless when nothing is staged, and when it was cut before. */
export async function activateMenu(
  boot: BootVolume,
  bootloader: BootLoader,
  options: ActivateOptions = {},
): Promise<Activation> {
  if (bootloader === "grub") renameDurably(boot, USER_CFG_STAGED, USER_CFG);
  return activateEntries(boot, bootloader, options);
}

/** Drops a staged menu. Harmless when nothing is staged. */
export function dropStaging(boot: BootVolume, bootloader: BootLoader): void {
  if (bootloader === "grub") removeDurably(boot, USER_CFG_STAGED);
  dropStagedEntries(boot);
}

/** Whether a menu is staged. */
export function hasStagedMenu(boot: BootVolume, bootloader: BootLoader): boolean {
  if (boot.list("loader/entries.staged") !== undefined) return true;
  return bootloader === "grub" && boot.list("grub2")?.some(({ name }) => name === "user.cfg.staged") === true;
}
