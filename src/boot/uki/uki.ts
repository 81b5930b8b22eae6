// What a unified kernel image says: its label, its command line, the digest of its kernel (docs/spec/boot.md, section 5).

import { blobHasher } from "../../core/blob-digest.ts";
import { ComposefsError, throwIfAborted } from "../../error.ts";
import { OsRelease } from "../os-release.ts";
import type { PeFile } from "../pe/read.ts";

/** The sections that make a PE file a UKI. */
export const UKI_SECTION = {
  kernel: ".linux",
  initramfs: ".initrd",
  commandLine: ".cmdline",
  osRelease: ".osrel",
  kernelVersion: ".uname",
} as const;

/**
 * The kernel command line of a UKI or addon, exactly as it is there. Parsers get {@link untilNul} of it.
 *
 * @throws ComposefsError with the reasons `uki-no-section`, `uki-not-pe`, `uki-not-utf8`
 */
export function ukiCommandLine(uki: PeFile): string {
  return uki.text(UKI_SECTION.commandLine);
}

/** The text before its first NUL: older image builders end command lines with one, which is no part of a digest. */
export function untilNul(text: string): string {
  const end = text.indexOf("\0");
  return end < 0 ? text : text.slice(0, end);
}

/**
 * The os-release of a UKI.
 *
 * @throws ComposefsError with the reasons `uki-no-section`, `uki-not-pe`, `uki-not-utf8`
 */
export function ukiOsRelease(uki: PeFile): OsRelease {
  return OsRelease.parse(uki.text(UKI_SECTION.osRelease));
}

/**
 * What a boot menu calls a UKI: name and version of its os-release.
 *
 * @throws ComposefsError with the reasons of {@link ukiOsRelease}, and `uki-no-name`
 */
export function ukiLabel(uki: PeFile): string {
  const { label } = ukiOsRelease(uki);
  if (label !== undefined) return label;
  throw new ComposefsError("invalid", `the os-release of ${uki.what} names no system`, {
    path: uki.what,
    reason: "uki-no-name",
    hint: "it needs PRETTY_NAME, NAME or ID",
  });
}

/**
 * The boot digest: hex SHA-256 over the kernel followed by the initramfs. Equal for UKIs that differ in anything else.
 *
 * @throws ComposefsError with the reasons `uki-no-section` and `uki-not-pe`
 */
export async function ukiBootDigest(uki: PeFile, signal?: AbortSignal): Promise<string> {
  const hasher = await blobHasher("sha256");
  // Both first: a missing one is known before much is read.
  const names = [UKI_SECTION.kernel, UKI_SECTION.initramfs];
  for (const name of names) uki.section(name);
  for (const name of names) {
    for (const chunk of uki.chunks(name)) {
      throwIfAborted(signal);
      hasher.update(chunk);
    }
  }
  return hasher.digest("hex");
}
