// Kernel and initramfs out of a UKI into files (docs/spec/boot.md, section 5, "UKI extraction").

import {
  closeSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { ComposefsError, systemError, throwIfAborted } from "../../error.ts";
import { syncDirectory } from "../../runtime/replace-file.ts";
import type { PeFile } from "../pe/read.ts";
import { UKI_SECTION, untilNul } from "./uki.ts";
import { trimWhiteSpace } from "../../bytes/white-space.ts";

/** What was extracted. */
export interface ExtractedUki {
  /** The kernel version, which is the directory's name. */
  readonly kernel: string;
  /** `OUT/VERSION` */
  readonly directory: string;
  /** The files in it. */
  readonly files: readonly { readonly path: string; readonly size: number }[];
}

const FILES: readonly (readonly [string, string])[] = [
  [UKI_SECTION.kernel, "vmlinuz"],
  [UKI_SECTION.initramfs, "initramfs.img"],
];

/**
 * Writes `OUT/VERSION/vmlinuz` and `OUT/VERSION/initramfs.img`. The directory appears complete or not at all.
 *
 * @throws ComposefsError `exists`; `invalid` when the UKI's version is no name for a directory; the reasons of section 5
 */
export function extractUki(uki: PeFile, out: string, signal?: AbortSignal): ExtractedUki {
  const kernel = kernelVersion(uki);
  for (const [section] of FILES) uki.section(section);
  const directory = join(out, kernel);
  const exists = new ComposefsError("exists", `${directory} exists already`, {
    path: directory,
    hint: "remove it, or extract into another directory",
  });
  if (lstatSync(directory, { throwIfNoEntry: false }) !== undefined) throw exists;
  let temporary: string;
  try {
    mkdirSync(out, { recursive: true });
    temporary = mkdtempSync(join(out, ".extract-"));
  } catch (error) {
    throw systemError(error, `making a directory in ${out}`, out);
  }
  try {
    const files = FILES.map(([section, name]) => {
      const size = writeSection(uki, section, join(temporary, name), signal);
      return { path: join(directory, name), size };
    });
    syncDirectory(temporary);
    claim(directory, exists);
    renameOver(temporary, directory);
    syncDirectory(out);
    return { kernel, directory, files };
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    throw systemError(error, `extracting ${uki.what} into ${directory}`, directory);
  }
}

/** A rename replaces only an empty directory; making that one fails when there is any. */
function claim(directory: string, exists: ComposefsError): void {
  try {
    mkdirSync(directory);
  } catch (error) {
    throw (error as NodeJS.ErrnoException).code === "EEXIST" ? exists : error;
  }
}

function renameOver(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    rmdirSync(to);
    throw error;
  }
}

/** The text of `.uname`, which must be one name: it comes from the file. */
function kernelVersion(uki: PeFile): string {
  const text = trimWhiteSpace(untilNul(uki.text(UKI_SECTION.kernelVersion)));
  // oxlint-disable-next-line no-control-regex -- control characters are what is refused
  if (text === "" || text === "." || text === ".." || /[/\u0000-\u001f\u007f]/.test(text) || text.length > 200) {
    throw new ComposefsError(
      "invalid",
      `${uki.what} names ${JSON.stringify(text.slice(0, 200))} as its kernel version`,
      {
        path: uki.what,
        reason: "invalid-name",
        hint: "the version becomes the name of a directory and must be one",
      },
    );
  }
  return text;
}

function writeSection(uki: PeFile, section: string, path: string, signal: AbortSignal | undefined): number {
  const fd = openSync(path, "wx", 0o644);
  let size = 0;
  try {
    for (const chunk of uki.chunks(section)) {
      throwIfAborted(signal);
      for (let at = 0; at < chunk.length; ) at += writeSync(fd, chunk, at);
      size += chunk.length;
    }
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  return size;
}
