// Images on registries, `docker://` (docs/spec/oci.md, sections 2.2, 2.4 and 3).

import { ComposefsError } from "../../error.ts";
import { mediaTypeKind, parseIndex, parseManifest, MEDIA_TYPE, type Descriptor } from "../manifest.ts";
import type { RegistryName } from "../reference.ts";
import { RegistryClient, type RegistryOptions } from "../registry/client.ts";
import { chooseManifest, documentKind } from "./choose.ts";
import type { ImageSource, ResolvedManifest, ResolveOptions } from "./source.ts";

/** An image on a registry; nothing is asked of it before {@link RegistrySource.resolve}. */
export class RegistrySource implements ImageSource {
  readonly transport = "docker";
  readonly #name: RegistryName;
  readonly #client: RegistryClient;

  constructor(name: RegistryName, options: RegistryOptions = {}) {
    this.#name = name;
    this.#client = new RegistryClient(name, options);
  }

  async resolve(options: ResolveOptions = {}): Promise<ResolvedManifest> {
    const { domain, path, tag, digest: wanted } = this.#name;
    const { bytes, digest, mediaType } = await this.#client.manifest(wanted ?? tag ?? "latest", options.signal);
    const where = `${domain}/${path}${wanted === undefined ? `:${tag}` : `@${wanted}`}`;
    if (documentKind(bytes, mediaType) === "index") {
      return chooseManifest(this, parseIndex(bytes, `the image index ${digest}`), where, options);
    }
    const own = parseManifest(bytes, `the manifest ${digest} of ${where}`).mediaType;
    const said = mediaTypeKind(mediaType) === "manifest" ? mediaType : own;
    return { bytes, digest, mediaType: said ?? MEDIA_TYPE.ociManifest };
  }

  async *blob(descriptor: Descriptor, { signal }: { signal?: AbortSignal } = {}): AsyncIterable<Uint8Array> {
    if (mediaTypeKind(descriptor.mediaType) === "unknown") {
      yield* this.#client.blob(descriptor, signal);
      return;
    }
    const { bytes } = await this.#client.manifest(descriptor.digest, signal);
    if (bytes.length !== descriptor.size) {
      throw new ComposefsError(
        "digest-mismatch",
        `the manifest ${descriptor.digest} has ${bytes.length} bytes instead of ${descriptor.size}`,
        { digest: descriptor.digest },
      );
    }
    yield bytes;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client.close();
  }
}
