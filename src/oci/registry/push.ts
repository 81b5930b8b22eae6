// Pushes to a registry (OCI distribution specification, "Push"; docs/spec/oci.md, section 9): blobs that it has stay there, others are
// sent and, where the connection broke, sent from there on; the manifest comes last, so that a push that fails changes no image.

import { ComposefsError, throwIfAborted } from "../../error.ts";
import { contentDigest, digestHasher, parseDigest, type Digest } from "../digest.ts";
import type { Descriptor } from "../manifest.ts";
import type { RegistryName } from "../reference.ts";
import type { HttpResponse } from "./http.ts";
import type { RegistryOptions } from "./requests.ts";
import { isTransient } from "./retry.ts";
import { RegistryApi } from "./api.ts";

/** Blobs up to this many bytes go in one request. */
const SMALL_BLOB = 1 << 20;

/** Rounds of tries for one blob, each of which must have brought something. */
const MAX_ROUNDS = 10;

/** Digest and size of a blob. */
export type BlobToPush = Pick<Descriptor, "digest" | "size">;

/** Gives the bytes of a blob, from the beginning each time. */
export type BlobContent = () => AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/** One repository of a registry, to push to. */
export class RegistryPush {
  readonly #name: RegistryName;
  readonly #api: RegistryApi;

  constructor(name: RegistryName, options: RegistryOptions = {}) {
    this.#name = name;
    this.#api = new RegistryApi(name, options, "pull,push");
  }

  /**
   * Whether the registry has a blob.
   *
   * @throws ComposefsError `permission`, `io`
   */
  async has({ digest, size }: BlobToPush, signal?: AbortSignal): Promise<boolean> {
    const what = this.#what(`the blob ${digest}`);
    return this.#api.retried(signal, async () => {
      const response = await this.#api.request("HEAD", `blobs/${digest}`, what, { signal });
      const { status } = response;
      response.discard();
      if (status === 404) return false;
      // Some send those who ask to where the blob lies.
      if (status === 307 || status === 302) return true;
      if (status !== 200) throw await this.#api.failure(response, what);
      const length = response.header("content-length");
      return length === undefined || Number(length) === size;
    });
  }

  /**
   * Sends a blob; what the registry has got of it already is not sent again.
   *
   * @param onProgress told how many bytes of it have been sent
   * @throws ComposefsError `digest-mismatch` when the content is another one, or the registry says that it got another one; `permission`,
   *   `limit`, `io`
   */
  async put(
    blob: BlobToPush,
    content: BlobContent,
    options: { signal?: AbortSignal | undefined; onProgress?: ((done: number) => void) | undefined } = {},
  ): Promise<void> {
    const { digest } = blob;
    parseDigest(digest);
    const what = this.#what(`the blob ${digest}`);
    const upload = new Upload(this.#api, blob, content, what, options);
    for (let round = 1, before = 0; ; round++) {
      try {
        await this.#api.retried(options.signal, () => upload.run());
        return;
      } catch (error) {
        // What got through is worth another round of tries.
        const isProgress = error instanceof ComposefsError && error.code === "io" && upload.received > before;
        if (isProgress && round < MAX_ROUNDS) {
          before = upload.received;
          continue;
        }
        await upload.cancel();
        throw error;
      }
    }
  }

  /**
   * Sends a manifest, which makes the image known: all of its blobs must be there.
   *
   * @throws ComposefsError `digest-mismatch` when the registry got another one, or the reference names another one; `permission`, `io`
   */
  async putManifest(bytes: Uint8Array, mediaType: string, signal?: AbortSignal): Promise<void> {
    const { tag, digest: wanted } = this.#name;
    const digest = contentDigest(bytes);
    if (wanted !== undefined && wanted !== digest) {
      throw new ComposefsError("digest-mismatch", `the manifest to push is ${digest}, not ${wanted}`, {
        digest,
        hint: "push to a tag; the digest stays what it was only for images pulled with --keep-compressed or with plain layers",
      });
    }
    const reference = wanted ?? tag ?? "latest";
    const what = this.#what(`the manifest ${reference}`);
    await this.#api.retried(signal, async () => {
      const headers = { "content-type": mediaType, "content-length": String(bytes.length) };
      const options = { headers, body: () => bytes, signal };
      const response = await this.#api.request("PUT", `manifests/${reference}`, what, options);
      if (response.status !== 201 && response.status !== 200) throw await this.#api.failure(response, what);
      response.discard();
      checkAnswer(response, digest, what);
    });
  }

  /** Closes the connections. */
  close(): void {
    this.#api.close();
  }

  #what(part: string): string {
    return `pushing ${part} to ${this.#name.domain}/${this.#name.path}`;
  }
}

