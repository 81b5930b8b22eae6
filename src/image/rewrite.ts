// An image read and written again: what `composefs-dump` does (docs/spec/tools-c.md, section 3; docs/spec/erofs.md, 17.6).

import type { ObjectId } from "../bytes/algorithm.ts";
import { ErofsReader, type ImageInput, type ReadOptions } from "../core/erofs-read.ts";
import type { Dialect } from "../core/erofs.ts";
import { fsverityDigest, fsverityFile } from "../core/fsverity.ts";
import { RecordDecoder } from "./records.ts";
import { type ImageSink, imageId, writeImage, type WrittenImage } from "./write.ts";
import { ComposefsError } from "../error.ts";

/** What {@link rewriteImage} has written. */
export interface RewrittenImage extends WrittenImage {
  /** The dialect that it was written in. */
  readonly dialect: Dialect;
  /** Whether it is the image that was read, byte for byte. */
  readonly same: boolean;
}

/**
 * Writes the tree of an image again, in the image's own version. An image does not say which dialect it was written in: it is the one
 * that gives the same bytes, and `c` where none does.
 *
 * @param sink takes the image in pieces of about 1 MiB, valid only during the call
 * @returns the ids are fs-verity digests with sha256
 * @throws ComposefsError `invalid` if the image is not valid, `limit` if it is too large
 * @example
 * ```ts
 * const { same } = rewriteImage(fd, (piece) => writeSync(out, piece));
 * ```
 */
export function rewriteImage(image: ImageInput, sink: ImageSink, options: ReadOptions = {}): RewrittenImage {
  using reader = new ErofsReader(image, options);
  const { algorithm = "sha256" } = reader.load();
  reader.tree();
  const decoder = new RecordDecoder();
  for (const piece of reader.pieces()) decoder.decode(piece);
  const { root } = decoder;
  if (root === undefined) throw new ComposefsError("internal", "the image's tree came without a root");
  const id = idOf(image);
  const { version } = reader.header;
  const dialects: Dialect[] = version === 2 ? ["rs"] : ["c", "rs"];
  const written = { version, algorithm, imageAlgorithm: "sha256" } as const;
  const dialect =
    dialects.find((each) => imageId(root, { ...written, dialect: each }).id === id) ?? dialects[0] ?? "rs";
  const result = writeImage(root, { ...written, dialect }, sink);
  return { ...result, dialect, same: result.id === id };
}

function idOf(image: ImageInput): ObjectId {
  return typeof image === "number" ? fsverityFile("sha256", image) : fsverityDigest("sha256", image);
}
