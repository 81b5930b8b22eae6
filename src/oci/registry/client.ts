// A client of the registry protocol, for pulls (docs/spec/oci.md, section 3): finds the scheme, answers challenges, tries again what may
// be over, and goes on where a body was cut.

import { ComposefsError } from "../../error.ts";
import { parseDigest, verifyDigest, contentDigest, type Digest } from "../digest.ts";
import { MAX_DOCUMENT_SIZE, MEDIA_TYPE, schema1Error, type Descriptor } from "../manifest.ts";
import type { RegistryName } from "../reference.ts";
import { answerChallenge, MAX_TOKEN_REPLY, parseToken, type Token, type TokenRequest } from "./authorize.ts";
import { errorText } from "./error-body.ts";
import { findCredentials, type Credentials } from "./credentials.ts";
import type { HttpBody, HttpMethod, HttpResponse } from "./http.ts";
import { Requests, type RegistryOptions } from "./requests.ts";
import { backoff, isTransient, MAX_TRIES, pause, retryAfter, Transient } from "./retry.ts";

/** Bytes after which a cut body counts as progress, so that crumbs do not make a pull endless. */
const PROGRESS = 64 << 10;

const MANIFEST_TYPES = [MEDIA_TYPE.ociManifest, MEDIA_TYPE.ociIndex, MEDIA_TYPE.dockerManifest, MEDIA_TYPE.dockerList];

/** A manifest or index as a registry serves it. */
export interface FetchedManifest {
  readonly bytes: Uint8Array;
  readonly digest: Digest;
  /** What the registry says it is; undefined where it says nothing useful. */
  readonly mediaType: string | undefined;
}

/** One repository on one registry. */
export class RegistryClient {
  readonly #name: RegistryName;
  readonly #actions: "pull" | "pull,push";
  readonly #options: RegistryOptions;
  readonly #requests: Requests;
  readonly #tokens = new Map<string, Token>();
  #credentials: Promise<Credentials | undefined> | undefined;
  #base: Promise<URL> | undefined;
  #found: URL | undefined;
  /** The header that was good for the last request. */
  #authorization: { header: string; expires: number } | undefined;

  /** @param actions what tokens are asked for */
  constructor(name: RegistryName, options: RegistryOptions = {}, actions: "pull" | "pull,push" = "pull") {
    this.#name = name;
    this.#actions = actions;
    this.#options = options;
    this.#requests = new Requests(name.host, options);
  }

  /**
   * Fetches a manifest or an index.
   *
   * @param reference a tag or a digest
   * @throws ComposefsError `not-found`, `permission`, `digest-mismatch`, `limit`, `unsupported` for Docker schema 1, `io`
   */
  async manifest(reference: string, signal?: AbortSignal): Promise<FetchedManifest> {
    const what = `the manifest ${reference} of ${this.#fullName}`;
    return this.#retried(signal, async () => {
      const response = await this.#get(`manifests/${reference}`, what, { accept: MANIFEST_TYPES.join(", ") }, signal);
      const bytes = await this.#requests.readAll(response, MAX_DOCUMENT_SIZE, what);
      const isDigest = reference.includes(":");
      if (isDigest) verifyDigest(bytes, reference, what);
      const digest = isDigest ? reference : contentDigest(bytes);
      const announced = response.header("docker-content-digest");
      if (!isDigest && announced?.startsWith("sha256:") === true && announced !== digest) {
        throw new ComposefsError(
          "digest-mismatch",
          `${what}: ${this.#name.host} calls it ${announced}, its content is ${digest}`,
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
   * The bytes of a blob, never more than its size. What was cut is fetched from there on.
   *
   * @throws ComposefsError `not-found`, `permission`, `digest-mismatch` when its length is not the descriptor's, `io`
   */
  async *blob(descriptor: Descriptor, signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    const { digest, size } = descriptor;
    parseDigest(digest);
    const what = `the blob ${digest} of ${this.#fullName}`;
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
              new ComposefsError("io", `${what}: ${this.#name.host} sent another range than asked for`),
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
          throw this.#requests.transportFailure(error, what, done);
        }
        if (done === size && skip === 0) return;
        throw new Transient(
          new ComposefsError("digest-mismatch", `${what} ended after ${done} of ${size} bytes`, {
            digest,
            hint: `${this.#name.host} does not send the whole of it: try again later, or tell who runs it`,
          }),
        );
      } catch (error) {
        if (!(error instanceof Transient)) throw error;
        if (done - before >= PROGRESS) tries = 1;
        before = done;
        if (tries >= MAX_TRIES) throw error.error;
        await this.#wait(error, tries++, signal);
      }
    }
  }

