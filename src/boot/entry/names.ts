// Names of what is written for deployments (docs/spec/boot.md, section 10.1), and the entries of a set with their names, sort-keys and
// order (10.5).

import { BOOTC_PREFIX } from "./identity.ts";
import type { BootEntry } from "./bls.ts";
import { type BootLoader, sortMenu } from "./order.ts";

/** Where UKIs lie, relative to the ESP. */
export const UKI_DIRECTORY = "EFI/Linux/bootc";

/** The name of the kernel directory of a deployment. */
export function kernelDirectoryName(digest: string): string {
  return BOOTC_PREFIX + digest;
}

/** The path of the UKI of a deployment, relative to the ESP. */
export function ukiPath(digest: string): string {
  return `${UKI_DIRECTORY}/${BOOTC_PREFIX}${digest}.efi`;
}

/** The path of an addon of the UKI of a deployment, relative to the ESP. */
export function addonPath(digest: string, name: string): string {
  return `${ukiPath(digest)}.extra.d/${name}`;
}

/**
 * The name of an entry file, `bootc_OS-VERSION-PRIORITY.conf`. What GRUB would take for a border, or a file system for a path, is `_`
 * there.
 *
 * @param priority higher is nearer to the top of GRUB's menu: 1 for the primary of two, 0 for the secondary
 */
export function entryFileName(osId: string, version: string, priority: number): string {
  return `bootc_${nameText(osId.replaceAll("-", "_"))}-${nameText(version)}-${priority}.conf`;
}

function nameText(text: string): string {
  return text.replace(/[^A-Za-z0-9._~^+]/gu, "_");
}

/** The sort-key of an entry: `bootc-OS-NUMBER`. systemd-boot shows number 0 first. */
export function entrySortKey(osId: string, number: number): string {
  return `bootc-${osId}-${number}`;
}

/** The os id in a sort-key that {@link entrySortKey} made; undefined for any other. */
export function sortKeyOsId(sortKey: string | undefined): string | undefined {
  return /^bootc-(.+)-[0-9]+$/.exec(sortKey ?? "")?.[1];
}

/** An entry and the file that it is or will be in. */
export interface NamedEntry {
  /** Name of the file in `loader/entries`. */
  readonly name: string;
  readonly entry: BootEntry;
}

/**
 * Names the entries of a menu so that the boot loader shows them in the order given: the first is the default.
 *
 * GRUB sorts by the names alone. Where versions in the names would give another order, as after a downgrade, all names carry the version
 * of the first entry; the versions inside the files stay.
 *
 * @param osId `ID` of the os-release of the image whose entry comes first
 */
export function nameEntrySet(loader: BootLoader, osId: string, entries: readonly BootEntry[]): NamedEntry[] {
  const last = entries.length - 1;
  const named = (version: (entry: BootEntry) => string): NamedEntry[] =>
    entries.map((entry, index) => ({
      name: entryFileName(osId, version(entry), entries.length === 1 ? 1 : last - index),
      entry: { ...entry, sortKey: entrySortKey(osId, index) },
    }));
  const set = named(({ version }) => version);
  const first = set[0];
  if (loader === "systemd" || first === undefined) return set;
  return sortMenu(loader, set).every((one, index) => one === set[index]) ? set : named(() => first.entry.version);
}
