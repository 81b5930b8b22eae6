// Single requests to a registry and the hosts that it redirects to (docs/spec/oci.md, sections 3.2 and 3.4): each with the certificates
// of its host, and without telling other hosts who we are.

import { ComposefsError, throwIfAborted } from "../../error.ts";
import type { ProgressListener } from "../../progress.ts";
import {
  Connections,
  TIMEOUTS,
  tlsFiles,
  TransportError,
  type HttpBody,
  type HttpMethod,
  type HttpResponse,
  type Timeouts,
  type TlsFiles,
} from "./http.ts";
import { Transient } from "./retry.ts";

/** How to reach a registry. */
export interface RegistryOptions {
  /** False: accept any certificate of the registry's host, and plain http where there is no https. True when left out. */
  readonly tlsVerify?: boolean | undefined;
  /** A file of credentials that is looked at first, and must be there. */
  readonly authFile?: string | undefined;
  /** Instead of those of files. */
  readonly credentials?: { readonly username: string; readonly password: string } | undefined;
  readonly timeouts?: Timeouts | undefined;
  /** The unit of the waits between tries, in milliseconds; a second when left out. */
  readonly retryUnit?: number | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

const MAX_REDIRECTS = 10;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** The requests of one client. */
export class Requests {
  readonly #host: string;
  readonly #options: RegistryOptions;
  readonly #connections = new Connections();
  readonly #tls = new Map<string, Promise<TlsFiles>>();

  /** @param host of the registry, with its port */
  constructor(host: string, options: RegistryOptions) {
    this.#host = host;
    this.#options = options;
  }

  /** Sends a GET and follows redirects; only the first host sees the authorization. */
  async follow(
    start: URL,
    headers: Readonly<Record<string, string>>,
    authorization: string | undefined,
    what: string,
    signal?: AbortSignal,
  ): Promise<HttpResponse> {
    let url = start;
    for (let redirects = 0; ; redirects++) {
      const own: Record<string, string> = { ...headers };
      if (authorization !== undefined && url.origin === start.origin) own["authorization"] = authorization;
      const response = await this.send(url, { method: "GET", headers: own }, what, signal);
      if (!REDIRECTS.has(response.status)) return response;
      const location = response.header("location") ?? "";
      response.discard();
      if (redirects >= MAX_REDIRECTS) {
        throw new ComposefsError("io", `${what}: ${start.host} redirects more than ${MAX_REDIRECTS} times`);
      }
      const next = URL.canParse(location, url.href) ? new URL(location, url) : undefined;
      if (next === undefined || !/^https?:$/.test(next.protocol)) {
        throw new ComposefsError(
          "invalid",
          `${what}: ${url.host} redirects to ${JSON.stringify(location.slice(0, 200))}`,
        );
      }
      if (url.protocol === "https:" && next.protocol === "http:") {
        throw new ComposefsError("permission", `${what}: ${url.host} redirects from https to http (${next.host})`, {
          hint: "what comes over http can be read and changed on its way; the registry must redirect to https",
        });
      }
      next.username = "";
      next.password = "";
      url = next;
    }
  }

  /** One request; what fails below HTTP is a {@link Transient}. */
  async send(
    url: URL,
    request: { method: HttpMethod; headers: Readonly<Record<string, string>>; body?: HttpBody },
    what: string,
    signal?: AbortSignal,
  ): Promise<HttpResponse> {
    const tls = url.protocol === "https:" ? await this.#tlsOf(url) : {};
    const timeouts = this.#options.timeouts ?? TIMEOUTS;
    const headers = { "user-agent": "composefs-js", ...request.headers };
    try {
      return await this.#connections.send({ ...request, headers, url, tls, timeouts, signal });
    } catch (error) {
      throwIfAborted(signal);
      throw this.transportFailure(error, what, undefined, url);
    }
  }

  async #tlsOf(url: URL): Promise<TlsFiles> {
    let files = this.#tls.get(url.host);
    if (files === undefined) this.#tls.set(url.host, (files = tlsFiles(url.host)));
    const isUnverified = this.#options.tlsVerify === false && url.host === this.#host;
    return isUnverified ? { ...(await files), rejectUnauthorized: false } : files;
  }

  /** What a failure below HTTP stands for; anything else is given back as it is. */
  transportFailure(error: unknown, what: string, done?: number, url?: URL): unknown {
    if (!(error instanceof TransportError)) return error;
    const where = url?.host ?? this.#host;
    const place = done === undefined ? "" : ` after ${done} bytes`;
    const isTrust = /CERT|SELF_SIGNED|ALTNAME|UNABLE_TO|DEPTH_ZERO/.test(error.symbol);
    const isPlain = error.message === "the server does not speak TLS";
    const hint = isTrust
      ? `put the authority's certificate into /etc/containers/certs.d/${where}/ca.crt, or use --tls-verify=false`
      : isPlain
        ? "it may speak plain http: if that is meant, use --tls-verify=false"
        : "check the network and the name of the host";
    const failure = new ComposefsError(
      "io",
      `${what}${what.endsWith(where) ? "" : `: ${where}`}: ${error.message}${place}`,
      { cause: error, hint },
    );
    // A certificate, a server without TLS and a name that is not there do not get better by waiting.
    return isTrust || isPlain || error.symbol === "ENOTFOUND" ? failure : new Transient(failure);
  }

  /**
   * The whole body of an answer.
   *
   * @throws ComposefsError `limit` when it is longer than that
   */
  async readAll(response: HttpResponse, limit: number, what: string): Promise<Uint8Array> {
    const chunks: Uint8Array[] = [];
    let size = 0;
    try {
      for await (const chunk of response.body) {
        size += chunk.length;
        if (size > limit) throw new ComposefsError("limit", `${what} is longer than ${limit} bytes`);
        chunks.push(chunk);
      }
    } catch (error) {
      throw this.transportFailure(error, what, size);
    }
    return Buffer.concat(chunks);
  }

  /** Closes the connections. */
  close(): void {
    this.#connections.close();
  }
}
