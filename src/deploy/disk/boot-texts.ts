// What the boot loader of a disk will hand to kernels: entries, GRUB's user.cfg, and the command lines of UKIs (docs/spec/boot.md,
// sections 5, 8 and 10), and whether a sealed disk may have them.

import { join } from "node:path";
import { openFileSource } from "../../boot/file-source.ts";
import { isComposefsWord } from "../../boot/kargs/composefs-argument.ts";
import { PeFile } from "../../boot/pe/read.ts";
import { UKI_SECTION, ukiCommandLine, untilNul } from "../../boot/uki/uki.ts";
import { ComposefsError } from "../../error.ts";
import { listDirectory, readText } from "../sysroot-files.ts";

/** Words that may reach a kernel, and the file that has them. */
export interface BootText {
  readonly path: string;
  readonly text: string;
}

const MAX_DEPTH = 8;

/**
 * Reads what lies in a boot directory or ESP.
 *
 * @throws ComposefsError for command lines that are no text, and what the operating system refuses
 */
export function readBootTexts(directory: string): BootText[] {
  const texts: BootText[] = [];
  const add = (path: string) => {
    const text = readText(path);
    if (text !== undefined) texts.push({ path, text });
  };
  for (const folder of ["loader/entries", "loader/entries.staged"])
    for (const { name } of listDirectory(join(directory, folder)) ?? [])
      if (name.endsWith(".conf")) add(join(directory, folder, name));
  for (const name of ["user.cfg", "user.cfg.staged"]) add(join(directory, "grub2", name));
  const visit = (folder: string, depth: number) => {
    for (const { name, type } of listDirectory(folder) ?? []) {
      const path = join(folder, name);
      if (type === "directory" && depth < MAX_DEPTH) visit(path, depth + 1);
      if (type === "file" && name.toLowerCase().endsWith(".efi")) texts.push(...commandLineOf(path));
    }
  };
  visit(join(directory, "EFI"), 0);
  return texts;
}

function commandLineOf(path: string): BootText[] {
  using file = openFileSource(path);
  let pe: PeFile;
  try {
    pe = PeFile.read(file, path);
  } catch (error) {
    // No firmware starts it either.
    if (error instanceof ComposefsError && error.code === "invalid") return [];
    throw error;
  }
  return pe.has(UKI_SECTION.commandLine) ? [{ path, text: untilNul(ukiCommandLine(pe)) }] : [];
}

/** The words of all texts that name an image to boot. Quotes of GRUB's scripts are no part of them. */
function composefsWords({ text }: BootText): string[] {
  return text.split(/[\s"']+/).filter(isComposefsWord);
}

/**
 * Refuses entries that do not fit the disk.
 *
 * @param sealed whether the objects of the disk will have fs-verity
 * @throws ComposefsError `invalid` with the reason `E_INSECURE_ENTRY` for an entry that would boot a sealed disk without verification,
 *   and `E_STRICT_ENTRY` for one that would refuse a disk that is not sealed
 */
export function checkBootTexts(texts: readonly BootText[], sealed: boolean): void {
  for (const text of texts) {
    for (const word of composefsWords(text)) {
      const insecure = /^[^=]*=\?/.test(word);
      if (insecure !== sealed) continue;
      const { path } = text;
      const shown = word.length > 60 ? `${word.slice(0, 60)}...` : word;
      throw insecure
        ? new ComposefsError("invalid", `${path} boots without verification: ${shown}`, {
            path,
            reason: "E_INSECURE_ENTRY",
            hint: "install or prepare it for a repository that requires fs-verity (without --insecure), or make the disk with --no-seal",
          })
        : new ComposefsError("invalid", `${path} boots only a sealed disk: ${shown}`, {
            path,
            reason: "E_STRICT_ENTRY",
            hint: "leave --no-seal out, or install with --insecure",
          });
    }
  }
}

/** The ids of the images that are named, each once. */
export function bootedImages(texts: readonly BootText[]): string[] {
  const ids = texts.flatMap(composefsWords).map((word) => word.replace(/^.*[=:?]/, ""));
  return [...new Set(ids)].sort();
}

/** What the entries want to find the root file system by. */
export interface RootWishes {
  readonly uuid: string | undefined;
  readonly label: string | undefined;
  readonly partitionUuid: string | undefined;
}

/**
 * What all entries for composefs say of their root file system in `root=`.
 *
 * @throws ComposefsError `invalid` when two of them differ, as one disk cannot be both
 */
export function rootWishes(texts: readonly BootText[]): RootWishes {
  const found = new Map<string, { value: string; path: string }>();
  for (const text of texts) {
    if (composefsWords(text).length === 0) continue;
    for (const word of text.text.split(/[\s"']+/)) {
      const [, key, value] = /^root=(UUID|LABEL|PARTUUID)=(.+)$/.exec(word) ?? [];
      if (key === undefined || value === undefined) continue;
      const wish = key === "LABEL" ? value : value.toLowerCase();
      const other = found.get(key);
      if (other !== undefined && other.value !== wish)
        throw new ComposefsError(
          "invalid",
          `${text.path} wants root=${key}=${value}, but ${other.path} ${other.value}`,
          {
            path: text.path,
            hint: "make them the same",
          },
        );
      found.set(key, { value: wish, path: text.path });
    }
  }
  return {
    uuid: found.get("UUID")?.value,
    label: found.get("LABEL")?.value,
    partitionUuid: found.get("PARTUUID")?.value,
  };
}
