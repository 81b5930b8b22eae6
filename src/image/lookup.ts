// One node of an image by its path (docs/spec/erofs.md, section 17.9).

import type { ByteString } from "../bytes/byte-string.ts";
import { ErofsReader, type ImageInput, type ReadOptions } from "../core/erofs-read.ts";
import { RecordDecoder, type StoredNode } from "./records.ts";

export type { StoredNode } from "./records.ts";

/**
 * Looks a path up in an image. Only the directories on the way are validated, so a path can be found in an image that is
 * damaged elsewhere. Symlinks are not followed. A directory comes without its entries.
 *
 * @param path components separated by `/`; a slash at either end makes no difference
 * @returns undefined if there is no such entry, which includes paths with `.`, `..` or empty components
 * @throws ComposefsError `invalid` if something on the way is not valid
 */
export function lookupImage(image: ImageInput, path: ByteString, options: ReadOptions = {}): StoredNode | undefined {
  using reader = new ErofsReader(image, options);
  return lookup(reader, path);
}

/** The same in an image that is open already, for many paths. */
export function lookup(reader: ErofsReader, path: ByteString): StoredNode | undefined {
  if (!reader.lookup(path)) return undefined;
  const decoder = new RecordDecoder();
  for (const piece of reader.pieces()) decoder.decode(piece);
  return decoder.lastNode;
}
