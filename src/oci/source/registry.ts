// Images on registries, `docker://` (docs/spec/oci.md, sections 2.2, 2.4 and 3).

import { ComposefsError, throwIfAborted } from "../../error.ts";
import type { Digest } from "../digest.ts";
import { mediaTypeKind, parseIndex, parseManifest, MEDIA_TYPE, type Descriptor } from "../manifest.ts";
import type { RegistryName } from "../reference.ts";
import { endpointsOf } from "../registry/endpoints.ts";
import { loadRegistriesConf } from "../registry/registries-conf.ts";
import { RegistryClient, type FetchedManifest } from "../registry/client.ts";
import type { RegistryOptions } from "../registry/requests.ts";
import { chooseManifest, documentKind } from "./choose.ts";
import type { ImageSource, ResolvedManifest, ResolveOptions } from "./source.ts";

/** A place that may have the image. */
interface Place {
  readonly name: RegistryName;
  readonly client: RegistryClient;
}

/**
 * An image on a registry or a mirror of it; nothing is asked of any before {@link RegistrySource.resolve}. The place that answered first
 * is asked for everything else; where it fails, the next one is.
 */
export class RegistrySource implements ImageSource {
  readonly transport = "docker";
  readonly #name: RegistryName;
  readonly #options: RegistryOptions;
  #places: Promise<Place[]> | undefined;
  readonly #opened: RegistryClient[] = [];

  constructor(name: RegistryName, options: RegistryOptions = {}) {
    this.#name = name;
    this.#options = options;
  }

  async resolve(options: ResolveOptions = {}): Promise<ResolvedManifest> {
    const { domain, path, tag, digest: wanted } = this.#name;
    const reference = wanted ?? tag ?? "latest";
    const { bytes, digest, mediaType } = await this.#manifest(reference, options.signal);
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
      yield* this.#blob(descriptor, signal);
      return;
    }
    const { bytes } = await this.#manifest(descriptor.digest, signal);
    if (bytes.length !== descriptor.size) {
      throw new ComposefsError(
        "digest-mismatch",
        `the manifest ${descriptor.digest} has ${bytes.length} bytes instead of ${descriptor.size}`,
        { digest: descriptor.digest },
      );
    }
    yield bytes;
  }

  /** Asks one place only: who does not get a part fetches the whole, wherever it is to be had. */
  async *blobRange(
    descriptor: Descriptor,
    range: { start: number; end: number },
    { signal }: { signal?: AbortSignal } = {},
  ): AsyncIterable<Uint8Array> {
    const [place] = (await (this.#places ??= this.#findPlaces())) as [Place];
    yield* place.client.blobRange(descriptor, range, signal);
  }

  referrers(
    digest: Digest,
    { artifactType, signal }: { artifactType?: string; signal?: AbortSignal } = {},
  ): Promise<readonly Descriptor[]> {
    return this.#tried(signal, (client) => client.referrers(digest, artifactType, signal));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#places?.catch(() => undefined);
    for (const client of this.#opened) client.close();
  }

  #manifest(reference: string, signal: AbortSignal | undefined): Promise<FetchedManifest> {
    return this.#tried(signal, (client) => client.manifest(reference, signal));
  }

  /** The bytes of a blob. Once some have come, they must all come from there. */
  async *#blob(descriptor: Descriptor, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array, void, undefined> {
    const { rest, first } = await this.#tried(signal, async (client) => {
      const bytes = client.blob(descriptor, signal);
      return { rest: bytes, first: await bytes.next() };
    });
    if (first.done === true) return;
    yield first.value;
    yield* rest;
  }

  /** Tries each place; one that failed is not asked again. */
  async #tried<T>(signal: AbortSignal | undefined, action: (client: RegistryClient) => Promise<T>): Promise<T> {
    const places = await (this.#places ??= this.#findPlaces());
    for (;;) {
      const [place] = places as [Place];
      try {
        return await action(place.client);
      } catch (error) {
        throwIfAborted(signal);
        if (places.length === 1 || !(error instanceof ComposefsError)) throw error;
        // Another request may have given it up already.
        if (places[0] === place) {
          places.shift();
          this.#options.onProgress?.({
            type: "warning",
            message: `${error.message}; trying ${places[0]?.name.domain}`,
          });
        }
      }
    }
  }

  async #findPlaces(): Promise<Place[]> {
    const { tlsVerify, credentials, ...others } = this.#options;
    return endpointsOf(await loadRegistriesConf(), this.#name).map(({ name, insecure, isMirror }) => {
      const client = new RegistryClient(name, {
        ...others,
        tlsVerify: tlsVerify ?? !insecure,
        // What was given for the registry is for nobody else.
        ...(credentials && !isMirror && { credentials }),
      });
      this.#opened.push(client);
      return { name, client };
    });
  }
}
