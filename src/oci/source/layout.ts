// Images in an OCI layout directory (docs/spec/oci.md, section 2.3): index.json and blobs/ALG/HEX.

import { constants } from "node:fs";
import { open, readFile, stat, type FileHandle } from "node:fs/promises";
import { join } from "node:path";

import { ComposefsError, systemError, throwIfAborted } from "../../error.ts";
import type { ProgressListener } from "../../progress.ts";
import { parseDigest } from "../digest.ts";
import { nearNames } from "../near-names.ts";
import { MAX_DOCUMENT_SIZE, parseIndex, type Descriptor, type Index } from "../manifest.ts";
import { chooseManifest, REF_NAME } from "./choose.ts";
import type { ImageSource, ResolvedManifest, ResolveOptions } from "./source.ts";

/** Bytes per read: large enough to cost nothing, small enough for many layers at once. */
const CHUNK_SIZE = 256 * 1024;

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

  async resolve(options: ResolveOptions = {}): Promise<ResolvedManifest> {
    const where = `the layout ${this.directory}`;
    if (this.#index.manifests.length === 0) {
      throw new ComposefsError("not-found", `${where} is empty: its index.json lists no manifests`, {
        path: join(this.directory, "index.json"),
      });
    }
    if (this.tag === undefined) return chooseManifest(this, this.#index, where, options);
    const manifests = this.#index.manifests.filter((entry) => entry.annotations?.[REF_NAME] === this.tag);
    if (manifests.length === 0) throw this.#unknownTag(this.tag);
    return chooseManifest(this, { ...this.#index, manifests }, `${where} (tag ${this.tag})`, options);
  }

  #unknownTag(tag: string): ComposefsError {
    const names = [
      ...new Set(this.#index.manifests.flatMap((entry) => entry.annotations?.[REF_NAME] ?? [])),
    ].toSorted();
    const near = nearNames(tag, names);
    const listed = (near.length > 0 ? near : names).slice(0, 10).join(", ");
    const hint =
      names.length === 0
        ? `its images have no tags; write oci:${this.directory}`
        : near.length > 0
          ? `did you mean ${listed}?`
          : `it has ${listed}${names.length > 10 ? ", ..." : ""}`;
    return new ComposefsError("not-found", `the layout ${this.directory} has no tag ${JSON.stringify(tag)}`, {
      path: this.directory,
      hint,
    });
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
      yield* readChunks(file, size, path, digest, options.signal);
    } finally {
      await file.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

async function* readChunks(
  file: FileHandle,
  size: number,
  path: string,
  digest: string,
  signal: AbortSignal | undefined,
): AsyncIterable<Uint8Array> {
  for (let offset = 0; offset < size; ) {
    throwIfAborted(signal);
    const chunk = Buffer.allocUnsafeSlow(Math.min(CHUNK_SIZE, size - offset));
    let bytesRead: number;
    try {
      ({ bytesRead } = await file.read(chunk, 0, chunk.length, offset));
    } catch (error) {
      throw systemError(error, `reading the blob ${digest}`, path);
    }
    if (bytesRead === 0) {
      throw new ComposefsError("digest-mismatch", `the blob ${digest} ended after ${offset} of ${size} bytes`, {
        path,
        digest,
        hint: "it was cut while it was being read; is something writing to the layout?",
      });
    }
    offset += bytesRead;
    yield chunk.subarray(0, bytesRead);
  }
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

/** The marker file tells nothing that matters here; its loss is worth a warning, not a failure. */
async function checkMarker(directory: string, onProgress: ProgressListener | undefined): Promise<void> {
  const path = join(directory, "oci-layout");
  let problem: string | undefined;
  try {
    const marker: unknown = JSON.parse(await readFile(path, "utf8"));
    const version = typeof marker === "object" && marker !== null && "imageLayoutVersion" in marker;
    if (!version || marker.imageLayoutVersion !== "1.0.0") problem = "does not say layout version 1.0.0";
  } catch (error) {
    problem = (error as NodeJS.ErrnoException).code === "ENOENT" ? "is missing" : "cannot be read";
  }
  if (problem !== undefined)
    onProgress?.({ type: "warning", message: `${path} ${problem}; reading the layout anyway` });
}
