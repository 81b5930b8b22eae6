// The objects that an image needs (docs/spec/erofs.md, section 17.8).

import type { Algorithm, ObjectId } from "../bytes/algorithm.ts";
import { ErofsReader, type ImageInput, type ReadOptions } from "../core/erofs-read.ts";

/** How to list the objects of an image. */
export interface ImageObjectsOptions extends ReadOptions {
  /** Algorithm of the object ids. */
  algorithm: Algorithm;
  /** Also refuse the image if the redirect of a file is not the object of its digest, as in images of repositories. */
  repository?: boolean;
}

/**
 * The ids of all objects that the image needs, sorted: the digests of its files and the objects that their redirects name.
 *
 * @throws ComposefsError `invalid` if the image is not valid, or is none that a writer makes
 */
export function imageObjects(image: ImageInput, options: ImageObjectsOptions): ObjectId[] {
  const ids: ObjectId[] = [];
  imageObjectLines(image, options, (lines) => {
    const text = Buffer.from(lines.buffer, lines.byteOffset, lines.byteLength).toString("latin1");
    const line = text.indexOf("\n") + 1;
    for (let at = 0; at < text.length; at += line) ids.push(text.slice(at, at + line - 1));
  });
  return ids;
}

/**
 * The same as bytes, for who does not need a string of each: whole lines of hex digits.
 *
 * @param sink each piece is valid only during the call
 */
export function imageObjectLines(
  image: ImageInput,
  options: ImageObjectsOptions,
  sink: (lines: Uint8Array) => void,
): void {
  using reader = new ErofsReader(image, options);
  reader.objects(options.repository);
  for (const lines of reader.pieces()) sink(lines);
}
