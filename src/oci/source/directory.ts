// Images in a flat directory, `dir:` (docs/spec/oci.md, section 2.3): manifest.json, and one file per blob named by its bare hex.

import { constants } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { join } from "node:path";

import { ComposefsError, systemError } from "../../error.ts";
import { contentDigest, parseDigest } from "../digest.ts";
import {
  MAX_DOCUMENT_SIZE,
  mediaTypeKind,
  MEDIA_TYPE,
  parseIndex,
  parseManifest,
  type Descriptor,
} from "../manifest.ts";
import { chooseManifest, documentKind } from "./choose.ts";
import { readRange } from "./read-range.ts";
import type { ImageSource, ResolvedManifest, ResolveOptions } from "./source.ts";

/** A directory that `skopeo copy ... dir:PATH` wrote. Signatures beside the image are not looked at. */
export class DirectorySource implements ImageSource {
  readonly transport = "dir";
  readonly directory: string;
  readonly #manifest: Uint8Array;

  private constructor(directory: string, manifest: Uint8Array) {
    this.directory = directory;
    this.#manifest = manifest;
  }

  /**
   * Opens a directory.
   *
   * @throws ComposefsError `not-found` when it has no `manifest.json`, `limit` when that is larger than 4 MiB
   */
  static async open(directory: string): Promise<DirectorySource> {
    const path = join(directory, "manifest.json");
    const file = await openFile(path);
    if (file === undefined) {
      throw new ComposefsError("not-found", `${directory} holds no image: it has no manifest.json`, {
        path: directory,
        hint: `name a directory that \`skopeo copy ... dir:PATH\` wrote; for an OCI layout write oci:${directory}`,
      });
    }
    try {
      const { size } = await file.stat();
      if (size > MAX_DOCUMENT_SIZE) throw new ComposefsError("limit", `${path} is larger than 4 MiB`, { path });
      const chunks: Uint8Array[] = [];
      for await (const chunk of readRange(file, { offset: 0, size }, { what: path, path })) chunks.push(chunk);
      return new DirectorySource(directory, Buffer.concat(chunks));
    } finally {
      await file.close();
    }
  }

  async resolve(options: ResolveOptions = {}): Promise<ResolvedManifest> {
    const path = join(this.directory, "manifest.json");
    const bytes = this.#manifest;
    if (documentKind(bytes, undefined) === "index") {
      return chooseManifest(this, parseIndex(bytes, path), `the directory ${this.directory}`, options);
    }
    const { mediaType } = parseManifest(bytes, path);
    return { bytes, digest: contentDigest(bytes), mediaType: mediaType ?? MEDIA_TYPE.ociManifest };
  }

  async *blob(descriptor: Descriptor, options: { signal?: AbortSignal } = {}): AsyncIterable<Uint8Array> {
    const { digest, size, mediaType } = descriptor;
    // The digest syntax has neither `/` nor `.`, so the path cannot leave the directory.
    const { value } = parseDigest(digest);
    const path = join(this.directory, value);
    // The manifests of a list have a suffix of their own.
    const listed = mediaTypeKind(mediaType) === "unknown" ? undefined : await openFile(`${path}.manifest.json`);
    const file = listed ?? (await openFile(path));
    if (file === undefined) {
      throw new ComposefsError("not-found", `the blob ${digest} is missing in ${this.directory}`, {
        path,
        digest,
        hint: "the directory is incomplete; copy the image again",
      });
    }
    try {
      const info = await file.stat();
      if (!info.isFile() || info.size !== size) {
        const found = info.isFile() ? `has ${info.size} bytes instead of ${size}` : "is not a regular file";
        throw new ComposefsError("digest-mismatch", `the blob ${digest} ${found}`, {
          path,
          digest,
          hint: "the directory is incomplete or was changed; copy the image again",
        });
      }
      yield* readRange(file, { offset: 0, size }, { what: `the blob ${digest}`, path, digest }, options.signal);
    } finally {
      await file.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

async function openFile(path: string): Promise<FileHandle | undefined> {
  try {
    // O_NONBLOCK: a fifo in place of a file must not hang the program.
    return await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw systemError(error, `opening ${path}`, path);
  }
}
