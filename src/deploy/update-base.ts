// What an update inherits from (docs/spec/deployments.md, section 3.3): the running deployment, or offline the one that `--base` names, else
// the first of the menu.

import { ComposefsError } from "../error.ts";
import type { Directory } from "../tree/node.ts";
import { kargsOf, openBaseTree } from "./base-image.ts";
import { type Deployments, firstOfEach } from "./deployments.ts";
import type { MenuEntry } from "./menu-entry.ts";
import type { OpenSysroot } from "./open-sysroot.ts";
import type { SysrootState } from "./state.ts";
import { type BaseOption, deploymentNotFound } from "./update.ts";

/** A deployment that an update inherits from. */
export interface UpdateBase {
  readonly id: string;
  readonly entry: MenuEntry;
  /** Its boot image. */
  readonly tree: Directory;
  /** Kernel arguments that its image brings. */
  readonly kargs: string;
}

/**
 * The entry of the deployment that an update inherits from; undefined when it inherits from none.
 *
 * @throws ComposefsError with the reason `E_GRUB_CFG`, `E_BOOTED_NOT_FOUND` or `E_DEPLOYMENT_NOT_FOUND`
 */
export function baseEntry(
  { bootedId }: Pick<SysrootState, "bootedId">,
  { menu }: Pick<Deployments, "menu">,
  { base }: BaseOption,
): MenuEntry | undefined {
  if (menu.syntaxError) throw menu.syntaxError;
  const active = firstOfEach(menu.active.entries);
  if (bootedId !== undefined) {
    const booted = active.find(({ verity }) => verity === bootedId);
    if (booted) return booted;
    throw new ComposefsError("not-found", `the booted deployment ${bootedId} is not in the boot menu`, {
      digest: bootedId,
      reason: "E_BOOTED_NOT_FOUND",
      hint: "look at the warnings of `composefs deploy status`; nothing was changed",
    });
  }
  if (base === null) return undefined;
  if (base === undefined) return active[0];
  const found = active.find(({ verity }) => verity === base);
  if (found === undefined) throw deploymentNotFound(base);
  return found;
}

/**
 * The same with the image of the deployment.
 *
 * @param architecture as the config of the image has it
 * @throws ComposefsError as `openBaseTree` and `kargsOf`
 */
export async function openUpdateBase(
  sysroot: OpenSysroot,
  entry: MenuEntry | undefined,
  architecture: string,
): Promise<UpdateBase | undefined> {
  if (entry === undefined) return undefined;
  const id = entry.verity;
  const tree = openBaseTree(sysroot, id);
  return { id, entry, tree, kargs: await kargsOf(sysroot, tree, architecture, id) };
}
