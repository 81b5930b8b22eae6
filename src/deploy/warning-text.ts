// Warnings for people (docs/spec/deployments.md, section 9).

import { displayBytes, utf8ByteString } from "../bytes/byte-string.ts";
import type { DeployWarning, WarningCode } from "./state.ts";

const TEXTS: Record<WarningCode, string> = {
  W_BAD_BOOT_ENTRY: "the boot entry cannot be used",
  W_ORPHAN_BOOT_ENTRY: "there is a boot entry, but no state directory",
  W_NO_ORIGIN: "the origin file is missing",
  W_BAD_ORIGIN: "the origin file cannot be read",
  W_BAD_BOOT_TYPE: "boot_type in the origin file is neither bls nor uki",
  W_BAD_IMGREF: "the image reference in the origin file cannot be understood",
  W_BAD_MANIFEST_DIGEST: "manifest_digest in the origin file is no digest",
  W_MANIFEST_MISSING: "the manifest of the image is missing from the repository, or damaged",
  W_BAD_IMGINFO: "the imginfo file cannot be read",
  W_NO_IMAGE_INFO: "nothing says which image it was made from",
  W_BAD_STAGED_FILE: "the staged deployment file cannot be read",
  W_STALE_STAGED_ENTRY: "a boot entry is staged, but no deployment is",
  W_STAGED_WITHOUT_ENTRY: "it is staged, but has no boot entry",
  W_BOOTED_NOT_FOUND: "it is booted, but has no boot entry",
  W_NO_MANIFEST: "no image in the repository is known to be its own",
  W_DANGLING_TAG: "the tag names a manifest that is missing",
};

/**
 * One line for a warning, what it is about first.
 *
 * @example
 * ```ts
 * warningText({ code: "W_NO_ORIGIN", id: "a1b2" }); // "a1b2: the origin file is missing (W_NO_ORIGIN)"
 * ```
 */
export function warningText({ code, id, file, tag, manifest, reason }: DeployWarning): string {
  const subject = [id ?? file ?? tag, manifest].filter((part) => part !== undefined).join(", ");
  const codes = reason === undefined ? code : `${code}, ${reason}`;
  return `${subject === "" ? "" : `${displayBytes(utf8ByteString(subject))}: `}${TEXTS[code]} (${codes})`;
}
