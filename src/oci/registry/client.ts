// What a pull reads of a repository on a registry (docs/spec/oci.md, sections 3.1 and 3.4): manifests, lists of referrers, and blobs, which
// are gone on with where they were cut.

import { ComposefsError } from "../../error.ts";
import { parseDigest, verifyDigest, contentDigest, type Digest } from "../digest.ts";
import { MAX_DOCUMENT_SIZE, MEDIA_TYPE, parseIndex, schema1Error, type Descriptor } from "../manifest.ts";
import type { RegistryName } from "../reference.ts";
import type { HttpResponse } from "./http.ts";
import type { RegistryOptions } from "./requests.ts";
import { MAX_TRIES, Transient } from "./retry.ts";
import { RegistryApi } from "./api.ts";

/** Bytes after which a cut body counts as progress, so that crumbs do not make a pull endless. */
const PROGRESS = 64 << 10;

const MANIFEST_TYPES = [MEDIA_TYPE.ociManifest, MEDIA_TYPE.ociIndex, MEDIA_TYPE.dockerManifest, MEDIA_TYPE.dockerList];

/** Pages of referrers that are read. */
const MAX_PAGES = 20;

/** A manifest or index as a registry serves it. */
export interface FetchedManifest {
  readonly bytes: Uint8Array;
  readonly digest: Digest;
  /** What the registry says it is; undefined where it says nothing useful. */
  readonly mediaType: string | undefined;
}

/** One repository on one registry. */
export class RegistryClient {
  readonly #api: RegistryApi;

  constructor(name: RegistryName, options: RegistryOptions = {}) {
    this.#api = new RegistryApi(name, options, "pull");
  }