  /**
   * One request of a push, authorized, not redirected. Every answer is given back but a second 401.
   *
   * @param target a path below the repository, or where an answer said to go on: only the registry itself sees the authorization
   * @param body made anew for each try
   */
  async request(
    method: HttpMethod,
    target: string | URL,
    what: string,
    options: {
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: () => HttpBody;
      readonly signal?: AbortSignal | undefined;
    } = {},
  ): Promise<HttpResponse> {
    const { headers = {}, body, signal } = options;
    const base = (this.#found = await this.#ping(signal));
    const url = typeof target === "string" ? new URL(`${this.#name.path}/${target}`, base) : target;
    let sent = await this.#currentAuthorization();
    for (let round = 0; ; round++) {
      const isOwn = url.origin === base.origin;
      const own = sent === undefined || !isOwn ? headers : { ...headers, authorization: sent };
      const content = body === undefined ? {} : { body: body() };
      const response = await this.#requests.send(url, { method, headers: own, ...content }, what, signal);
      if (response.status !== 401 || !isOwn) return response;
      if (round > 0) throw await this.#failure(response, what);
      const fresh = await this.#authorize(response.header("www-authenticate") ?? "", base, sent, signal);
      if (fresh === undefined) throw await this.#failure(response, what);
      response.discard();
      sent = fresh;
    }
  }

  /** Where the API is, known after the first answer. */
  get base(): URL {
    if (this.#found === undefined) throw new ComposefsError("internal", "the registry has not been reached yet");
    return this.#found;
  }

  /** The error that an answer stands for: a {@link Transient} when another try may help. */
  failure(response: HttpResponse, what: string): Promise<unknown> {
    return this.#failure(response, what);
  }

  /** Tries again what may be over. @throws what the last try threw */
  retried<T>(signal: AbortSignal | undefined, action: () => Promise<T>): Promise<T> {
    return this.#retried(signal, action);
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
    const what = `the blob ${digest} of ${this.#fullName}`;
    let at = start;
    for (let tries = 1, before = at; ; ) {
      try {
        const response = await this.#openBlob(descriptor, what, `bytes=${at}-${end - 1}`, signal);
        if (response.status !== 206 || !isRange(response, at, size)) {
          response.discard();
          throw new ComposefsError("unsupported", `${what}: ${this.#name.host} does not send parts of it`);
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
          throw this.#requests.transportFailure(error, what, at - start);
        }
        throw new Transient(new ComposefsError("io", `${what}: a part of it ended early`, { digest }));
      } catch (error) {
        if (!(error instanceof Transient)) throw error;
        if (at - before >= PROGRESS) tries = 1;
        before = at;
        if (tries >= MAX_TRIES) throw error.error;
        await this.#wait(error, tries++, signal);
      }
    }
  }

  /** Closes the connections. */
  close(): void {
    this.#requests.close();
  }

  get #fullName(): string {
    return `${this.#name.domain}/${this.#name.path}`;
  }

  async #openBlob(
    descriptor: Descriptor,
    what: string,
    range: string | undefined,
    signal?: AbortSignal,
  ): Promise<HttpResponse> {
    const headers: Record<string, string> = range === undefined ? {} : { range };
    try {
      return await this.#get(`blobs/${descriptor.digest}`, what, headers, signal);
    } catch (error) {
      const { urls = [] } = descriptor;
      if (!(error instanceof ComposefsError) || error.code !== "not-found" || urls.length === 0) throw error;
      // A foreign layer, which its registry may not serve.
      for (const text of urls.slice(0, 10)) {
        const url = URL.canParse(text) ? new URL(text) : undefined;
        if (url === undefined || !/^https?:$/.test(url.protocol)) continue;
        const response = await this.#requests.follow(url, headers, undefined, what, signal);
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
    return new ComposefsError("digest-mismatch", `${what}: ${this.#name.host} sends ${found} ${size} bytes`, {
      digest,
      hint: "the image on the registry is damaged; push it again",
    });
  }

  /** A request below the repository, authorized; the answer's status is 200 or 206. */
  async #get(
    path: string,
    what: string,
    headers: Readonly<Record<string, string>>,
    signal?: AbortSignal,
  ): Promise<HttpResponse> {
    const base = await this.#ping(signal);
    const url = new URL(`${this.#name.path}/${path}`, base);
    let sent = await this.#currentAuthorization();
    for (let round = 0; ; round++) {
      const response = await this.#requests.follow(url, headers, sent, what, signal);
      const { status } = response;
      if (status === 200 || status === 206) return response;
      if (status === 416 && headers["range"] !== undefined) return response;
      if (status !== 401 || round > 0) throw await this.#failure(response, what);
      const challenge = response.header("www-authenticate") ?? "";
      const fresh = await this.#authorize(challenge, base, sent, signal);
      if (fresh === undefined) throw await this.#failure(response, what);
      response.discard();
      sent = fresh;
    }
  }

  async #currentAuthorization(): Promise<string | undefined> {
    const current = this.#authorization;
    return current !== undefined && current.expires > performance.now() ? current.header : undefined;
  }

