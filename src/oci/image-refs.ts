// Keys under which a config stream names the EROFS images of its image (docs/spec/oci.md, section 6.1).

import type { FormatVersion } from "../core/erofs.ts";
import type { XattrMode } from "../tree/xattr-filter.ts";

const PREFIX = "composefs.image";

/** Which image of a container image is meant. */
export interface ImageVariant {
  readonly version: FormatVersion;
  /** The boot variant, with /boot and /sysroot emptied. */
  readonly boot?: boolean;
  /** Only boot variants are stored in other modes than the default. */
  readonly xattrs?: XattrMode;
}

/** Whether a named ref of a config stream is an image, known or not, and not a layer. */
export function isImageRef(key: string): boolean {
  return key.startsWith(PREFIX);
}

/** Whether a named ref of a config stream is a boot image, known or not. */
export function isBootImageRef(key: string): boolean {
  return key.startsWith(`${PREFIX}.boot`);
}

/** The key of an image. Versions 0 and 1 share one: a repository has one or the other as its default. */
export function imageRefKey({ version, boot = false, xattrs = "allowlist-only" }: ImageVariant): string {
  const mode = xattrs === "allowlist-only" ? "" : `.xattrs=${xattrs}`;
  return `${PREFIX}${boot ? ".boot" : ""}${version === 2 ? "" : ".v1"}${mode}`;
}

/** The order of image refs in a config stream: the plain ones, then all others sorted. */
export function compareImageRefs(a: string, b: string): number {
  return refRank(a) - refRank(b) || (a < b ? -1 : a > b ? 1 : 0);
}

function refRank(key: string): number {
  return key === PREFIX ? 0 : key === `${PREFIX}.v1` ? 1 : 2;
}
