// The API of a registry for one repository (docs/spec/oci.md, sections 3.1, 3.3 and 3.4): finds the scheme, answers challenges,
// says what answers stand for, and tries again what may be over.

import { ComposefsError } from "../../error.ts";
import type { RegistryName } from "../reference.ts";
import { answerChallenge, MAX_TOKEN_REPLY, parseToken, type Token, type TokenRequest } from "./authorize.ts";
import { findCredentials, type Credentials } from "./credentials.ts";
import { errorText } from "./error-body.ts";
import type { HttpBody, HttpMethod, HttpResponse } from "./http.ts";
import { Requests, type RegistryOptions } from "./requests.ts";
import { backoff, isTransient, MAX_TRIES, pause, retryAfter, Transient } from "./retry.ts";

/** Requests about one repository on one registry. */
export class RegistryApi {
  readonly #name: RegistryName;
  readonly #actions: "pull" | "pull,push";
  readonly #options: RegistryOptions;
  /** For answers that are read, and for other hosts. */
  readonly requests: Requests;
  readonly #tokens = new Map<string, Token>();
  #credentials: Promise<Credentials | undefined> | undefined;
  #base: Promise<URL> | undefined;
  #found: URL | undefined;
  /** The header that was good for the last request. */
  #authorization: { header: string; expires: number } | undefined;

  /** @param actions what tokens are asked for */
  constructor(name: RegistryName, options: RegistryOptions, actions: "pull" | "pull,push") {
    this.#name = name;
    this.#actions = actions;
    this.#options = options;
    this.requests = new Requests(name.host, options);
  }

  /** The registry and the repository, for messages. */
  get fullName(): string {
    return `${this.#name.domain}/${this.#name.path}`;
  }

  /** The registry's host, with its port. */
  get host(): string {
    return this.#name.host;
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
      const response = await this.requests.send(url, { method, headers: own, ...content }, what, signal);
      if (response.status !== 401 || !isOwn) return response;
      if (round > 0) throw await this.failure(response, what);
      const fresh = await this.#authorize(response.header("www-authenticate") ?? "", base, sent, signal);
      if (fresh === undefined) throw await this.failure(response, what);
      response.discard();
      sent = fresh;
    }
  }

  /** Where the API is, known after the first answer. */
  get base(): URL {
    if (this.#found === undefined) throw new ComposefsError("internal", "the registry has not been reached yet");
    return this.#found;
  }

  /** A request below the repository, authorized; the answer's status is 200 or 206. */
  async get(
    path: string,
    what: string,
    headers: Readonly<Record<string, string>>,
    signal?: AbortSignal,
  ): Promise<HttpResponse> {
    const base = await this.#ping(signal);
    const url = new URL(`${this.#name.path}/${path}`, base);
    let sent = await this.#currentAuthorization();
    for (let round = 0; ; round++) {
      const response = await this.requests.follow(url, headers, sent, what, signal);
      const { status } = response;
      if (status === 200 || status === 206) return response;
      if (status === 416 && headers["range"] !== undefined) return response;
      if (status !== 401 || round > 0) throw await this.failure(response, what);
      const challenge = response.header("www-authenticate") ?? "";
      const fresh = await this.#authorize(challenge, base, sent, signal);
      if (fresh === undefined) throw await this.failure(response, what);
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
    const what = `a token for ${this.fullName} from ${url.host}`;
    const response = await this.requests.send(
      url,
      { method, headers, ...(body === undefined ? {} : { body }) },
      what,
      signal,
    );
    if (response.status !== 200) throw await this.failure(response, what, url.host);
    return parseToken(await this.requests.readAll(response, MAX_TOKEN_REPLY, what), url.host);
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
        const response = await this.requests.follow(base, {}, undefined, what, signal);
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
        if (isTransient(status)) throw await this.failure(response, what);
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

  /** The error that an answer stands for: a {@link Transient} when another try may help. */
  async failure(response: HttpResponse, what: string, host = this.#name.host): Promise<unknown> {
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

  /** Tries again what may be over. @throws what the last try threw */
  async retried<T>(signal: AbortSignal | undefined, action: () => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        return await action();
      } catch (error) {
        if (!(error instanceof Transient)) throw error;
        if (tries >= MAX_TRIES) throw error.error;
        await this.wait(error, tries, signal);
      }
    }
  }

  /** Waits before another try, and says so. */
  async wait({ error, after }: Transient, tries: number, signal?: AbortSignal): Promise<void> {
    const milliseconds = after ?? backoff(tries, this.#options.retryUnit ?? 1000);
    this.#options.onProgress?.({
      type: "note",
      message: `${error.message}; trying again in ${(milliseconds / 1000).toFixed(1)} s`,
    });
    await pause(milliseconds, signal);
  }

  /** Closes the connections. */
  close(): void {
    this.requests.close();
  }
}
