// `import-image`: an image made elsewhere becomes one of the repository (docs/spec/cli-cfsctl.md, sections 3.2 and 13.3).

import type { ObjectId } from "../bytes/algorithm.ts";
import { IMAGE_LIMIT } from "../core/erofs-read.ts";
import { ComposefsError, throwIfAborted } from "../error.ts";
import { checkImage } from "../image/check.ts";
import { imageObjects } from "../image/objects.ts";
import { checkRefName } from "./names.ts";
import type { Repository } from "./repository.ts";

/** Options of {@link importImage}. */
export interface ImportImageOptions {
  /** Largest accepted image in bytes; 1 GiB when left out. */
  limit?: number;
  signal?: AbortSignal;
}

/** An image that was imported. */
export interface ImportedImage {
  id: ObjectId;
  /** Size in bytes. */
  size: number;
  /** Objects that the image refers to and that the repository does not have, sorted: mounted, those files cannot be read. */
  missing: ObjectId[];
}

/**
 * Stores an image and gives it a name. The image is held in memory.
 *
 * @param name of the ref below `images/refs/`; an existing one is re-pointed
 * @throws ComposefsError `invalid` when it is no image that composefs writes for a repository of this algorithm, `limit`;
 * then nothing was stored
 * @example
 * ```ts
 * const { id } = await importImage(repository, "os/v1", createReadStream("os.erofs"));
 * ```
 */
export async function importImage(
  repository: Repository,
  name: string,
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  options: ImportImageOptions = {},
): Promise<ImportedImage> {
  checkRefName(name);
  repository.checkWritable();
  const bytes = await readAll(source, options);
  const { algorithm } = repository;
  const { invalid, findings, findingCount } = checkImage(bytes, { algorithm, repository: true, limit: IMAGE_LIMIT });
  const [first] = findings;
  if (first !== undefined) {
    const rule = invalid === undefined ? `breaks the rule "${first.rule}"` : "is not a composefs image";
    const where = first.path === undefined ? "" : `${first.path}: `;
    const more = findingCount > 1 ? ` (and ${findingCount - 1} more)` : "";
    throw new ComposefsError("invalid", `what was given ${rule}: ${where}${first.message}${more}`, {
      ...(first.path === undefined ? {} : { path: first.path }),
      hint: `nothing was stored; images for this repository are made with ${algorithm} by composefs`,
    });
  }
  const missing = imageObjects(bytes, { algorithm, repository: true }).filter(
    (object) => !repository.hasObject(object),
  );
  throwIfAborted(options.signal);
  const { id } = await repository.putObject(bytes);
  await repository.barrier();
  repository.linkImage(id);
  await repository.barrier();
  repository.setRef("images", name, id);
  await repository.barrier();
  return { id, size: bytes.length, missing };
}

async function readAll(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  { limit = IMAGE_LIMIT, signal }: ImportImageOptions,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of source) {
    throwIfAborted(signal);
    size += chunk.length;
    if (size > limit) throw new ComposefsError("limit", `the image has more than ${limit} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
