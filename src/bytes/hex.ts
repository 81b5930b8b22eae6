// Lower-case hex of digests.

/** Lower-case hex digits of the bytes. */
export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
}

/** The bytes of hex digits. The caller has checked them (see `isObjectId`); odd or foreign characters end the result. */
export function fromHex(text: string): Uint8Array {
  return Buffer.from(text, "hex");
}

const VALUES = new Int8Array(256).fill(-1);
for (let value = 0; value < 16; value++) VALUES[value.toString(16).charCodeAt(0)] = value;

/**
 * Reads lower-case hex digits that lie as bytes at `at` of `digits` into `size` bytes at `to` of `target`.
 *
 * @returns whether all of them are digits; what was written is of no use otherwise
 */
export function readHex(digits: Uint8Array, at: number, target: Uint8Array, to: number, size: number): boolean {
  let all = 0;
  for (let i = 0; i < size; i++) {
    const high = VALUES[digits[at + 2 * i] as number] as number;
    const low = VALUES[digits[at + 2 * i + 1] as number] as number;
    target[to + i] = (high << 4) | low;
    // Any -1 stays.
    all |= high | low;
  }
  return all >= 0 && at + 2 * size <= digits.length;
}
