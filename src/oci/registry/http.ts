// One HTTP request, with the raw bytes of the answer (docs/spec/oci.md, sections 3.2 and 3.4). Not `fetch`: it decompresses what a
// `Content-Encoding` names, follows redirects by rules that differ between the runtimes, and knows no certificates per host.

import { readdir, readFile } from "node:fs/promises";
import * as http from "node:http";
import * as https from "node:https";
import { homedir } from "node:os";
import { join } from "node:path";
import { rootCertificates } from "node:tls";

import { ComposefsError, systemError, throwIfAborted } from "../../error.ts";
import { proxyAgent, proxyFor } from "./proxy.ts";

/** How long is waited, in milliseconds. */
export interface Timeouts {
  /** For the head of an answer. */
  readonly head: number;
  /** For the next 16 KiB of a body, so that a trickle is none. */
  readonly idle: number;
}

/** What is waited where nothing else is said. */
export const TIMEOUTS: Timeouts = { head: 60_000, idle: 60_000 };

/** Bytes that count as progress. */
const PROGRESS = 16 << 10;

/** Bytes that are rather read than a connection closed. */
const SMALL_REST = 64 << 10;

/** Certificates of a host. */
export interface TlsFiles {
  readonly ca?: string[] | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  readonly rejectUnauthorized?: boolean | undefined;
}

/** The methods of the registry protocol. */
export type HttpMethod = "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE";

/** What a request carries. */
export type HttpBody = string | Uint8Array | AsyncIterable<Uint8Array>;

/** A request. */
export interface HttpRequest {
  readonly method?: HttpMethod;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  /** Chunks are sent before the next one is asked for. */
  readonly body?: HttpBody;
  readonly tls?: TlsFiles;
  readonly timeouts: Timeouts;
  readonly signal?: AbortSignal | undefined;
  /** A unix socket to connect to instead of the URL's host; no proxy is used then. */
  readonly socketPath?: string | undefined;
}

/** The answer, of which the head has come. Read {@link HttpResponse.body} or call {@link HttpResponse.discard}. */
export interface HttpResponse {
  readonly status: number;
  /** A header by its name in lower case. */
  header(name: string): string | undefined;
  /** The bytes as they came. */
  readonly body: AsyncGenerator<Uint8Array, void, undefined>;
  discard(): void;
}

/** A failure below HTTP: no connection, a cut one, a timeout. */
export class TransportError extends Error {
  override readonly name = "TransportError";
  /** The system's symbol for it, as ECONNREFUSED. */
  readonly symbol: string;

  constructor(message: string, symbol: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.symbol = symbol;
  }
}

/** Connections that are kept while a source is open. */
export class Connections {
  readonly #agents = new Map<string, http.Agent | https.Agent>();