/** One blob on its way. */
class Upload {
  /** Bytes that the registry has confirmed. */
  received = 0;
  readonly #api: RegistryApi;
  readonly #blob: BlobToPush;
  readonly #content: BlobContent;
  readonly #what: string;
  readonly #options: { signal?: AbortSignal | undefined; onProgress?: ((done: number) => void) | undefined };
  #location: URL | undefined;

  constructor(
    api: RegistryApi,
    blob: BlobToPush,
    content: BlobContent,
    what: string,
    options: { signal?: AbortSignal | undefined; onProgress?: ((done: number) => void) | undefined },
  ) {
    this.#api = api;
    this.#blob = blob;
    this.#content = content;
    this.#what = what;
    this.#options = options;
  }

  /** Sends the blob, or what is missing of it. */
  async run(): Promise<void> {
    if (this.#location !== undefined) await this.#askStatus();
    if (this.#location === undefined) await this.#start();
    const { size } = this.#blob;
    if (size <= SMALL_BLOB && this.received === 0) return this.#finish(true);
    if (this.received < size) await this.#send();
    return this.#finish(false);
  }

  /** Tells the registry to forget what it got; nothing is reported. */
  async cancel(): Promise<void> {
    const location = this.#location;
    if (location === undefined) return;
    this.#location = undefined;
    try {
      (await this.#request("DELETE", location, { signal: AbortSignal.timeout(2000) })).discard();
    } catch {
      // It forgets by itself after a while.
    }
  }

  async #start(): Promise<void> {
    this.received = 0;
    const response = await this.#request("POST", "blobs/uploads/", { headers: { "content-length": "0" } });
    if (response.status !== 202) throw await this.#api.failure(response, this.#what);
    response.discard();
    this.#follow(response, undefined);
    if (this.#location === undefined)
      throw new ComposefsError("invalid", `${this.#what}: the answer says not where to`);
  }

  /** Finds out how much has arrived; starts again where the registry does not know. */
  async #askStatus(): Promise<void> {
    const location = this.#location as URL;
    const response = await this.#request("GET", location, {});
    if (isTransient(response.status)) throw await this.#api.failure(response, this.#what);
    response.discard();
    const last = /^(?:bytes=)?0-(\d+)$/.exec(response.header("range") ?? "")?.[1];
    const received = last === undefined ? undefined : Number(last) + 1;
    if (response.status === 204 && received !== undefined && received <= this.#blob.size) {
      // A single byte is how some say that there is none.
      this.received = received === 1 ? 0 : received;
      if (this.received > 0) {
        this.#follow(response, location);
        return;
      }
    }
    await this.cancel();
  }

  async #send(): Promise<void> {
    const { size } = this.#blob;
    const from = this.received;
    const headers: Record<string, string> = {
      "content-type": "application/octet-stream",
      "content-length": String(size - from),
      ...(from > 0 ? { "content-range": `${from}-${size - 1}` } : {}),
    };
    const response = await this.#request("PATCH", this.#location as URL, { headers, body: () => this.#checked(from) });
    if (response.status !== 202 && response.status !== 204) throw await this.#api.failure(response, this.#what);
    response.discard();
    this.received = size;
    this.#follow(response, this.#location);
  }

  async #finish(withContent: boolean): Promise<void> {
    const { digest, size } = this.#blob;
    const target = new URL(this.#location as URL);
    target.searchParams.set("digest", digest);
    const headers = {
      "content-type": "application/octet-stream",
      "content-length": withContent ? String(size) : "0",
    };
    const response = await this.#request("PUT", target, {
      headers,
      ...(withContent && size > 0 ? { body: () => this.#checked(0) } : {}),
    });
    if (response.status !== 201 && response.status !== 204) {
      // An upload that was refused at its end is of no use any more.
      this.#location = undefined;
      throw await this.#api.failure(response, this.#what);
    }
    response.discard();
    checkAnswer(response, digest, this.#what);
    this.received = size;
  }

  /** The content behind the first bytes; what is read is compared with the digest, so that nothing wrong is confirmed. */
  async *#checked(from: number): AsyncGenerator<Uint8Array, void, undefined> {
    const { digest, size } = this.#blob;
    const hasher = await digestHasher(digest);
    let read = 0;
    for await (const chunk of this.#content()) {
      throwIfAborted(this.#options.signal);
      hasher.update(chunk);
      read += chunk.length;
      if (read > size) break;
      if (read === size) this.#compare(hasher, read);
      const skip = Math.max(0, chunk.length - (read - from));
      // A copy: whose bytes these are may use the memory again while the system still sends them.
      if (skip < chunk.length) yield Buffer.from(chunk.subarray(skip));
      if (read > from) this.#options.onProgress?.(read);
    }
    if (read !== size) this.#compare(undefined, read);
  }

  #compare(hasher: { digest(form: "hex"): string } | undefined, read: number): void {
    const { digest, size } = this.#blob;
    const actual = hasher === undefined ? undefined : `${parseDigest(digest).algorithm}:${hasher.digest("hex")}`;
    if (actual === digest) return;
    const found = actual === undefined ? `${read} of ${size} bytes` : `the content of ${actual}`;
    throw new ComposefsError("digest-mismatch", `the blob ${digest} has ${found}`, {
      digest,
      hint: "the repository is damaged; run fsck, or pull the image again",
    });
  }

  #follow(response: HttpResponse, before: URL | undefined): void {
    const location = response.header("location");
    if (location === undefined) return;
    const relativeTo = before ?? this.#api.base;
    const next = URL.canParse(location, relativeTo.href) ? new URL(location, relativeTo) : undefined;
    if (next === undefined || !/^https?:$/.test(next.protocol)) {
      throw new ComposefsError("invalid", `${this.#what}: told to go on at ${JSON.stringify(location.slice(0, 200))}`);
    }
    if (this.#api.base.protocol === "https:" && next.protocol === "http:") {
      // A proxy in front of it that does not tell it of TLS; the host that was verified is meant.
      if (next.hostname !== this.#api.base.hostname) {
        throw new ComposefsError("permission", `${this.#what}: sent from https to http (${next.host})`);
      }
      next.protocol = "https:";
      next.port = this.#api.base.port;
    }
    next.username = "";
    next.password = "";
    this.#location = next;
  }

  #request(
    method: "POST" | "GET" | "PATCH" | "PUT" | "DELETE",
    target: string | URL,
    options: { headers?: Record<string, string>; body?: () => AsyncIterable<Uint8Array>; signal?: AbortSignal },
  ): Promise<HttpResponse> {
    return this.#api.request(method, target, this.#what, { signal: this.#options.signal, ...options });
  }
}

function checkAnswer(response: HttpResponse, digest: Digest, what: string): void {
  const said = response.header("docker-content-digest");
  if (said === undefined || said === digest || parseDigest(said).algorithm !== parseDigest(digest).algorithm) return;
  throw new ComposefsError("digest-mismatch", `${what}: the registry calls it ${said}, it is ${digest}`, {
    digest,
    hint: "something between here and the registry changes what is sent",
  });
}
