// The objects that an image needs (docs/spec/erofs.md, section 17.8).

import type { Algorithm, ObjectId } from "../bytes/algorithm.ts";
import { ErofsReader, type ImageInput } from "../core/erofs-read.ts";

/** How to list the objects of an image. */
export interface ImageObjectsOptions {
  /** Algorithm of the object ids. */
  algorithm: Algorithm;
  /** Largest image in bytes; 1 GiB when left out. */
  limit?: number;
}

/**
 * The ids of all objects that the image needs, sorted: the digests of its files and the objects that their redirects name.
 *
 * @throws ComposefsError `invalid` if the image is not valid or is none that a writer makes
 */
export function imageObjects(image: ImageInput, options: ImageObjectsOptions): ObjectId[] {
  const ids: ObjectId[] = [];
  for (const lines of imageObjectLines(image, options)) {
    const text = Buffer.from(lines.buffer, lines.byteOffset, lines.byteLength).toString("latin1");
    const line = text.indexOf("\n") + 1;
    for (let at = 0; at < text.length; at += line) ids.push(text.slice(at, at + line - 1));
  }
  return ids;
}

/** The same as text: pieces of whole lines, one id each. A piece is valid only until the next one. */
export function* imageObjectLines(
  image: ImageInput,
  options: ImageObjectsOptions,
): Generator<Uint8Array, void, undefined> {
  using reader = new ErofsReader(image, options);
  reader.objects();
  yield* reader.pieces();
}
