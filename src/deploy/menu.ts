// The boot menu of a sysroot (docs/spec/deployments.md, section 2.6): our entries in the order in which the boot loader shows them, those
// that are staged, and what cannot be read.

import { compareBytes, utf8ByteString } from "../bytes/byte-string.ts";
import { type BootEntry, parseBootEntry } from "../boot/entry/bls.ts";
import { parseGrubConfig } from "../boot/entry/grub-config.ts";
import { sortMenu } from "../boot/entry/order.ts";
import { ComposefsError } from "../error.ts";
import {
  bootEntryIdentity,
  entryErrorCode,
  type EntryIdentity,
  grubEntryIdentity,
  type MenuEntry,
  namedByBrokenEntry,
} from "./menu-entry.ts";
import { type DeployWarning, isDeploymentId, type NamedText, type SysrootState } from "./state.ts";

/** The entries of one set: `loader/entries` or `user.cfg`, or what is staged to take its place. */
export interface EntrySet {
  /** Ours, in the order of the menu; the first is the default. */
  readonly entries: readonly MenuEntry[];
  /** What the files that do not parse name nevertheless. They may boot, and are never removed. */
  readonly broken: readonly EntryIdentity[];
}

/** The menu as it is and as it is staged to be. */
export interface Menu {
  readonly active: EntrySet;
  /** Undefined when nothing is staged on the disk. */
  readonly staged: EntrySet | undefined;
  /** Whether the entries stand in `user.cfg`. */
  readonly isUserCfg: boolean;
  /** Set when `user.cfg`, or what is staged for it, does not parse: then nothing may be changed. */
  readonly syntaxError: ComposefsError | undefined;
  readonly warnings: readonly DeployWarning[];
}

/** Reads the menu. Entries of other systems are passed over, damaged ones are warnings. */
export function readMenu(state: Pick<SysrootState, "boot" | "bootloader" | "algorithm">): Menu {
  const { entries, entriesStaged, userCfg, userCfgStaged } = state.boot;
  const warnings: DeployWarning[] = [];
  if (userCfg === undefined && userCfgStaged === undefined) {
    return {
      active: readEntries(entries, state, warnings),
      staged: entriesStaged && readEntries(entriesStaged, state, warnings),
      isUserCfg: false,
      syntaxError: undefined,
      warnings,
    };
  }
  const active = userCfg === undefined ? undefined : readUserCfg("user.cfg", userCfg, warnings);
  const staged = userCfgStaged === undefined ? undefined : readUserCfg("user.cfg.staged", userCfgStaged, warnings);
  return {
    // Without `user.cfg` GRUB still shows the entries.
    active: active?.set ?? readEntries(entries, state, warnings),
    staged: staged?.set,
    isUserCfg: active !== undefined,
    syntaxError: active?.error ?? staged?.error,
    warnings,
  };
}

function readEntries(
  files: readonly NamedText[],
  { bootloader, algorithm }: Pick<SysrootState, "bootloader" | "algorithm">,
  warnings: DeployWarning[],
): EntrySet {
  const broken: EntryIdentity[] = [];
  const found: { name: string; entry: BootEntry; own: MenuEntry }[] = [];
  // Boot loaders look at no others.
  const bytewise = files
    .filter(([name]) => name.endsWith(".conf"))
    .sort(([a], [b]) => compareBytes(utf8ByteString(a), utf8ByteString(b)));
  for (const [name, text] of bytewise) {
    let entry: BootEntry;
    if (text.includes("\ufffd")) {
      // Not UTF-8: written again, it would not be the same.
      warnings.push({ code: "W_BAD_BOOT_ENTRY", file: name });
      broken.push(...namedByBrokenEntry(text, algorithm).filter(({ verity }) => isDeploymentId(verity)));
      continue;
    }
    try {
      entry = parseBootEntry(text, name);
    } catch (error) {
      warnings.push({ code: "W_BAD_BOOT_ENTRY", file: name, reason: entryErrorCode(error) });
      broken.push(...namedByBrokenEntry(text, algorithm).filter(({ verity }) => isDeploymentId(verity)));
      continue;
    }
    const identity = bootEntryIdentity(entry, algorithm);
    if (!identity) continue;
    if (!isDeploymentId(identity.verity)) {
      warnings.push({ code: "W_BAD_BOOT_ENTRY", file: name });
      continue;
    }
    found.push({ name, entry, own: { ...identity, file: name, source: { kind: "bls", entry } } });
  }
  return { entries: sortMenu(bootloader, found).map(({ own }) => own), broken };
}

function readUserCfg(
  file: string,
  text: string,
  warnings: DeployWarning[],
): { set: EntrySet; error: ComposefsError | undefined } {
  const entries: MenuEntry[] = [];
  try {
    for (const entry of parseGrubConfig(text, file)) {
      const identity = grubEntryIdentity(entry);
      if (!identity) continue;
      if (isDeploymentId(identity.verity)) entries.push({ ...identity, file, source: { kind: "grub", entry } });
      else warnings.push({ code: "W_BAD_BOOT_ENTRY", file });
    }
  } catch (error) {
    const reason = entryErrorCode(error);
    warnings.push({ code: "W_BAD_BOOT_ENTRY", file, reason });
    const details = { cause: error, path: file, reason };
    return {
      set: { entries: [], broken: [] },
      error: new ComposefsError("invalid", (error as ComposefsError).message, {
        ...details,
        hint: "repair the file first: as long as it cannot be read, nobody knows which deployments it boots",
      }),
    };
  }
  return { set: { entries, broken: [] }, error: undefined };
}
