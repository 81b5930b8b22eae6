// Images in an OCI layout directory (docs/spec/oci.md, section 2.3): index.json and blobs/ALG/HEX.

import { constants } from "node:fs";
import { open, readFile, stat, type FileHandle } from "node:fs/promises";
import { join } from "node:path";

import { ComposefsError, systemError } from "../../error.ts";
import type { ProgressListener } from "../../progress.ts";
import { parseDigest } from "../digest.ts";
import { MAX_DOCUMENT_SIZE, parseIndex, type Descriptor, type Index } from "../manifest.ts";
import { reportMarker, resolveInLayout } from "./layout-index.ts";
import { readRange } from "./read-range.ts";
import type { ImageSource, ResolvedManifest, ResolveOptions } from "./source.ts";

/** Whether the directory looks like a layout: it has an `index.json`. */
export async function isLayout(directory: string): Promise<boolean> {
  try {
    return (await stat(join(directory, "index.json"))).isFile();
  } catch {
    return false;
  }
}

/** An opened layout directory; nothing stays open between reads. */
export class LayoutSource implements ImageSource {
  readonly transport = "oci";
  readonly directory: string;
  readonly tag: string | undefined;
  readonly #index: Index;

  private constructor(directory: string, tag: string | undefined, index: Index) {
    this.directory = directory;
    this.tag = tag;
    this.#index = index;
  }

  /**
   * Opens a layout.
   *
   * @param tag the image's name there; undefined when there is just one
   * @throws ComposefsError `not-found` when there is no `index.json`, `invalid` when it is not an image index
   */
  static async open(directory: string, tag?: string, onProgress?: ProgressListener): Promise<LayoutSource> {
    const path = join(directory, "index.json");
    let bytes: Uint8Array;
    try {
      const { size } = await stat(path);
      if (size > MAX_DOCUMENT_SIZE) throw new ComposefsError("limit", `${path} is larger than 4 MiB`, { path });
      bytes = await readFile(path);
    } catch (error) {
      throw await missingLayout(error, directory, path);
    }
    const index = parseIndex(bytes, path);
    await checkMarker(directory, onProgress);
    return new LayoutSource(directory, tag, index);
  }

  resolve(options: ResolveOptions = {}): Promise<ResolvedManifest> {
    const names = { where: `the layout ${this.directory}`, path: this.directory, prefix: "oci" };
    return resolveInLayout(this, this.#index, this.tag, names, options);
  }

  async *blob(descriptor: Descriptor, options: { signal?: AbortSignal } = {}): AsyncIterable<Uint8Array> {
    const { digest, size } = descriptor;
    const { algorithm, value } = parseDigest(digest);
    // The digest syntax has neither `/` nor `.`, so the path cannot leave the folder.
    const path = join(this.directory, "blobs", algorithm, value);
    const file = await openBlob(path, digest, this.directory);
    try {
      const info = await file.stat();
      // Links are followed: tools build layouts out of links into their caches, and the digest decides what is good.
      if (!info.isFile()) {
        throw new ComposefsError("invalid", `the blob ${digest} is not a regular file: ${path}`, { path, digest });
      }
      if (info.size !== size) {
        throw new ComposefsError("digest-mismatch", `the blob ${digest} has ${info.size} bytes instead of ${size}`, {
          path,
          digest,
          hint: `${path} is ${info.size < size ? "cut off" : "not the file that was described"}; copy the layout again`,
        });
      }
      yield* readRange(file, { offset: 0, size }, { what: `the blob ${digest}`, path, digest }, options.signal);
    } finally {
      await file.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

async function openBlob(path: string, digest: string, directory: string): Promise<FileHandle> {
  try {
    // O_NONBLOCK: a fifo in place of a blob must not hang the program.
    return await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") {
      throw new ComposefsError("not-found", `the blob ${digest} is missing in the layout ${directory}`, {
        cause: error,
        path,
        digest,
        hint: "the layout is incomplete; copy or build it again",
      });
    }
    throw systemError(error, `opening the blob ${digest} (${path})`, path);
  }
}

async function missingLayout(cause: unknown, directory: string, path: string): Promise<ComposefsError> {
  const errno = (cause as NodeJS.ErrnoException).code;
  if (errno !== "ENOENT" && errno !== "ENOTDIR") return systemError(cause, `opening ${path}`, path);
  const info = await stat(directory).catch(() => undefined);
  if (info === undefined) {
    return new ComposefsError("not-found", `there is no directory ${directory}`, {
      cause,
      path: directory,
      hint: "name the directory of an OCI layout, as in oci:DIR or oci:DIR:TAG",
    });
  }
  if (!info.isDirectory()) {
    return new ComposefsError("not-found", `${directory} is a file, not an OCI layout directory`, {
      cause,
      path: directory,
      hint: `unpack it first, or, if it is a tar of a layout, write oci-archive:${directory}`,
    });
  }
  return new ComposefsError("not-found", `${directory} is no OCI layout: it has no index.json`, {
    cause,
    path: directory,
    hint: "name the directory that holds index.json and blobs/",
  });
}

async function checkMarker(directory: string, onProgress: ProgressListener | undefined): Promise<void> {
  const path = join(directory, "oci-layout");
  const bytes = await readFile(path).catch((error: unknown) =>
    (error as NodeJS.ErrnoException).code === "ENOENT" ? undefined : null,
  );
  reportMarker(bytes, path, onProgress);
}
