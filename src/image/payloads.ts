// The objects that images need, by the paths that the images have for them (docs/spec/tools-c.md, section 2): what overlayfs
// opens, with or without a digest. Sets of a million are kept as bytes: as strings they would take 150 MB.

import { DIGEST_SIZE } from "../bytes/algorithm.ts";
import type { ByteString } from "../bytes/byte-string.ts";
import { compareBytes } from "../bytes/byte-string.ts";
import type { ImageInput } from "../core/erofs-read.ts";
import { unescapeField } from "../tree/dump-fields.ts";
import { type EntriesOptions, imageLineBytes } from "./entries.ts";

const SPACE = 0x20;
const SLASH = 0x2f;
const LINE_FEED = 0x0a;
const DASH = 0x2d;
const [ONE, ZERO] = [0x31, 0x30];

/** The value of each lower-case hex digit; 16 for all other bytes. */
const HEX_VALUE: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) => {
  const value = "0123456789abcdef".indexOf(String.fromCharCode(byte));
  return value < 0 ? 16 : value;
});

/**
 * Paths of objects, each once, of any number of images.
 *
 * @example
 * ```ts
 * const payloads = new PayloadSet();
 * payloads.addImage(fd);
 * for (const path of payloads.sorted()) console.log(path);
 * ```
 */
export class PayloadSet {
  readonly #digests = { sha256: new DigestList(DIGEST_SIZE.sha256), sha512: new DigestList(DIGEST_SIZE.sha512) };
  readonly #others = new Set<ByteString>();

  /**
   * Adds the paths of all files of an image that have one.
   *
   * @throws ComposefsError `invalid` if the image is not valid; then none of it are added
   */
  addImage(image: ImageInput, options: EntriesOptions = {}): void {
    for (const lines of imageLineBytes(image, options)) {
      for (let at = 0; at < lines.length; at = lines.indexOf(LINE_FEED, at) + 1) at = this.#addLine(lines, at);
    }
  }

  /** Adds what the line at a place has; answers a place in it. */
  #addLine(lines: Uint8Array, at: number): number {
    const mode = fieldStart(lines, at, 2);
    const nlink = fieldStart(lines, mode, 1);
    // 10 and four digits: a regular file, and no line of a further name.
    if (lines[mode] !== ONE || lines[mode + 1] !== ZERO || nlink - mode !== 7) return nlink;
    const start = fieldStart(lines, nlink, 5);
    const end = fieldStart(lines, start, 1) - 1;
    if (end - start === 1 && lines[start] === DASH) return end;
    if (lines[start + 2] === SLASH) {
      if (end - start === 65 && this.#digests.sha256.add(lines, start)) return end;
      if (end - start === 129 && this.#digests.sha512.add(lines, start)) return end;
    }
    this.#others.add(unescapeField(Buffer.from(lines.subarray(start, end)).toString("latin1"), "PAYLOAD"));
    return end;
  }

  /** The paths in byte order. */
  *sorted(): Generator<ByteString, void, undefined> {
    const lists = [
      this.#digests.sha256.paths(),
      this.#digests.sha512.paths(),
      [...this.#others].sort(compareBytes).values(),
    ];
    const heads = lists.map((list) => list.next().value);
    for (;;) {
      let least: number | undefined;
      for (const [i, head] of heads.entries()) {
        if (head !== undefined && (least === undefined || head < (heads[least] as ByteString))) least = i;
      }
      if (least === undefined) return;
      yield heads[least] as ByteString;
      heads[least] = lists[least]?.next().value;
    }
  }
}

/** Where the field begins that is so many fields behind the one at a place. */
function fieldStart(lines: Uint8Array, from: number, fields: number): number {
  let at = from;
  for (let left = fields; left > 0; at++) if (lines[at] === SPACE) left--;
  return at;
}

/** Digests of one length, one behind the other. */
class DigestList {
  readonly #size: number;
  #bytes: Buffer = Buffer.alloc(0);
  #count = 0;

  constructor(size: number) {
    this.#size = size;
  }

  /** Adds the digest whose object path begins at a place; false if it is none. */
  add(text: Uint8Array, start: number): boolean {
    const size = this.#size;
    const at = this.#count * size;
    if (at === this.#bytes.length) this.#grow();
    const bytes = this.#bytes;
    // The slash is behind the first byte.
    for (let i = 0, from = start; i < size; i++, from += i === 1 ? 3 : 2) {
      const high = HEX_VALUE[text[from] as number] as number;
      const low = HEX_VALUE[text[from + 1] as number] as number;
      if ((high | low) > 15) return false;
      bytes[at + i] = (high << 4) | low;
    }
    this.#count++;
    return true;
  }

  #grow(): void {
    const grown = Buffer.alloc(Math.max(1 << 16, 2 * this.#bytes.length));
    this.#bytes.copy(grown);
    this.#bytes = grown;
  }

  /** Object paths, sorted, each once. */
  *paths(): Generator<ByteString, void, undefined> {
    const size = this.#size;
    const bytes = this.#bytes;
    // Nearly every comparison ends with the first four bytes.
    const heads = new Uint32Array(this.#count);
    const order = new Uint32Array(this.#count);
    for (let i = 0; i < this.#count; i++) {
      heads[i] = bytes.readUInt32BE(i * size);
      order[i] = i;
    }
    const compare = (a: number, b: number) =>
      (heads[a] as number) - (heads[b] as number) ||
      bytes.compare(bytes, b * size, (b + 1) * size, a * size, (a + 1) * size);
    order.sort(compare);
    let last: number | undefined;
    for (const place of order) {
      if (last !== undefined && compare(last, place) === 0) continue;
      last = place;
      const hex = bytes.toString("hex", place * size, (place + 1) * size);
      yield `${hex.slice(0, 2)}/${hex.slice(2)}`;
    }
  }
}