  /** An answer to a challenge; undefined when there is none but what was refused. */
  async #authorize(
    challenge: string,
    registry: URL,
    refused: string | undefined,
    signal?: AbortSignal,
  ): Promise<string | undefined> {
    const credentials = await this.#findCredentials();
    const answer = answerChallenge(challenge, {
      path: this.#name.path,
      registry,
      credentials,
      actions: this.#actions,
    });
    if (answer === undefined) return undefined;
    if (answer.kind === "header") {
      if (answer.authorization === refused) return undefined;
      this.#authorization = { header: answer.authorization, expires: Number.POSITIVE_INFINITY };
      return answer.authorization;
    }
    const known = this.#tokens.get(answer.key);
    const isGood = known !== undefined && known.expires > performance.now() && known.authorization !== refused;
    const token = isGood ? known : await this.#fetchToken(answer.request, signal);
    this.#tokens.set(answer.key, token);
    this.#authorization = { header: token.authorization, expires: token.expires };
    return token.authorization;
  }

  async #fetchToken({ method, url, headers, body }: TokenRequest, signal?: AbortSignal): Promise<Token> {
    const what = `a token for ${this.#fullName} from ${url.host}`;
    const response = await this.#requests.send(
      url,
      { method, headers, ...(body === undefined ? {} : { body }) },
      what,
      signal,
    );
    if (response.status !== 200) throw await this.#failure(response, what, url.host);
    return parseToken(await this.#requests.readAll(response, MAX_TOKEN_REPLY, what), url.host);
  }

  #findCredentials(): Promise<Credentials | undefined> {
    const { credentials, authFile } = this.#options;
    this.#credentials ??=
      credentials === undefined
        ? findCredentials(this.#name, { authFile })
        : Promise.resolve({ kind: "basic", ...credentials });
    return this.#credentials;
  }

  /** Finds out how the registry is reached; afterwards its API is known to be there. */
  #ping(signal?: AbortSignal): Promise<URL> {
    const found = (this.#base ??= this.#findBase(signal));
    // The next one who asks tries again.
    found.catch(() => {
      if (this.#base === found) this.#base = undefined;
    });
    return found;
  }

  async #findBase(signal?: AbortSignal): Promise<URL> {
    const { host } = this.#name;
    const what = `the registry ${host}`;
    const schemes = this.#options.tlsVerify === false ? ["https", "http"] : ["https"];
    let problem: unknown;
    for (const scheme of schemes) {
      const base = new URL(`${scheme}://${host}/v2/`);
      try {
        const response = await this.#requests.follow(base, {}, undefined, what, signal);
        const { status } = response;
        if (status === 401) {
          const challenge = response.header("www-authenticate") ?? "";
          response.discard();
          // Saves the round of being refused; who cannot be satisfied now says so at the real request.
          await this.#authorize(challenge, base, undefined, signal);
          return base;
        }
        if (status === 200) {
          response.discard();
          return base;
        }
        if (isTransient(status)) throw await this.#failure(response, what);
        response.discard();
        problem = new ComposefsError("io", `${what} is none: ${base.href} answers ${status}`, {
          hint: "check the name of the host; only its API below /v2/ counts",
        });
      } catch (error) {
        const mayBeHttp = error instanceof Transient || (error instanceof ComposefsError && error.code === "io");
        if (!mayBeHttp || scheme === schemes.at(-1)) throw error;
        problem = error;
      }
    }
    throw problem;
  }

  /** The error that an answer stands for. */
  async #failure(response: HttpResponse, what: string, host = this.#name.host): Promise<unknown> {
    const { status } = response;
    const after = retryAfter(response.header("retry-after"));
    const said = await errorText(response);
    const about = `${what}: ${host} answers ${status}${said === "" ? "" : ` (${said})`}`;
    if (isTransient(status)) {
      return new Transient(
        new ComposefsError("io", about, { hint: "the registry is busy or has a fault; try again later" }),
        after,
      );
    }
    if (status === 404) {
      return new ComposefsError("not-found", about, {
        hint: "check name and tag; some registries answer so when a login is missing",
      });
    }
    if (status === 401 || status === 403) {
      const sent = (await this.#findCredentials()) !== undefined;
      return new ComposefsError(
        "permission",
        `${about}; ${sent ? "the credentials were not accepted" : "no credentials were sent"}`,
        {
          hint: sent
            ? `log in again, as with \`podman login ${this.#name.domain}\`, or give --creds USER:PASSWORD`
            : `log in, as with \`podman login ${this.#name.domain}\`, or give --authfile or --creds USER:PASSWORD`,
        },
      );
    }
    return new ComposefsError("io", about);
  }

  async #retried<T>(signal: AbortSignal | undefined, action: () => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        return await action();
      } catch (error) {
        if (!(error instanceof Transient)) throw error;
        if (tries >= MAX_TRIES) throw error.error;
        await this.#wait(error, tries, signal);
      }
    }
  }

  async #wait({ error, after }: Transient, tries: number, signal?: AbortSignal): Promise<void> {
    const milliseconds = after ?? backoff(tries, this.#options.retryUnit ?? 1000);
    this.#options.onProgress?.({
      type: "note",
      message: `${error.message}; trying again in ${(milliseconds / 1000).toFixed(1)} s`,
    });
    await pause(milliseconds, signal);
  }
}

/** Whether an answer is a part of a blob that begins at `from`. */
function isRange(response: HttpResponse, from: number, size: number): boolean {
  const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.header("content-range") ?? "");
  return Number(range?.[1]) === from && (range?.[2] === "*" || Number(range?.[2]) === size);
}
