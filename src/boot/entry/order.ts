// The order in which a boot loader shows its entries (docs/spec/boot.md, section 8.4). The first one is the default.

import { compareBytes } from "../../bytes/byte-string.ts";
import { compareRpmVersions, compareVersions } from "./version.ts";

/** What reads the entries: systemd-boot, GRUB with its own configuration, or GRUB that follows the Boot Loader Specification. */
export type BootLoader = "systemd" | "grub" | "grub-cc";

/** What the order depends on. */
export interface MenuItem {
  /** Name of the entry file. */
  readonly name: string;
  readonly entry: {
    readonly version: string;
    readonly sortKey: string | undefined;
    readonly machineId: string | undefined;
  };
}

/** The items as the boot loader shows them, whatever order they come in. */
export function sortMenu<Item extends MenuItem>(loader: BootLoader, items: readonly Item[]): Item[] {
  // First by name: the rule for machine ids, which only counts where both have one, is no order by itself, and so the result does not
  // depend on how the directory was listed.
  const named = [...items].sort((a, b) => compareBytes(b.name, a.name));
  return named.sort(loader === "systemd" ? bySortKey : (a, b) => byFileName(a.name, b.name));
}

function bySortKey({ entry: a }: MenuItem, { entry: b }: MenuItem): number {
  if ((a.sortKey === undefined) !== (b.sortKey === undefined)) return a.sortKey === undefined ? 1 : -1;
  if (a.sortKey !== undefined && b.sortKey !== undefined && a.sortKey !== b.sortKey)
    return compareText(a.sortKey, b.sortKey);
  if (a.machineId !== undefined && b.machineId !== undefined && a.machineId !== b.machineId)
    return compareText(a.machineId, b.machineId);
  return compareVersions(b.version, a.version);
}

// By the bytes of UTF-8, which is the order of code points and not that of JavaScript.
function compareText(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

// Newest first: name, version and release as RPM compares them.
function byFileName(a: string, b: string): number {
  const left = splitPackageName(a);
  const right = splitPackageName(b);
  return (
    compareRpmVersions(right.name, left.name) ||
    compareRpmVersions(right.version, left.version) ||
    compareRpmVersions(right.release, left.release)
  );
}

// `NAME-VERSION-RELEASE.conf`; with one dash there is no release, with none only a name.
function splitPackageName(file: string): { name: string; version: string; release: string } {
  const parts = file.replace(/\.conf$/, "").split("-");
  const release = parts.length > 2 ? (parts.pop() ?? "") : "";
  const version = parts.length > 1 ? (parts.pop() ?? "") : "";
  return { name: parts.join("-"), version, release };
}
