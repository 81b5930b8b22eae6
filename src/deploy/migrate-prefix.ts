// Gives the kernels and UKIs of old installations the prefix by which a collection knows them (docs/spec/deployments.md, section 4.11):
// copies beside them first, then the menu, then what has become superfluous. At every moment all entries name files that exist.

import { linkSync, lstatSync } from "node:fs";
import { join } from "node:path";
import { makeDirectories, removeDurably, writeDurably } from "../boot/change/durable.ts";
import { type BootVolume, DirectoryVolume } from "../boot/change/volume.ts";
import type { BootEntry } from "../boot/entry/bls.ts";
import { BOOTC_PREFIX } from "../boot/entry/identity.ts";
import { UKI_DIRECTORY } from "../boot/entry/names.ts";
import { ComposefsError } from "../error.ts";
import { binaryDirectories } from "./gc-read.ts";
import type { SysrootLocation } from "./location.ts";
import { type Menu, readMenu } from "./menu.ts";
import type { MenuEntry } from "./menu-entry.ts";
import { activateMenu, stageMenu } from "./menu-files.ts";
import type { OpenSysroot } from "./open-sysroot.ts";
import type { WrittenMenu } from "./rollback.ts";
import { isDeploymentId, type SysrootState } from "./state.ts";

/**
 * Migrates the active entries. Does nothing while something is staged, or while the menu cannot be read. Harmless to repeat, also after
 * it was cut at any place.
 *
 * @returns the names, without prefix, of what was migrated
 * @throws ComposefsError for what the operating system refuses; too little room is a warning to the listener
 */
export async function migratePrefix(sysroot: OpenSysroot): Promise<string[]> {
  const { location, boot, onProgress, signal } = sysroot;
  const places = binaryPlaces(location);
  if (!places.some(({ volume, suffix }) => hasUnprefixed(volume, suffix))) return [];
  const state = await sysroot.readState();
  const menu = readMenu(state);
  if (menu.staged !== undefined || menu.syntaxError || state.stagedDeployment !== undefined) return [];
  removeSuperfluous(places, state);
  const migrated = new Set<string>();
  for (const name of unprefixedArtifacts(menu, location)) {
    try {
      for (const place of places) if (await copyWithPrefix(place, name, signal)) migrated.add(name);
    } catch (error) {
      if (!(error instanceof ComposefsError) || error.code !== "no-space") throw error;
      migrated.delete(name);
      onProgress?.({ type: "warning", message: `${name} keeps its old name: ${error.message}` });
    }
  }
  if (migrated.size === 0) return [];
  await stageMenu(boot, migratedMenu(state, menu, location, migrated), signal);
  await activateMenu(boot, location.bootloader);
  removeSuperfluous(places, await sysroot.readState());
  return [...migrated];
}

/** A directory of kernels or UKIs. */
interface BinaryPlace {
  readonly volume: BootVolume;
  /** Of a UKI: `.efi`. */
  readonly suffix: "" | ".efi";
}

function binaryPlaces(location: SysrootLocation): BinaryPlace[] {
  const { kernels, ukis } = binaryDirectories(location, location.bootloader);
  return [
    ...(kernels === undefined ? [] : [{ volume: new DirectoryVolume(kernels), suffix: "" } as const]),
    ...(ukis === undefined ? [] : [{ volume: new DirectoryVolume(ukis), suffix: ".efi" } as const]),
  ];
}

const typeOf = ({ suffix }: BinaryPlace) => (suffix === "" ? "directory" : "file");

// The names without prefix and suffix of what has no prefix.
function unprefixed(place: BinaryPlace): string[] {
  return (place.volume.list("") ?? [])
    .filter(({ name, type }) => type === typeOf(place) && name.endsWith(place.suffix) && !name.startsWith(BOOTC_PREFIX))
    .map(({ name }) => name.slice(0, name.length - place.suffix.length))
    .filter(isDeploymentId);
}

function hasUnprefixed(volume: BootVolume, suffix: BinaryPlace["suffix"]): boolean {
  return unprefixed({ volume, suffix }).length > 0;
}

// What has a copy with the prefix, and no entry of anybody names: the rest of a migration.
function removeSuperfluous(places: readonly BinaryPlace[], { boot }: SysrootState): void {
  const entries = [...boot.entries, ...(boot.entriesStaged ?? [])].map(([, text]) => text);
  const texts = [...entries, boot.userCfg ?? "", boot.userCfgStaged ?? ""].map((text) => text.toLowerCase());
  for (const place of places) {
    const { volume, suffix } = place;
    const present = new Set((volume.list("") ?? []).map(({ name }) => name));
    for (const name of unprefixed(place)) {
      const file = `${name}${suffix}`;
      // FAT does not tell cases apart.
      const needle = (suffix === "" ? `${file}/` : file).toLowerCase();
      const isNamed = texts.some((text) => text.replaceAll(BOOTC_PREFIX + needle, "").includes(needle));
      if (isNamed || !present.has(`${BOOTC_PREFIX}${file}`)) continue;
      if (suffix !== "") removeDurably(volume, `${file}.extra.d`);
      removeDurably(volume, file);
    }
  }
}

