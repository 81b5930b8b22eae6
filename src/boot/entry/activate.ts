// Staging and activating sets of boot entries on disk (docs/spec/boot.md, section 11). At every moment, and after a loss of power at any,
// the active directory holds a menu that boots; what was cut is finished by activating again.

import { ComposefsError, throwIfAborted } from "../../error.ts";
import { isLeftOver, makeDirectories, removeDurably, renameDurably, writeDurably } from "../change/durable.ts";
import type { BootVolume, VolumeEntry } from "../change/volume.ts";
import { type BootEntry, writeBootEntry } from "./bls.ts";
import { type EntryFile, type Menu, planActivation, readMenu, savedName } from "./menu.ts";
import type { NamedEntry } from "./names.ts";
import type { BootLoader } from "./order.ts";

const ACTIVE = "loader/entries";
const STAGED = "loader/entries.staged";
const UNFINISHED = "loader/.composefs-staging";
/** What the staged directory is called while it is removed: a part of a set must never be taken for a set. */
const DROPPED = "loader/.composefs-dropped";
/** In the active directory: the exchange is done, and what lies in the staged one is the old set. No boot loader looks at it. */
export const EXCHANGED = ".composefs-exchanged";

/** Entries have some hundred bytes; what is larger is none. */
const ENTRY_LIMIT = 1 << 20;

/** How a staged set became active. */
export interface Activation {
  /**
   * `exchange`: both directories changed places in one step. `file-by-file`: where the system or the files that are there do not allow
   * that. `none`: nothing was staged.
   */
  readonly method: "exchange" | "file-by-file" | "none";
}

/** Options of {@link activateEntries}. */
export interface ActivateOptions {
  /** Do without the exchange. */
  readonly fileByFile?: boolean;
}

/** Reads the active or the staged files; undefined when there is no such directory. */
export function readEntryFiles(volume: BootVolume, which: "active" | "staged"): EntryFile[] | undefined {
  const directory = which === "active" ? ACTIVE : STAGED;
  return volume
    .list(directory)
    ?.filter(({ type, name }) => type === "file" && name !== EXCHANGED)
    .map(({ name }) => ({ name, text: readEntry(volume, `${directory}/${name}`) }));
}

/** Reads the active or the staged menu. */
export function readEntryMenu(volume: BootVolume, which: "active" | "staged", loader: BootLoader): Menu {
  return readMenu(loader, readEntryFiles(volume, which) ?? []);
}

function readBytes(volume: BootVolume, path: string): Uint8Array | undefined {
  using file = volume.open(path);
  if (file === undefined || file.size > ENTRY_LIMIT) return undefined;
  const chunks: Buffer[] = [];
  let size = 0;
  for (const chunk of file.chunks()) {
    size += chunk.length;
    if (size > ENTRY_LIMIT) return undefined;
    chunks.push(Buffer.from(chunk));
  }
  return Buffer.concat(chunks);
}

