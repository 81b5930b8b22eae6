// What a splitstream holds, and under which name it is known (docs/spec/splitstream.md, section 5.1).

import { toHex } from "../bytes/hex.ts";

/** The content types that this library writes: 8 ASCII bytes. */
export type ContentType = "ocilayer" | "ociconfg" | "ocimanif" | "oci_blob";

/** A tar layer. */
export const LAYER = "ocilayer" satisfies ContentType;
/** An image config: one external chunk. */
export const CONFIG = "ociconfg" satisfies ContentType;
/** An image manifest: one external chunk. */
export const MANIFEST = "ocimanif" satisfies ContentType;
/** A layer of an artifact that is no tar: one external chunk. */
export const BLOB = "oci_blob" satisfies ContentType;

/** The type as text: the 8 characters where they are printable ASCII, else `0x` and 16 hex digits. */
export function contentTypeName(bytes: Uint8Array): string {
  if (bytes.every((byte) => byte > 32 && byte < 127)) return String.fromCharCode(...bytes);
  return `0x${toHex(bytes.toReversed()).toUpperCase()}`;
}
