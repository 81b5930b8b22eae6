// The engine of Docker, or of podman, which speaks the same (docs/spec/oci.md, section 2.1): where it listens, which version of its API
// both sides know, and the two requests that bring an image.

import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { ComposefsError, systemError, throwIfAborted } from "../../error.ts";
import { errorTextOf } from "../registry/error-body.ts";
import { Connections, TransportError, type HttpResponse, type TlsFiles } from "../registry/http.ts";

/** The newest version of the API that is asked for; older engines get what they offer. */
const NEWEST_API = [1, 47] as const;

/** An engine may pack the whole image before the first byte of it comes. */
const TIMEOUTS = { head: 30 * 60_000, idle: 10 * 60_000 };

type Environment = Readonly<Record<string, string | undefined>>;

/** Where an engine listens. */
export type EngineAddress =
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "tcp"; readonly url: URL; readonly certificates: string | undefined };

/**
 * Reads `DOCKER_HOST`, and `DOCKER_TLS_VERIFY` with `DOCKER_CERT_PATH`; without them, the engine listens where it does by default.
 *
 * @throws ComposefsError `unsupported` for addresses that are neither unix:// nor tcp://, `invalid`
 */
export function engineAddress(env: Environment): EngineAddress {
  const text = env["DOCKER_HOST"] || "unix:///var/run/docker.sock";
  const [, scheme = "", rest = ""] = /^([a-z]+):\/\/(.*)$/s.exec(text) ?? [];
  if (scheme === "unix") {
    if (rest.startsWith("/")) return { kind: "unix", path: rest };
    throw new ComposefsError("invalid", `DOCKER_HOST=${text} names no absolute path`, {
      hint: "write unix:///PATH/OF/docker.sock",
    });
  }
  if (scheme === "tcp" || scheme === "http" || scheme === "https") {
    const certificates = env["DOCKER_CERT_PATH"] || join(env["HOME"] ?? "", ".docker");
    const isTls = Boolean(env["DOCKER_TLS_VERIFY"]) || scheme === "https";
    const href = `${isTls ? "https" : "http"}://${rest}`;
    if (URL.canParse(href)) {
      const url = new URL(href);
      if (url.port === "") url.port = isTls ? "2376" : "2375";
      return { kind: "tcp", url, certificates: isTls ? certificates : undefined };
    }
    throw new ComposefsError("invalid", `DOCKER_HOST=${text} is no address`, { hint: "write tcp://HOST:PORT" });
  }
  throw new ComposefsError("unsupported", `DOCKER_HOST=${text}: only unix:// and tcp:// are supported`, {
    hint: "set DOCKER_HOST to one of these, or use `docker save -o FILE NAME` and docker-archive:FILE",
  });
}

/** A connection to an engine. */
export class DockerEngine {
  readonly #address: EngineAddress;
  readonly #connections = new Connections();
  #tls: TlsFiles = {};
  #prefix = "";

  private constructor(address: EngineAddress) {
    this.#address = address;
  }

  /**
   * Connects, and agrees on a version.
   *
   * @throws ComposefsError `not-found` when nothing listens there, `permission`, `io`
   */
  static async connect(env: Environment, signal?: AbortSignal): Promise<DockerEngine> {
    const engine = new DockerEngine(engineAddress(env));
    try {
      const { certificates } = engine.#address as { certificates?: string };
      if (certificates !== undefined) engine.#tls = await readCertificates(certificates);
      const response = await engine.#get("/_ping", signal);
      const offered = /^(\d{1,3})\.(\d{1,3})$/.exec(response.header("api-version") ?? "");
      response.discard();
      if (response.status !== 200) {
        throw new ComposefsError("io", `${engine.name} is no Docker engine: it answers ${response.status}`, {
          hint: "check DOCKER_HOST",
        });
      }
      if (offered !== null) engine.#prefix = `/v${lower([Number(offered[1]), Number(offered[2])], NEWEST_API)}`;
      return engine;
    } catch (error) {
      engine.close();
      throw error;
    }
  }

  /** What it is called in messages. */
  get name(): string {
    return `the Docker engine at ${addressText(this.#address)}`;
  }

