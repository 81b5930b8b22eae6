// From an image to a tree (docs/spec/erofs.md, section 17.6).

import { ErofsReader, type ImageInput, type ReadOptions } from "../core/erofs-read.ts";
import { ComposefsError } from "../error.ts";
import type { Directory } from "../tree/node.ts";
import { RecordDecoder } from "./records.ts";

/**
 * The tree of an image, as its user sees it: without what the format puts in for overlayfs. Writing it again with the same
 * version and dialect gives the same image (the exceptions are in docs/spec/erofs.md, 17.6).
 *
 * @param image the image's bytes, or the descriptor of an open file
 * @throws ComposefsError `invalid` if the image is not valid, `limit` if it is too large or a file in it has more than 2^53 bytes
 * @example
 * ```ts
 * const root = readTree(readFileSync("image.erofs"));
 * console.log([...root.entries.keys()]);
 * ```
 */
export function readTree(image: ImageInput, options: ReadOptions = {}): Directory {
  using reader = new ErofsReader(image, options);
  reader.tree();
  const decoder = new RecordDecoder();
  for (const piece of reader.pieces()) decoder.decode(piece);
  if (decoder.root === undefined) throw new ComposefsError("internal", "the image's tree came without a root");
  return decoder.root;
}