  /** @throws TransportError, or a ComposefsError `aborted` */
  async send(request: HttpRequest): Promise<HttpResponse> {
    const { url, signal, timeouts, tls = {} } = request;
    throwIfAborted(signal);
    const isTls = url.protocol === "https:";
    const options: https.RequestOptions = {
      method: request.method ?? "GET",
      host: url.hostname.replace(/^\[|\]$/g, ""),
      port: url.port || (isTls ? 443 : 80),
      path: `${url.pathname}${url.search}`,
      headers: { host: url.host, "accept-encoding": "identity", ...request.headers },
      ...(request.socketPath === undefined
        ? { agent: this.#agent(url, tls) }
        : { agent: false as const, socketPath: request.socketPath }),
      ...(isTls ? tls : {}),
    };
    return new Promise((resolve, reject) => {
      const outgoing = (isTls ? https : http).request(options);
      let isSettled = false;
      const settle = () => {
        isSettled = true;
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
      };
      // Told here and not by the request's own event, which Deno does not send for a request that is destroyed while it waits.
      const fail = (error: unknown) => {
        if (isSettled) return;
        settle();
        reject(asTransportError(error));
        outgoing.destroy();
      };
      const abort = () => fail(new Error("interrupted"));
      const late = () => fail(new TransportError(`no answer within ${timeouts.head / 1000} s`, "ETIMEDOUT"));
      let timer = setTimeout(late, timeouts.head);
      let isSent = false;
      const proceed = () => {
        if (isSettled) return false;
        clearTimeout(timer);
        timer = setTimeout(late, timeouts.head);
        return true;
      };
      signal?.addEventListener("abort", abort, { once: true });
      outgoing.on("error", fail);
      outgoing.on("response", (incoming) => {
        if (isSettled) {
          incoming.destroy();
          return;
        }
        settle();
        // What was not sent any more would be taken for the next request on this connection.
        if (!isSent) incoming.once("close", () => outgoing.destroy());
        resolve({
          status: incoming.statusCode ?? 0,
          header: (name) => {
            const value = incoming.headers[name];
            return Array.isArray(value) ? value.join(", ") : value;
          },
          body: readBody(incoming, timeouts.idle, signal),
          discard: () => {
            // A small rest is read, so that the connection can be used again.
            if (Number(incoming.headers["content-length"] ?? Number.NaN) <= SMALL_REST)
              incoming.on("error", () => {}).resume();
            else incoming.destroy();
          },
        });
      });
      const { body } = request;
      if (body === undefined || typeof body === "string" || body instanceof Uint8Array) {
        isSent = true;
        outgoing.end(body);
      } else {
        const send = async () => {
          isSent = await sendBody(outgoing, body, proceed);
        };
        send().catch(fail);
      }
    });
  }

  /** Closes what is left open. */
  close(): void {
    for (const agent of this.#agents.values()) agent.destroy();
    this.#agents.clear();
  }

  #agent(url: URL, tls: TlsFiles): http.Agent | https.Agent {
    const key = `${url.protocol}//${url.host}`;
    let agent = this.#agents.get(key);
    if (agent === undefined) {
      const options = { keepAlive: true, maxSockets: 8 };
      const proxy = proxyFor(url, process.env);
      if (proxy !== undefined)
        agent = proxyAgent(url, proxy, url.protocol === "https:" ? { ...options, ...tls } : options);
      else agent = url.protocol === "https:" ? new https.Agent({ ...options, ...tls }) : new http.Agent(options);
      this.#agents.set(key, agent);
    }
    return agent;
  }
}

/** Sends a body at the pace of the other side; gives false when the answer came before its end. */
async function sendBody(
  outgoing: http.ClientRequest,
  body: AsyncIterable<Uint8Array>,
  proceed: () => boolean,
): Promise<boolean> {
  for await (const chunk of body) {
    if (!proceed()) return false;
    // Called when the chunk is handed over, and when it cannot be any more: then the request's own error says why.
    await new Promise<void>((resolve) => {
      outgoing.once("close", resolve);
      outgoing.write(chunk, () => {
        outgoing.off("close", resolve);
        resolve();
      });
    });
  }
  if (!proceed()) return false;
  outgoing.end();
  return true;
}

async function* readBody(
  incoming: http.IncomingMessage,
  idle: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  const chunks = incoming[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
  const abort = () => incoming.destroy(new Error("interrupted"));
  // Without a listener an error between two reads would end the program.
  incoming.on("error", () => {});
  signal?.addEventListener("abort", abort, { once: true });
  let waited = 0;
  let progress = 0;
  try {
    for (;;) {
      const start = performance.now();
      const timer = setTimeout(
        () => incoming.destroy(new TransportError(`hardly anything came in ${idle / 1000} s`, "ETIMEDOUT")),
        Math.max(1, idle - waited),
      );
      let result: IteratorResult<Uint8Array>;
      try {
        result = await chunks.next();
      } finally {
        clearTimeout(timer);
      }
      throwIfAborted(signal);
      if (result.done === true) return;
      waited += performance.now() - start;
      progress += result.value.length;
      if (progress >= PROGRESS) waited = progress = 0;
      yield result.value;
    }
  } catch (error) {
    throwIfAborted(signal);
    throw asTransportError(error);
  } finally {
    signal?.removeEventListener("abort", abort);
    if (!incoming.complete) incoming.destroy();
  }
}

function asTransportError(error: unknown): unknown {
  // What makes the body of a request has errors of its own.
  if (error instanceof TransportError || error instanceof ComposefsError) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  const symbol = typeof code === "string" ? code : "";
  const text = /^write EPROTO|wrong.version.number|InvalidContentType/i.test(`${symbol} ${message}`)
    ? "the server does not speak TLS"
    : symbol === "ECONNREFUSED"
      ? "connection refused"
      : symbol === "ECONNRESET"
        ? "the connection was cut"
        : symbol === "ENOTFOUND" || symbol === "EAI_AGAIN"
          ? "there is no address for that name"
          : message || symbol;
  return new TransportError(text, symbol, error);
}

/** Bundles of certificates, as distributions place them; the first one counts. */
const BUNDLES = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/ca-bundle.pem",
  "/etc/ssl/cert.pem",
];

/**
 * The certificates for a host: the system's, or those that `SSL_CERT_FILE` names instead, and those below `certs.d/HOST[:PORT]`, of
 * which `*.crt` are authorities and `X.cert` with `X.key` is shown to the server.
 *
 * @param host with its port, as in the URL
 */
export async function tlsFiles(
  host: string,
  env: Readonly<Record<string, string | undefined>> = process.env,
): Promise<TlsFiles> {
  const ca: string[] = [];
  const named = env["SSL_CERT_FILE"];
  if (named) ca.push(await readFile(named, "utf8").catch((e: unknown) => unreadable(e, named)));
  else ca.push(...((await firstFile(BUNDLES)) ?? rootCertificates));
  const extra = env["NODE_EXTRA_CA_CERTS"];
  if (extra) ca.push(await readFile(extra, "utf8").catch((e: unknown) => unreadable(e, extra)));
  let cert: string | undefined;
  let key: string | undefined;
  const home = env["HOME"] || homedir();
  // A host has no `/` and no `..`: it comes out of a URL.
  const folders = [join(home, ".config/containers/certs.d"), "/etc/containers/certs.d", "/etc/docker/certs.d"];
  for (const folder of folders.map((one) => join(one, host))) {
    const names: string[] = await readdir(folder).catch(() => []);
    names.sort();
    for (const name of names) {
      const path = join(folder, name);
      if (name.endsWith(".crt")) ca.push(await readFile(path, "utf8").catch((e: unknown) => unreadable(e, path)));
      if (!name.endsWith(".cert") || cert !== undefined) continue;
      const keyPath = path.replace(/\.cert$/, ".key");
      key = await readFile(keyPath, "utf8").catch((e: unknown) => unreadable(e, keyPath));
      cert = await readFile(path, "utf8").catch((e: unknown) => unreadable(e, path));
    }
  }
  return { ca, ...(cert === undefined || key === undefined ? {} : { cert, key }) };
}

function unreadable(error: unknown, path: string): never {
  throw systemError(error, `reading the certificates in ${path}`, path);
}

async function firstFile(paths: readonly string[]): Promise<string[] | undefined> {
  for (const path of paths) {
    const text = await readFile(path, "utf8").catch(() => undefined);
    if (text !== undefined) return [text];
  }
  return undefined;
}
