// Whether bytes are a composefs image, from its first two blocks' headers (docs/spec/erofs.md, sections 4 and 5).

import type { FormatVersion } from "../core/erofs.ts";

/** As many bytes of a file as {@link recognizeImage} looks at. */
export const HEADER_BYTES = 1152;

const HEADER_MAGIC = 0xd078629a;
const EROFS_MAGIC = 0xe0f5e1e2;
const SUPERBLOCK = 1024;

/** What bytes are. `erofs` is an EROFS image that composefs did not make, as by `mkfs.erofs`. */
export type ImageKind =
  | { readonly kind: "composefs"; readonly version: FormatVersion }
  | { readonly kind: "erofs" | "other" };

/**
 * Recognizes an image by its beginning. That it is one does not say that it is valid: that takes `checkImage`.
 *
 * @param start the first {@link HEADER_BYTES} bytes of a file, or more
 */
export function recognizeImage(start: Uint8Array): ImageKind {
  if (start.length < HEADER_BYTES) return { kind: "other" };
  const view = new DataView(start.buffer, start.byteOffset, start.byteLength);
  if (view.getUint32(SUPERBLOCK, true) !== EROFS_MAGIC) return { kind: "other" };
  const version = view.getUint32(12, true);
  if (view.getUint32(0, true) !== HEADER_MAGIC || view.getUint32(4, true) !== 1 || version > 2)
    return { kind: "erofs" };
  return { kind: "composefs", version: version as FormatVersion };
}
