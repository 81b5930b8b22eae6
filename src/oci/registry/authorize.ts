// Answers to a registry's challenges: basic credentials, or a token from its token server (docs/spec/oci.md, section 3.3).

import * as v from "valibot";

import { ComposefsError } from "../../error.ts";
import { parseJson } from "../json.ts";
import { checkDocument } from "../manifest.ts";
import { parseChallenges, type Challenge } from "./challenge.ts";
import type { Credentials } from "./credentials.ts";

/** The largest answer of a token server, in bytes. */
export const MAX_TOKEN_REPLY = 1 << 20;

/** What is asked of a token server. */
export interface TokenRequest {
  readonly method: "GET" | "POST";
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** How to answer a challenge. */
export type Answer =
  | { readonly kind: "header"; readonly authorization: string }
  | { readonly kind: "token"; readonly key: string; readonly request: TokenRequest };

/** A repository and who asks for it. */
export interface Asker {
  /** Without the host. */
  readonly path: string;
  /** What is to be done there; `pull` when left out. */
  readonly actions?: "pull" | "pull,push";
  /** The registry that sent the challenge. */
  readonly registry: URL;
  readonly credentials: Credentials | undefined;
}

/**
 * Decides how to answer a 401; undefined when nothing that is known helps. Credentials go to a token server over https, or over
 * http when it is the registry's own insecure host, and never else.
 *
 * @throws ComposefsError `invalid` when the challenge names no token server
 */
export function answerChallenge(header: string, asker: Asker): Answer | undefined {
  const challenges = parseChallenges(header);
  const bearer = challenges.find(({ scheme }) => scheme === "bearer");
  if (bearer !== undefined) return tokenAnswer(bearer, asker);
  const { credentials } = asker;
  if (challenges.every(({ scheme }) => scheme !== "basic") || credentials?.kind !== "basic") return undefined;
  return { kind: "header", authorization: basic(credentials) };
}

function tokenAnswer({ parameters }: Challenge, { path, registry, credentials, actions = "pull" }: Asker): Answer {
  const { realm = "", service, scope } = parameters;
  const url = URL.canParse(realm) ? new URL(realm) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw new ComposefsError(
      "invalid",
      `${registry.host} names no token server: its realm is ${JSON.stringify(realm)}`,
    );
  }
  // A realm may hold credentials of its own, which are nobody's to use.
  url.username = "";
  url.password = "";
  const isSafe = url.protocol === "https:" || (registry.protocol === "http:" && url.host === registry.host);
  const shown = isSafe ? credentials : undefined;
  const scopes = [`repository:${path}:${actions}`];
  if (scope !== undefined && scope !== scopes[0]) scopes.push(scope);
  const key = [url.href, service, ...scopes].join(" ");
  if (shown?.kind === "identity") {
    const form = new URLSearchParams({ grant_type: "refresh_token" });
    if (service !== undefined) form.set("service", service);
    form.set("scope", scopes.join(" "));
    form.set("client_id", "composefs");
    form.set("refresh_token", shown.token);
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    return { kind: "token", key, request: { method: "POST", url, headers, body: form.toString() } };
  }
  if (shown !== undefined) url.searchParams.append("account", shown.username);
  for (const one of scopes) url.searchParams.append("scope", one);
  if (service !== undefined) url.searchParams.append("service", service);
  const headers: Record<string, string> = shown === undefined ? {} : { authorization: basic(shown) };
  return { kind: "token", key, request: { method: "GET", url, headers } };
}

function basic({ username, password }: Extract<Credentials, { kind: "basic" }>): string {
  return `Basic ${Buffer.from(`${username}:${password}`, "utf8").toString("base64")}`;
}

/** A token, and until when it may be used, on the clock of `performance.now()`. */
export interface Token {
  readonly authorization: string;
  readonly expires: number;
}

const reply = v.object({
  token: v.nullish(v.string()),
  access_token: v.nullish(v.string()),
  expires_in: v.nullish(v.number()),
});

/**
 * Reads a token server's answer.
 *
 * @throws ComposefsError `invalid`
 */
export function parseToken(bytes: Uint8Array, server: string): Token {
  const what = `the answer of the token server ${server}`;
  const document = checkDocument(reply, parseJson(bytes, what, new Set(["token", "access_token", "expires_in"])), what);
  const token = document.token || document.access_token;
  // What is not visible ASCII would be another header.
  if (!token || !/^[\x21-\x7e]+$/.test(token)) throw new ComposefsError("invalid", `${what} holds no token`);
  // Ten seconds early, so that it does not run out on its way.
  const seconds = Math.max(60, document.expires_in ?? 60) - 10;
  return { authorization: `Bearer ${token}`, expires: performance.now() + seconds * 1000 };
}
