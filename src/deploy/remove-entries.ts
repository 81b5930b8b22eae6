// Removes entries of the active menu (docs/spec/deployments.md, sections 4.7 and 4.8): the files of their own, or their part of `user.cfg`.

import { removeDurably, writeDurably } from "../boot/change/durable.ts";
import type { BootVolume } from "../boot/change/volume.ts";
import { removeGrubEntries } from "../boot/entry/grub-config.ts";
import { grubEntryIdentity } from "./menu-entry.ts";
import { USER_CFG } from "./menu-files.ts";
import type { SysrootState } from "./state.ts";

/**
 * Removes active entries. Those of other systems stay, and `user.cfg` is written anew as a whole.
 *
 * @param boot the directory that holds `loader`, or `grub2`
 * @param files names as plans have them: in `loader/entries`, or `user.cfg`
 * @param ids of the deployments whose entries go from `user.cfg`
 */
export async function removeEntries(
  boot: BootVolume,
  state: SysrootState,
  files: readonly string[],
  ids: ReadonlySet<string>,
): Promise<void> {
  const { userCfg } = state.boot;
  if (userCfg === undefined) {
    for (const file of new Set(files)) removeDurably(boot, `loader/entries/${file}`);
    return;
  }
  if (files.length === 0) return;
  const text = removeGrubEntries(userCfg, (entry) => ids.has(grubEntryIdentity(entry)?.verity ?? ""));
  await writeDurably(boot, USER_CFG, [Buffer.from(text)]);
}
