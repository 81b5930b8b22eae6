// The dump text of an image (docs/spec/erofs.md, section 17.7).

import type { ByteString } from "../bytes/byte-string.ts";
import { ErofsReader, type ImageDumpForm, type ImageInput, type ReadOptions } from "../core/erofs-read.ts";
import { ComposefsError } from "../error.ts";

/** How to dump an image. */
export interface DumpImageOptions extends ReadOptions {
  /**
   * Largest text in bytes; 16 GiB when left out. A small image can stand for a huge text: 500 files that share one xattr of
   * 30000 bytes make 15 MB out of 86 KB.
   */
  textLimit?: number;
  /** How lines look; `canonical` when left out. */
  form?: ImageDumpForm;
  /**
   * Names of entries of the root: only these and what is below them are told, and the root itself. A file whose first name is
   * elsewhere has the first one here instead. Everything when left out or empty.
   */
  only?: readonly ByteString[];
}

const TEXT_LIMIT = 2 ** 34;

/**
 * Writes the dump text of an image. The canonical one is lossless: writing the dump gives the image again.
 *
 * @param sink takes the text in pieces of up to 512 KiB, which end anywhere and are valid only during the call
 * @throws ComposefsError `invalid` if the image is not valid, `limit` if image or text are too large
 * @example
 * ```ts
 * dumpImage(fd, (piece) => process.stdout.write(piece));
 * ```
 */
export function dumpImage(image: ImageInput, sink: (piece: Uint8Array) => void, options: DumpImageOptions = {}): void {
  const { textLimit = TEXT_LIMIT, form = "canonical", only = [], ...readOptions } = options;
  using reader = new ErofsReader(image, readOptions);
  for (const name of only) reader.select(name);
  reader.dump(form);
  let length = 0;
  for (const piece of reader.pieces()) {
    length += piece.length;
    if (length > textLimit) throw new ComposefsError("limit", `the dump text has more than ${textLimit} bytes`);
    sink(piece);
  }
}
