// Images in the tar archive of an OCI layout, `oci-archive:` (docs/spec/oci.md, section 2.3).

import { ComposefsError } from "../../error.ts";
import type { ProgressListener } from "../../progress.ts";
import { parseDigest } from "../digest.ts";
import { MAX_DOCUMENT_SIZE, parseIndex, type Descriptor, type Index } from "../manifest.ts";
import { reportMarker, resolveInLayout } from "./layout-index.ts";
import type { ImageSource, ResolvedManifest, ResolveOptions } from "./source.ts";
import { TarIndex } from "./tar-index.ts";

/** An opened archive of a layout. */
export class OciArchiveSource implements ImageSource {
  readonly transport = "oci-archive";
  readonly tag: string | undefined;
  readonly #archive: TarIndex;
  readonly #index: Index;

  private constructor(archive: TarIndex, tag: string | undefined, index: Index) {
    this.#archive = archive;
    this.tag = tag;
    this.#index = index;
  }

  /**
   * Opens an archive.
   *
   * @param tag the image's name there; undefined when there is just one
   * @throws ComposefsError `not-found`; `invalid` when it is no tar archive, has no `index.json` or a wrong one
   */
  static async open(
    path: string,
    tag?: string,
    options: { onProgress?: ProgressListener | undefined; signal?: AbortSignal | undefined } = {},
  ): Promise<OciArchiveSource> {
    const archive = await TarIndex.open(path, options.signal);
    try {
      if (archive.find("index.json") === undefined) throw notALayout(archive);
      const index = parseIndex(await archive.read("index.json", MAX_DOCUMENT_SIZE), `index.json in ${path}`);
      const marker = archive.find("oci-layout");
      const bytes = marker === undefined ? undefined : await archive.read("oci-layout", 64 << 10).catch(() => null);
      reportMarker(bytes, `oci-layout in ${path}`, options.onProgress);
      return new OciArchiveSource(archive, tag, index);
    } catch (error) {
      await archive[Symbol.asyncDispose]();
      throw error;
    }
  }

  resolve(options: ResolveOptions = {}): Promise<ResolvedManifest> {
    const { path } = this.#archive;
    const names = { where: `the archive ${path}`, path, prefix: this.transport };
    return resolveInLayout(this, this.#index, this.tag, names, options);
  }

  async *blob({ digest, size }: Descriptor, options: { signal?: AbortSignal } = {}): AsyncIterable<Uint8Array> {
    const { path } = this.#archive;
    const { algorithm, value } = parseDigest(digest);
    const member = this.#archive.find(`blobs/${algorithm}/${value}`);
    if (member === undefined) {
      throw new ComposefsError("not-found", `the blob ${digest} is missing in ${path}`, {
        path,
        digest,
        hint: "the archive is incomplete; copy or build it again",
      });
    }
    if (member.size !== size) {
      throw new ComposefsError("digest-mismatch", `the blob ${digest} has ${member.size} bytes instead of ${size}`, {
        path,
        digest,
        hint: `it is not the file that was described; make ${path} again`,
      });
    }
    yield* this.#archive.stream(member, `the blob ${digest}`, options.signal);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#archive[Symbol.asyncDispose]();
  }
}

function notALayout(archive: TarIndex): ComposefsError {
  const { path } = archive;
  const isDocker = archive.find("manifest.json") !== undefined;
  return new ComposefsError("invalid", `${path} is no archive of an OCI layout: it has no index.json`, {
    path,
    hint: isDocker
      ? `it looks like one that docker save wrote: write docker-archive:${path}`
      : "name an archive that `skopeo copy ... oci-archive:FILE` or `podman save --format oci-archive` wrote",
  });
}
