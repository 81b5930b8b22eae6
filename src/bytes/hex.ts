// Lower-case hex of digests.

/** Lower-case hex digits of the bytes. */
export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
}

/** The bytes of hex digits. The caller has checked them (see `isObjectId`); odd or foreign characters end the result. */
export function fromHex(text: string): Uint8Array {
  return Buffer.from(text, "hex");
}