function readEntry(volume: BootVolume, path: string): string | undefined {
  const bytes = readBytes(volume, path);
  if (bytes === undefined) return undefined;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/**
 * Writes a set to be activated later; one that was staged before goes. The staged directory appears whole or not at all, and the
 * active one is not touched.
 */
export async function stageEntries(
  volume: BootVolume,
  entries: readonly NamedEntry[],
  signal?: AbortSignal,
): Promise<void> {
  if (isExchanged(volume)) finishExchange(volume);
  removeDurably(volume, UNFINISHED);
  makeDirectories(volume, UNFINISHED);
  for (const { name, entry } of entries) {
    throwIfAborted(signal);
    await writeDurably(volume, `${UNFINISHED}/${name}`, [bytesOf(entry)], signal);
  }
  removeStaged(volume);
  volume.rename(UNFINISHED, STAGED);
  volume.sync("loader");
}

/** What a command that was killed left of a set of entries, beside those that are active or staged. */
export function leftOverSets(volume: BootVolume): string[] {
  return [UNFINISHED, DROPPED].filter((path) => isLeftOver(volume, path));
}

/** Ends an activation that was cut after the sets had changed places. Does nothing to a set that waits to be activated. */
export function finishActivation(volume: BootVolume): void {
  if (isExchanged(volume)) finishExchange(volume);
}

/** Drops what was staged. */
export function dropStagedEntries(volume: BootVolume): void {
  if (volume.list("loader") === undefined) return;
  removeStaged(volume);
  removeDurably(volume, UNFINISHED);
  forgetExchange(volume);
}

/**
 * Makes the staged set the active one and removes it from the staged place. Entries of other systems stay. Harmless when nothing is
 * staged.
 *
 * @throws ComposefsError `invalid` when what is staged would leave nothing to boot
 */
export async function activateEntries(
  volume: BootVolume,
  loader: BootLoader,
  options: ActivateOptions = {},
): Promise<Activation> {
  if (volume.list(STAGED) === undefined) {
    removeDurably(volume, DROPPED);
    forgetExchange(volume);
    return { method: "none" };
  }
  if (isExchanged(volume)) {
    finishExchange(volume);
    return { method: "exchange" };
  }
  const active = readEntryFiles(volume, "active") ?? [];
  const staged = readEntryMenu(volume, "staged", loader).entries;
  const plan = planActivation(active, staged);
  const foreign = readMenu(loader, active).others.some(({ name }) => staged.some((one) => one.name === name));
  if (options.fileByFile !== true && !foreign && (await exchange(volume, new Set(plan.unlink), staged))) {
    finishExchange(volume);
    return { method: "exchange" };
  }
  makeDirectories(volume, ACTIVE);
  const copy = async (from: string, to: string) => {
    const bytes = readBytes(volume, from);
    if (bytes === undefined)
      throw new ComposefsError("io", `${volume.root}/${from} has gone or is too large for a boot entry`, {
        path: from,
      });
    await writeDurably(volume, to, [bytes]);
  };
  for (const name of plan.save) await copy(`${ACTIVE}/${name}`, `${ACTIVE}/${savedName(name)}`);
  for (const name of [...plan.write, plan.primary]) await copy(`${STAGED}/${name}`, `${ACTIVE}/${name}`);
  for (const name of plan.unlink) volume.unlink(`${ACTIVE}/${name}`);
  volume.sync(ACTIVE);
  removeStaged(volume);
  return { method: "file-by-file" };
}

/** Exchanges the directories after the files that are to stay were copied over; false when that is not possible. */
async function exchange(
  volume: BootVolume,
  gone: ReadonlySet<string>,
  staged: readonly NamedEntry[],
): Promise<boolean> {
  const names = new Set(staged.map(({ name }) => name.toLowerCase()));
  const kept = (volume.list(ACTIVE) ?? []).filter(
    ({ name }) => !gone.has(name) && !staged.some((one) => one.name === name),
  );
  // What cannot be copied as it is stays where it is.
  if (volume.list(ACTIVE) === undefined || !kept.every((entry) => isCopyable(entry, names))) return false;
  const contents = kept.map(({ name }) => ({ name, bytes: readBytes(volume, `${ACTIVE}/${name}`) }));
  if (contents.some(({ bytes }) => bytes === undefined)) return false;
  for (const { name, bytes } of contents) await writeDurably(volume, `${STAGED}/${name}`, bytes ? [bytes] : []);
  await writeDurably(volume, `${STAGED}/${EXCHANGED}`, []);
  if (volume.exchange(STAGED, ACTIVE)) return true;
  removeDurably(volume, `${STAGED}/${EXCHANGED}`);
  return false;
}

function isCopyable({ name, type }: VolumeEntry, staged: ReadonlySet<string>): boolean {
  // U+FFFD: the name was not UTF-8, and the file cannot be named.
  return type === "file" && !name.includes("\ufffd") && !staged.has(name.toLowerCase());
}

function finishExchange(volume: BootVolume): void {
  volume.sync("loader");
  removeStaged(volume);
  forgetExchange(volume);
}

function removeStaged(volume: BootVolume): void {
  removeDurably(volume, DROPPED);
  renameDurably(volume, STAGED, DROPPED);
  removeDurably(volume, DROPPED);
}

function isExchanged(volume: BootVolume): boolean {
  return volume.list(ACTIVE)?.some(({ name }) => name === EXCHANGED) === true;
}

function forgetExchange(volume: BootVolume): void {
  if (isExchanged(volume)) removeDurably(volume, `${ACTIVE}/${EXCHANGED}`);
}

function bytesOf(entry: BootEntry): Uint8Array {
  return Buffer.from(writeBootEntry(entry));
}