  /**
   * The archive of an image, as `docker save` writes it.
   *
   * @param image a name or an id that holds nothing but letters, digits and `._/:@-`
   * @throws ComposefsError `not-found` when it has no such image, `io`, `aborted`
   */
  async *save(image: string, signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    // Asked first: some engines begin an archive and break it off when there is no such image.
    const found = await this.#get(`${this.#prefix}/images/${image}/json`, signal);
    if (found.status !== 200) throw await this.#failure(found, image);
    found.discard();
    const response = await this.#get(`${this.#prefix}/images/${image}/get`, signal);
    if (response.status !== 200) throw await this.#failure(response, image);
    try {
      yield* response.body;
    } catch (error) {
      throwIfAborted(signal);
      if (!(error instanceof TransportError)) throw error;
      throw new ComposefsError("io", `${this.name} broke off the archive of ${image}: ${error.message}`, {
        cause: error,
        hint: "look into the engine's log; its disk may be full",
      });
    }
  }

  /** Closes the connections. */
  close(): void {
    this.#connections.close();
  }

  async #get(path: string, signal: AbortSignal | undefined): Promise<HttpResponse> {
    const address = this.#address;
    const request = { headers: { "user-agent": "composefs-js" }, timeouts: TIMEOUTS, signal };
    try {
      if (address.kind === "unix") {
        const url = new URL(`http://docker${path}`);
        return await this.#connections.send({ ...request, url, socketPath: address.path });
      }
      return await this.#connections.send({ ...request, url: new URL(path, address.url), tls: this.#tls });
    } catch (error) {
      throwIfAborted(signal);
      throw unreachable(error, address, this.name);
    }
  }

  async #failure(response: HttpResponse, image: string): Promise<ComposefsError> {
    const said = await messageOf(response);
    const about = `${this.name} answers ${response.status}${said === "" ? "" : ` (${said})`}`;
    if (response.status === 404) {
      return new ComposefsError("not-found", `there is no image ${image}: ${about}`, {
        hint: "`docker images` lists the images that it has; to pull from a registry write docker://NAME",
      });
    }
    return new ComposefsError("io", `cannot get the image ${image}: ${about}`);
  }
}

function addressText(address: EngineAddress): string {
  return address.kind === "unix" ? address.path : address.url.host;
}

function lower(a: readonly [number, number], b: readonly [number, number]): string {
  return (a[0] - b[0] || a[1] - b[1]) < 0 ? a.join(".") : b.join(".");
}

async function readCertificates(folder: string): Promise<TlsFiles> {
  const read = async (name: string) => {
    const path = join(folder, name);
    try {
      return await readFile(path, "utf8");
    } catch (error) {
      throw systemError(error, `reading the certificates for the Docker engine in ${path}`, path);
    }
  };
  return { ca: [await read("ca.pem")], cert: await read("cert.pem"), key: await read("key.pem") };
}

function unreachable(error: unknown, address: EngineAddress, name: string): unknown {
  if (!(error instanceof TransportError)) return error;
  const otherwise = "or use `docker save -o FILE NAME` and docker-archive:FILE";
  const isMissing = error.symbol === "ENOENT";
  const isForbidden = error.symbol === "EACCES" || error.symbol === "EPERM";
  const hint = isMissing
    ? `start Docker, or set DOCKER_HOST to where it listens (podman: unix://$XDG_RUNTIME_DIR/podman/podman.sock), ${otherwise}`
    : isForbidden
      ? `be root or in the group that may use the socket, set DOCKER_HOST to a socket of your own, ${otherwise}`
      : `check that the engine runs and that DOCKER_HOST is right, ${otherwise}`;
  const problem = isMissing ? "there is no such socket" : isForbidden ? "permission denied" : error.message;
  return new ComposefsError(
    isMissing ? "not-found" : isForbidden ? "permission" : "io",
    `cannot reach ${name}: ${problem}`,
    { cause: error, hint, ...(address.kind === "unix" ? { path: address.path } : {}) },
  );
}

function messageOf(response: HttpResponse): Promise<string> {
  return errorTextOf(
    response,
    ({ message, cause }) => [message, cause].find((one): one is string => typeof one === "string") ?? "",
  );
}
