// Byte strings: names, link targets and xattrs are bytes, held as JavaScript strings whose char codes are 0..255.
// Compact, usable as map keys, and `<` on them is the unsigned byte order that every format here sorts by.

/** A string in which each char code is one byte (0..255). Never text: decode with {@link displayBytes} to show it. */
export type ByteString = string;

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** The byte string of raw bytes. */
export function toByteString(bytes: Uint8Array): ByteString {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
}

/** The raw bytes of a byte string. */
export function fromByteString(value: ByteString): Uint8Array {
  return Buffer.from(value, "latin1");
}

/** The byte string of ordinary text, encoded as UTF-8. */
export function utf8ByteString(text: string): ByteString {
  return Buffer.from(text, "utf8").toString("latin1");
}

/** Text for people: UTF-8 where the bytes are that, `\xHH` for control characters and bytes that are not. */
export function displayBytes(value: ByteString): string {
  let text: string;
  try {
    text = utf8.decode(fromByteString(value));
  } catch {
    text = value;
  }
  // oxlint-disable-next-line no-control-regex -- control characters are what this escapes
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

/** Compares by unsigned bytes, shorter first on a common prefix: the order of names in images and dumps. */
export function compareBytes(a: ByteString, b: ByteString): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
