// Proxies from the environment (docs/spec/oci.md, section 3.2): HTTPS_PROXY, HTTP_PROXY and NO_PROXY, in lower case too.
// Current runtimes have agents that speak to proxies; older versions of Node get a tunnel made here.

import { Agent as HttpAgent } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import { connect as netConnect, type Socket } from "node:net";
import { connect as tlsConnect } from "node:tls";

/** Longest answer of a proxy to the wish for a tunnel. */
const MAX_HEAD = 16 << 10;

/**
 * The proxy for a URL; undefined for none. Loopback is never reached through one.
 *
 * @example
 * ```ts
 * proxyFor(new URL("https://h.example/"), { HTTPS_PROXY: "http://proxy:3128" })?.host; // "proxy:3128"
 * ```
 */
export function proxyFor(url: URL, env: Readonly<Record<string, string | undefined>>): URL | undefined {
  const variable = url.protocol === "https:" ? "HTTPS_PROXY" : "HTTP_PROXY";
  const text = env[variable] || env[variable.toLowerCase()];
  const host = url.hostname.replace(/^\[|\]$/g, "");
  if (!text || host === "localhost" || host === "::1" || /^127\.\d+\.\d+\.\d+$/.test(host)) return undefined;
  for (const entry of (env["NO_PROXY"] || env["no_proxy"] || "").split(/[\s,]+/)) {
    if (entry === "*") return undefined;
    const name = entry.toLowerCase().replace(/^\*?\./, "");
    if (name !== "" && (host === name || url.host === name || host.endsWith(`.${name}`))) return undefined;
  }
  const full = text.includes("://") ? text : `http://${text}`;
  const proxy = URL.canParse(full) ? new URL(full) : undefined;
  return proxy !== undefined && /^https?:$/.test(proxy.protocol) ? proxy : undefined;
}

/** Whether agents take proxies: Deno and Bun, Node from 22.21 and 24.5 on. */
const AGENTS_KNOW_PROXIES = (() => {
  if ("Deno" in globalThis || "Bun" in globalThis) return true;
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  return major > 24 || (major === 24 && minor >= 5) || (major === 22 && minor >= 21);
})();

/** An agent that goes through the proxy. */
export function proxyAgent(url: URL, proxy: URL, options: object): HttpAgent | HttpsAgent {
  const isTls = url.protocol === "https:";
  if (AGENTS_KNOW_PROXIES) {
    const proxyEnv = { HTTP_PROXY: proxy.href, HTTPS_PROXY: proxy.href };
    return new (isTls ? HttpsAgent : HttpAgent)({ ...options, proxyEnv } as object);
  }
  // A tunnel for plain http too, so that requests need not be written in another form.
  const agent = new (isTls ? HttpsAgent : HttpAgent)(options);
  const port = url.port || (isTls ? "443" : "80");
  const create = (given: object, callback: (error: Error | null, socket?: Socket) => void): undefined => {
    tunnel(proxy, `${url.hostname}:${port}`, (result) => {
      if (result instanceof Error) callback(result);
      else
        callback(null, isTls ? tlsConnect({ ...options, ...given, socket: result, servername: url.hostname }) : result);
    });
  };
  Object.assign(agent, { createConnection: create });
  return agent;
}

function tunnel(proxy: URL, target: string, done: (result: Socket | Error) => void): void {
  const port = Number(proxy.port || (proxy.protocol === "https:" ? 443 : 80));
  const host = proxy.hostname.replace(/^\[|\]$/g, "");
  const socket =
    proxy.protocol === "https:" ? tlsConnect({ host, port, servername: host }) : netConnect({ host, port });
  const user = decodeURIComponent(proxy.username);
  const login = Buffer.from(`${user}:${decodeURIComponent(proxy.password)}`).toString("base64");
  const authorization = user === "" ? "" : `Proxy-Authorization: Basic ${login}\r\n`;
  let head = Buffer.alloc(0);
  const fail = (message: string) => {
    socket.destroy();
    done(new Error(`the proxy ${proxy.host}: ${message}`));
  };
  const onError = (error: Error) => fail(error.message);
  const onClose = () => fail("it closed the connection");
  const onData = (bytes: Buffer) => {
    head = Buffer.concat([head, bytes]);
    const end = head.indexOf("\r\n\r\n");
    if (end < 0 && head.length < MAX_HEAD) return;
    socket.removeListener("data", onData).removeListener("error", onError).removeListener("close", onClose);
    const status = /^HTTP\/1\.[01] (\d{3})/.exec(head.toString("latin1"))?.[1];
    if (end < 0 || status !== "200") return fail(`it makes no tunnel to ${target} (${status ?? "no HTTP"})`);
    if (head.length > end + 4) return fail("it sends more than its answer");
    return done(socket);
  };
  socket.on("data", onData).on("error", onError).on("close", onClose);
  socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n${authorization}\r\n`);
}