  /**
   * Fetches a manifest or an index.
   *
   * @param reference a tag or a digest
   * @throws ComposefsError `not-found`, `permission`, `digest-mismatch`, `limit`, `unsupported` for Docker schema 1, `io`
   */
  async manifest(reference: string, signal?: AbortSignal): Promise<FetchedManifest> {
    const what = `the manifest ${reference} of ${this.#api.fullName}`;
    return this.#api.retried(signal, async () => {
      const response = await this.#api.get(
        `manifests/${reference}`,
        what,
        { accept: MANIFEST_TYPES.join(", ") },
        signal,
      );
      const bytes = await this.#api.requests.readAll(response, MAX_DOCUMENT_SIZE, what);
      const isDigest = reference.includes(":");
      if (isDigest) verifyDigest(bytes, reference, what);
      const digest = isDigest ? reference : contentDigest(bytes);
      const announced = response.header("docker-content-digest");
      if (!isDigest && announced?.startsWith("sha256:") === true && announced !== digest) {
        throw new ComposefsError(
          "digest-mismatch",
          `${what}: ${this.#api.host} calls it ${announced}, its content is ${digest}`,
          {
            digest,
            hint: "something between here and the registry changes what it sends",
          },
        );
      }
      const mediaType = response.header("content-type")?.split(";")[0]?.trim().toLowerCase();
      if (mediaType === MEDIA_TYPE.dockerManifest1 || mediaType === MEDIA_TYPE.dockerManifest1Signed)
        throw schema1Error(what);
      return { bytes, digest, mediaType };
    });
  }

  /**
   * What the registry knows to refer to a manifest: by its API, or where it has none by the index under the tag `ALG-HEX`. It may be
   * wrong: only the manifests themselves say what they refer to.
   *
   * @param artifactType only those, as far as the registry chooses
   * @throws ComposefsError as {@link RegistryClient.manifest}, and `invalid` for an answer that is no index
   */
  async referrers(digest: Digest, artifactType?: string, signal?: AbortSignal): Promise<Descriptor[]> {
    const what = `the referrers of ${digest} in ${this.#api.fullName}`;
    const found: Descriptor[] = [];
    let search = artifactType === undefined ? "" : `?artifactType=${encodeURIComponent(artifactType)}`;
    for (let pages = 0; pages < MAX_PAGES; pages++) {
      const path = `referrers/${digest}${search}`;
      let page: { bytes: Uint8Array; next: string | undefined };
      try {
        page = await this.#api.retried(signal, async () => {
          const response = await this.#api.get(path, what, { accept: MEDIA_TYPE.ociIndex }, signal);
          const next = nextPage(response.header("link"));
          return { bytes: await this.#api.requests.readAll(response, MAX_DOCUMENT_SIZE, what), next };
        });
      } catch (error) {
        if (pages > 0 || !(error instanceof ComposefsError) || error.code !== "not-found") throw error;
        return this.#taggedReferrers(digest, what, signal);
      }
      found.push(...parseIndex(page.bytes, what).manifests);
      if (page.next === undefined) return found;
      search = page.next;
    }
    throw new ComposefsError("limit", `${what}: ${this.#api.host} has more than ${MAX_PAGES} pages of them`, {
      digest,
    });
  }

  async #taggedReferrers(digest: Digest, what: string, signal?: AbortSignal): Promise<Descriptor[]> {
    try {
      const { bytes } = await this.manifest(digest.replace(":", "-"), signal);
      return [...parseIndex(bytes, what).manifests];
    } catch (error) {
      if (error instanceof ComposefsError && error.code === "not-found") return [];
      throw error;
    }
  }

  /**
   * The bytes of a blob, never more than its size. What was cut is fetched from there on.
   *
   * @throws ComposefsError `not-found`, `permission`, `digest-mismatch` when its length is not the descriptor's, `io`
   */
  async *blob(descriptor: Descriptor, signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    const { digest, size } = descriptor;
    parseDigest(digest);
    const what = `the blob ${digest} of ${this.#api.fullName}`;
    let done = 0;
    let mayResume = true;
    for (let tries = 1, before = 0; ; ) {
      try {
        const range = mayResume && done > 0 ? `bytes=${done}-` : undefined;
        const response = await this.#openBlob(descriptor, what, range, signal);
        let skip = done;
        if (response.status === 206 || response.status === 416) {
          if (!mayResume || !isRange(response, done, size)) {
            response.discard();
            mayResume = false;
            throw new Transient(
              new ComposefsError("io", `${what}: ${this.#api.host} sent another range than asked for`),
            );
          }
          skip = 0;
        } else {
          this.#checkLength(response, descriptor, what);
        }
        try {
          for await (const bytes of response.body) {
            const rest = bytes.length > skip ? bytes.subarray(skip) : undefined;
            skip -= Math.min(skip, bytes.length);
            if (rest === undefined) continue;
            if (done + rest.length > size) throw this.#wrongLength(descriptor, what, "more than");
            done += rest.length;
            yield rest;
          }
        } catch (error) {
          throw this.#api.requests.transportFailure(error, what, done);
        }
        if (done === size && skip === 0) return;
        throw new Transient(
          new ComposefsError("digest-mismatch", `${what} ended after ${done} of ${size} bytes`, {
            digest,
            hint: `${this.#api.host} does not send the whole of it: try again later, or tell who runs it`,
          }),
        );
      } catch (error) {
        if (!(error instanceof Transient)) throw error;
        if (done - before >= PROGRESS) tries = 1;
        before = done;
        if (tries >= MAX_TRIES) throw error.error;
        await this.#api.wait(error, tries++, signal);
      }
    }
  }

  /**
   * The bytes of a blob from `start` to before `end`. What was cut is fetched from there on.
   *
   * @throws ComposefsError `unsupported` when the registry sends something else than that range; as {@link RegistryClient.blob} else
   */
  async *blobRange(
    descriptor: Descriptor,
    { start, end }: { start: number; end: number },
    signal?: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const { digest, size } = descriptor;
    parseDigest(digest);
    const what = `the blob ${digest} of ${this.#api.fullName}`;
    let at = start;
    for (let tries = 1, before = at; ; ) {
      try {
        const response = await this.#openBlob(descriptor, what, `bytes=${at}-${end - 1}`, signal);
        if (response.status !== 206 || !isRange(response, at, size)) {
          response.discard();
          throw new ComposefsError("unsupported", `${what}: ${this.#api.host} does not send parts of it`);
        }
        try {
          for await (const bytes of response.body) {
            // Some send more than they were asked for.
            const part = bytes.length > end - at ? bytes.subarray(0, end - at) : bytes;
            at += part.length;
            if (part.length > 0) yield part;
            if (at === end) return;
          }
        } catch (error) {
          throw this.#api.requests.transportFailure(error, what, at - start);
        }
        throw new Transient(new ComposefsError("io", `${what}: a part of it ended early`, { digest }));
      } catch (error) {
        if (!(error instanceof Transient)) throw error;
        if (at - before >= PROGRESS) tries = 1;
        before = at;
        if (tries >= MAX_TRIES) throw error.error;
        await this.#api.wait(error, tries++, signal);
      }
    }
  }

  /** Closes the connections. */
  close(): void {
    this.#api.close();
  }

  async #openBlob(
    descriptor: Descriptor,
    what: string,
    range: string | undefined,
    signal?: AbortSignal,
  ): Promise<HttpResponse> {
    const headers: Record<string, string> = range === undefined ? {} : { range };
    try {
      return await this.#api.get(`blobs/${descriptor.digest}`, what, headers, signal);
    } catch (error) {
      const { urls = [] } = descriptor;
      if (!(error instanceof ComposefsError) || error.code !== "not-found" || urls.length === 0) throw error;
      // A foreign layer, which its registry may not serve.
      for (const text of urls.slice(0, 10)) {
        const url = URL.canParse(text) ? new URL(text) : undefined;
        if (url === undefined || !/^https?:$/.test(url.protocol)) continue;
        const response = await this.#api.requests.follow(url, headers, undefined, what, signal);
        if (response.status === 200 || response.status === 206) return response;
        response.discard();
      }
      throw error;
    }
  }

  #checkLength(response: HttpResponse, descriptor: Descriptor, what: string): void {
    const length = response.header("content-length");
    if (length === undefined || response.header("content-encoding") !== undefined) return;
    if (Number(length) === descriptor.size) return;
    response.discard();
    throw this.#wrongLength(descriptor, what, `${length} bytes instead of`);
  }

  #wrongLength({ digest, size }: Descriptor, what: string, found: string): ComposefsError {
    return new ComposefsError("digest-mismatch", `${what}: ${this.#api.host} sends ${found} ${size} bytes`, {
      digest,
      hint: "the image on the registry is damaged; push it again",
    });
  }
}

/** Whether an answer is a part of a blob that begins at `from`. */
function isRange(response: HttpResponse, from: number, size: number): boolean {
  const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.header("content-range") ?? "");
  return Number(range?.[1]) === from && (range?.[2] === "*" || Number(range?.[2]) === size);
}

/** The query of the next page in a `Link` header: the rest of it is ours to say. */
function nextPage(link: string | undefined): string | undefined {
  const [, target] = /<([^>]*)>\s*;\s*rel="?next"?/.exec(link?.slice(0, 8192) ?? "") ?? [];
  return target === undefined || !target.includes("?") ? undefined : target.slice(target.indexOf("?"));
}
