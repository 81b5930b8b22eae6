// The objects that images need, by the paths that the images have for them (docs/spec/tools-c.md, section 2): what overlayfs
// opens, with or without a digest. Sets of a million are kept as bytes: as strings they would take 150 MB.

import { DIGEST_SIZE } from "../bytes/algorithm.ts";
import type { ByteString } from "../bytes/byte-string.ts";
import { compareBytes } from "../bytes/byte-string.ts";
import type { ImageInput } from "../core/erofs-read.ts";
import { unescapeField } from "../tree/dump-fields.ts";
import { type EntriesOptions, imageLines, lineHead } from "./entries.ts";

const REGULAR = 0o10;
const OBJECT_PATH = /^[0-9a-f]{2}\/(?:[0-9a-f]{62}|[0-9a-f]{126})$/;

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
    for (const lines of imageLines(image, options)) {
      for (const line of lines) {
        const { type, payload } = lineHead(line);
        if (type === REGULAR && payload !== "-") this.#add(payload);
      }
    }
  }

  #add(payload: string): void {
    if (!OBJECT_PATH.test(payload)) this.#others.add(unescapeField(payload, "PAYLOAD"));
    else this.#digests[payload.length === 65 ? "sha256" : "sha512"].add(payload.slice(0, 2) + payload.slice(3));
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

/** Digests of one length, one behind the other. */
class DigestList {
  readonly #size: number;
  #bytes: Buffer = Buffer.alloc(0);
  #count = 0;

  constructor(size: number) {
    this.#size = size;
  }

  add(hex: string): void {
    const at = this.#count * this.#size;
    if (at === this.#bytes.length) {
      const grown = Buffer.alloc(Math.max(1 << 16, 2 * at));
      this.#bytes.copy(grown);
      this.#bytes = grown;
    }
    this.#bytes.write(hex, at, "hex");
    this.#count++;
  }

  /** Object paths, sorted, each once. */
  *paths(): Generator<ByteString, void, undefined> {
    const size = this.#size;
    const bytes = this.#bytes;
    const compare = (a: number, b: number) =>
      bytes.readUInt32BE(a * size) - bytes.readUInt32BE(b * size) ||
      bytes.compare(bytes, b * size, (b + 1) * size, a * size, (a + 1) * size);
    const order = Uint32Array.from({ length: this.#count }, (_, i) => i).sort(compare);
    let last: number | undefined;
    for (const place of order) {
      if (last !== undefined && compare(last, place) === 0) continue;
      last = place;
      const hex = bytes.toString("hex", place * size, (place + 1) * size);
      yield `${hex.slice(0, 2)}/${hex.slice(2)}`;
    }
  }
}
