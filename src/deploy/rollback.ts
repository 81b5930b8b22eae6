// Rollback (docs/spec/deployments.md, section 4.6): which deployment comes first in the menu, and the entries that make it so.

import type { BootEntry } from "../boot/entry/bls.ts";
import { type GrubEntry, writeGrubConfig } from "../boot/entry/grub-config.ts";
import { type NamedEntry, nameEntrySet, sortKeyOsId } from "../boot/entry/names.ts";
import type { BootLoader } from "../boot/entry/order.ts";
import { ComposefsError } from "../error.ts";
import { type Deployments, firstOfEach, readDeployments } from "./deployments.ts";
import type { Menu } from "./menu.ts";
import type { MenuEntry } from "./menu-entry.ts";
import type { SysrootState } from "./state.ts";
import { deploymentNotFound } from "./update.ts";

/** The menu that is to be. */
export type WrittenMenu =
  /** For `loader/entries.staged`; the primary first. */
  | { readonly kind: "entries"; readonly entries: readonly NamedEntry[] }
  | { readonly kind: "user.cfg"; readonly text: string };

/** What a rollback does. */
export interface RollbackPlan {
  /** Ids in the order of the menu to be; the first is the default. */
  readonly order: readonly string[];
  /** Whether it takes back a rollback that has not been booted. */
  readonly reverting: boolean;
  /** Whether there is a staged deployment, or what is left of one, to be dropped. */
  readonly dropStaged: boolean;
  /** What starts next. */
  readonly nextBoot: "current" | "rollback";
  readonly menu: WrittenMenu;
}

/**
 * Plans a rollback. A second one takes back the first.
 *
 * @param to offline: the id that is to come first
 * @throws ComposefsError with the reason `E_GRUB_CFG`, `E_BOOTED_NOT_FOUND`, `E_NO_ROLLBACK` or `E_DEPLOYMENT_NOT_FOUND`
 */
export function planRollback(state: SysrootState, to?: string): RollbackPlan {
  const deployments = readDeployments(state);
  const { menu } = deployments;
  if (menu.syntaxError) throw menu.syntaxError;
  const offline = state.bootedId === undefined;
  const reverting = !offline && deployments.rollbackQueued;
  const first = offline ? offlineTarget(menu, to) : hostTarget(state, deployments);
  const entries = [first, ...firstOfEach(menu.active.entries).filter(({ verity }) => verity !== first.verity)];
  return {
    order: entries.map(({ verity }) => verity),
    reverting,
    dropStaged: menu.staged !== undefined || state.stagedDeployment !== undefined,
    nextBoot: reverting ? "current" : "rollback",
    menu: writeMenu(state.bootloader, entries),
  };
}

function offlineTarget({ active }: Menu, to: string | undefined): MenuEntry {
  if (to === undefined)
    throw bootedNotFound("nothing is booted here", "say with --to which deployment is to come first");
  const entry = active.entries.find(({ verity }) => verity === to);
  if (!entry) throw deploymentNotFound(to);
  return entry;
}

function hostTarget(state: SysrootState, { booted, rollback, rollbackQueued }: Deployments): MenuEntry {
  if (!booted)
    throw bootedNotFound(
      `the booted deployment ${state.bootedId} is not in the boot menu, or its state cannot be read`,
      "look at the warnings of status",
    );
  if (!rollback)
    throw new ComposefsError("not-found", "there is no deployment to roll back to", {
      reason: "E_NO_ROLLBACK",
      hint: "a rollback needs a second deployment in the boot menu; status lists them",
    });
  return rollbackQueued ? booted.entry : rollback.entry;
}

function bootedNotFound(message: string, hint: string): ComposefsError {
  return new ComposefsError("not-found", message, { reason: "E_BOOTED_NOT_FOUND", hint });
}

/**
 * The files of a menu: all entries in the order given, the first as the default.
 *
 * @param osId for names and sort-keys; that of the first entry which has one in its sort-key when left out
 */
export function writeMenu(
  bootloader: BootLoader,
  entries: readonly Pick<MenuEntry, "source">[],
  osId?: string,
): WrittenMenu {
  const grub = entries.flatMap(({ source }): GrubEntry[] => (source.kind === "grub" ? [source.entry] : []));
  if (grub.length === entries.length && grub.length > 0) return { kind: "user.cfg", text: writeGrubConfig(grub) };
  const bls = entries.flatMap(({ source }): BootEntry[] => (source.kind === "bls" ? [source.entry] : []));
  const inherited = bls.map(({ sortKey }) => sortKeyOsId(sortKey)).find((id) => id !== undefined);
  return { kind: "entries", entries: nameEntrySet(bootloader, osId ?? inherited ?? "bootc", bls) };
}
