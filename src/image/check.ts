// Whether an image is valid, and one that a writer makes (docs/spec/erofs.md, section 17.10).

import { ErofsReader, type Finding, type ImageInput, type ReadOptions } from "../core/erofs-read.ts";
import type { FormatVersion } from "../core/erofs.ts";
import { coreFailure } from "../core/failure.ts";
import { ComposefsError } from "../error.ts";

export type { Finding } from "../core/erofs-read.ts";

/** How to check an image. */
export interface CheckImageOptions extends ReadOptions {
  /** Whether each digest must have its object path as redirect, as in images of repositories. */
  repository?: boolean;
}

/** What {@link checkImage} found. */
export interface ImageCheck {
  /** The composefs_version; undefined if not even the headers are valid. */
  readonly version: FormatVersion | undefined;
  /** Number of inodes; undefined if the image is not valid. */
  readonly inodes: number | undefined;
  /** Why the image cannot be read; then that is the only finding. */
  readonly invalid: ComposefsError | undefined;
  /** What is wrong, at most 1000 of {@link findingCount}. Nothing is wrong if there are none. */
  readonly findings: readonly Finding[];
  readonly findingCount: number;
}

/**
 * Checks an image. What is wrong with its bytes is in the answer; other trouble is thrown.
 *
 * @throws ComposefsError `limit` if the image is too large, or what reading the file caused
 * @example
 * ```ts
 * const { findings } = checkImage(fd, { algorithm: "sha512", repository: true });
 * for (const { path, message } of findings) console.error(`${path ?? "image"}: ${message}`);
 * ```
 */
export function checkImage(image: ImageInput, options: CheckImageOptions = {}): ImageCheck {
  const { repository = false, ...readOptions } = options;
  let version: FormatVersion | undefined;
  try {
    using reader = new ErofsReader(image, readOptions);
    version = reader.header.version;
    const findingCount = reader.check(repository);
    const findings = [...reader.findings()];
    return { version, inodes: reader.load().inodes, invalid: undefined, findings, findingCount };
  } catch (error) {
    if (!(error instanceof ComposefsError) || error.code !== "invalid") throw error;
    const { field, message } = coreFailure(error.cause) ?? { field: "", message: error.message };
    const findings = [{ rule: field, path: error.path, message }];
    return { version, inodes: undefined, invalid: error, findings, findingCount: 1 };
  }
}