function unprefixedArtifacts({ active }: Menu, location: SysrootLocation): string[] {
  const names = active.entries.flatMap((entry) =>
    entry.artifact && !entry.artifact.prefixed && isDeploymentId(entry.artifact.name) && liesInPlace(entry, location)
      ? [entry.artifact.name]
      : [],
  );
  return [...new Set(names)];
}

// Another directory of the same name is none of ours.
function liesInPlace({ source, artifact }: MenuEntry, { bootloader }: SysrootLocation): boolean {
  const target = source.kind === "grub" ? undefined : source.entry.target;
  if (target?.kind === "linux") {
    const directories = bootloader === "grub" ? ["/", "/boot/"] : ["/EFI/Linux/"];
    return directories.some((above) => `${directoryOf(target.linux)}/` === `${above}${artifact?.name}/`);
  }
  const path = source.kind === "grub" ? source.entry.chainloader : (target?.path ?? "");
  return directoryOf(path) === `/${UKI_DIRECTORY}`;
}

const directoryOf = (path: string) => path.slice(0, Math.max(0, path.lastIndexOf("/")));

// False when this place has nothing of the name.
async function copyWithPrefix(place: BinaryPlace, name: string, signal: AbortSignal | undefined): Promise<boolean> {
  const { volume, suffix } = place;
  const from = `${name}${suffix}`;
  if (!unprefixed(place).includes(name)) return false;
  if (suffix === "") await copyDirectory(volume, from, signal);
  else {
    await copyDirectory(volume, `${from}.extra.d`, signal);
    await copyFile(volume, from, signal);
  }
  volume.sync("");
  return true;
}

async function copyDirectory(volume: BootVolume, from: string, signal: AbortSignal | undefined): Promise<void> {
  const entries = volume.list(from);
  if (entries === undefined) return;
  makeDirectories(volume, `${BOOTC_PREFIX}${from}`);
  for (const { name, type } of entries) if (type === "file") await copyFile(volume, `${from}/${name}`, signal);
  volume.sync(`${BOOTC_PREFIX}${from}`);
}

async function copyFile(volume: BootVolume, from: string, signal: AbortSignal | undefined): Promise<void> {
  const to = `${BOOTC_PREFIX}${from}`;
  try {
    linkSync(join(volume.root, from), join(volume.root, to));
    return;
  } catch {
    // FAT has no links, and a run that was cut may have left anything.
    if (isSameFile(join(volume.root, from), join(volume.root, to))) return;
  }
  using source = volume.open(from);
  if (source) await writeDurably(volume, to, source.chunks(), signal);
}

function isSameFile(a: string, b: string): boolean {
  const [one, other] = [a, b].map((path) => lstatSync(path, { bigint: true, throwIfNoEntry: false }));
  return one !== undefined && other !== undefined && one.dev === other.dev && one.ino === other.ino;
}

function migratedMenu(
  state: SysrootState,
  { active, isUserCfg }: Menu,
  location: SysrootLocation,
  names: ReadonlySet<string>,
): WrittenMenu {
  if (isUserCfg) {
    let text = state.boot.userCfg ?? "";
    for (const name of names)
      text = text.replaceAll(`${UKI_DIRECTORY}/${name}.efi`, `${UKI_DIRECTORY}/${BOOTC_PREFIX}${name}.efi`);
    return { kind: "user.cfg", text };
  }
  const entries = active.entries.flatMap((one) => {
    const { file, artifact, source } = one;
    if (source.kind !== "bls") return [];
    const isMigrated = artifact && !artifact.prefixed && names.has(artifact.name) && liesInPlace(one, location);
    return [{ name: file, entry: isMigrated ? withPrefix(source.entry, artifact.name) : source.entry }];
  });
  return { kind: "entries", entries };
}

function withPrefix(entry: BootEntry, name: string): BootEntry {
  const { target, initrd } = entry;
  if (target.kind !== "linux")
    return { ...entry, target: { ...target, path: `/${UKI_DIRECTORY}/${BOOTC_PREFIX}${name}.efi` } };
  const old = directoryOf(target.linux);
  const renamed = `${old.slice(0, old.length - name.length)}${BOOTC_PREFIX}${name}`;
  const moved = (path: string) => (directoryOf(path) === old ? renamed + path.slice(old.length) : path);
  return { ...entry, target: { ...target, linux: moved(target.linux) }, initrd: initrd.map(moved) };
}
