// Credentials for registries: the files of podman and Docker, and their helper programs (docs/spec/oci.md, section 3.3).

import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";

import * as v from "valibot";

import { ComposefsError, systemError } from "../../error.ts";
import { parseJson } from "../json.ts";
import { checkDocument } from "../manifest.ts";
import type { RegistryName } from "../reference.ts";

/** What to show a registry. */
export type Credentials =
  | { readonly kind: "basic"; readonly username: string; readonly password: string }
  | { readonly kind: "identity"; readonly token: string };

/** Where credentials are looked for. */
export interface CredentialOptions {
  /** A file that is looked at first and must be there. */
  readonly authFile?: string | undefined;
  /** The environment; the process's when left out. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
}

/** A helper that hangs, for example behind a dialog that nobody sees. */
const HELPER_TIMEOUT_MS = 60_000;

const entry = v.object({ auth: v.nullish(v.string()), identitytoken: v.nullish(v.string()) });
const authDocument = v.object({
  auths: v.nullish(v.record(v.string(), v.nullish(entry))),
  credHelpers: v.nullish(v.record(v.string(), v.string())),
  credsStore: v.nullish(v.string()),
});
const oldDocument = v.record(v.string(), v.nullish(entry));
type AuthDocument = v.InferOutput<typeof authDocument>;

/**
 * Finds credentials for a repository; undefined when there are none.
 *
 * @throws ComposefsError `not-found` when the file that was asked for is missing, `invalid` for files that are no such documents,
 *   `io` when a helper cannot be run or fails
 */
export async function findCredentials(
  name: Pick<RegistryName, "domain" | "path">,
  options: CredentialOptions = {},
): Promise<Credentials | undefined> {
  const env = options.env ?? process.env;
  for (const file of authFiles(options, env)) {
    const document = await readAuthFile(file);
    if (document === undefined) continue;
    const found = await lookUp(document, name, file.path, env);
    if (found !== undefined) return found;
  }
  return undefined;
}

interface AuthFile {
  readonly path: string;
  readonly isRequired?: boolean;
  readonly isOld?: boolean;
}

function authFiles({ authFile }: CredentialOptions, env: Readonly<Record<string, string | undefined>>): AuthFile[] {
  const home = env["HOME"] || homedir();
  const files: AuthFile[] = [];
  if (authFile !== undefined) files.push({ path: authFile, isRequired: true });
  else if (env["REGISTRY_AUTH_FILE"]) files.push({ path: env["REGISTRY_AUTH_FILE"] });
  const run = env["XDG_RUNTIME_DIR"] || `/run/containers/${process.getuid?.() ?? 0}`;
  const runtimeFile = env["XDG_RUNTIME_DIR"] ? join(run, "containers/auth.json") : join(run, "auth.json");
  files.push({ path: runtimeFile });
  files.push({ path: join(env["XDG_CONFIG_HOME"] || join(home, ".config"), "containers/auth.json") });
  files.push({ path: join(env["DOCKER_CONFIG"] || join(home, ".docker"), "config.json") });
  files.push({ path: join(home, ".dockercfg"), isOld: true });
  return files;
}

async function readAuthFile({ path, isRequired = false, isOld = false }: AuthFile): Promise<AuthDocument | undefined> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (!isRequired && (code === "ENOENT" || code === "ENOTDIR" || code === "EACCES")) return undefined;
    throw systemError(error, `reading the credentials in ${path}`, path);
  }
  if (bytes.length === 0) return undefined;
  const what = `the file of credentials ${path}`;
  try {
    const document = parseJson(bytes, what, new Set(["auths", "credHelpers", "credsStore"]));
    // The old form is the map itself.
    return isOld ? { auths: checkDocument(oldDocument, document, what) } : checkDocument(authDocument, document, what);
  } catch {
    // Neither as message nor as cause: both quote what is in the file.
    throw new ComposefsError("invalid", `${what} is not JSON of the form {"auths": {"HOST": {"auth": "..."}}}`, {
      path,
      hint: "repair it, or log in again",
    });
  }
}

async function lookUp(
  { auths, credHelpers, credsStore }: AuthDocument,
  { domain, path }: Pick<RegistryName, "domain" | "path">,
  file: string,
  env: Readonly<Record<string, string | undefined>>,
): Promise<Credentials | undefined> {
  const helper = own(credHelpers, domain) ?? (credsStore || undefined);
  if (helper !== undefined) {
    // Docker's own registry is stored under the address that it had once.
    const servers = domain === "docker.io" ? ["https://index.docker.io/v1/", "docker.io"] : [domain];
    for (const server of servers) {
      const found = await askHelper(helper, server, file, env);
      if (found !== undefined) return found;
    }
  }
  const keys = Object.keys(auths ?? {});
  const key = keysOf(domain, path).find((one) => keys.includes(one)) ?? keys.find((one) => hostOfKey(one) === domain);
  const value = key === undefined ? undefined : own(auths, key);
  if (value === undefined || value === null) return undefined;
  if (value.identitytoken) return { kind: "identity", token: value.identitytoken };
  if (!value.auth) return undefined;
  const text = Buffer.from(value.auth, "base64").toString("utf8");
  const colon = text.indexOf(":");
  if (colon < 0) {
    throw new ComposefsError("invalid", `${file}: the entry of ${key} is not base64 of USER:PASSWORD`, {
      path: file,
      hint: `log in again, as with \`podman login ${domain}\``,
    });
  }
  return { kind: "basic", username: text.slice(0, colon), password: text.slice(colon + 1).replace(/\0+$/, "") };
}

function own<T>(map: Readonly<Record<string, T>> | null | undefined, key: string): T | undefined {
  return map && Object.hasOwn(map, key) ? map[key] : undefined;
}

/** The repository, then each namespace above it, then the host. */
function keysOf(domain: string, path: string): string[] {
  const parts = path.split("/");
  return Array.from({ length: parts.length + 1 }, (_, i) => [domain, ...parts.slice(0, parts.length - i)].join("/"));
}

/** The host of a key that is a URL, as `https://index.docker.io/v1/`. */
function hostOfKey(key: string): string | undefined {
  const match = /^https?:\/\/([^/]+)/.exec(key);
  const host = match?.[1];
  return host === "index.docker.io" || host === "registry-1.docker.io" ? "docker.io" : host;
}

async function askHelper(
  name: string,
  server: string,
  file: string,
  env: Readonly<Record<string, string | undefined>>,
): Promise<Credentials | undefined> {
  if (!/^[A-Za-z0-9_.-]+$/.test(name)) {
    throw new ComposefsError("invalid", `${file}: ${JSON.stringify(name)} is no name of a credential helper`, {
      path: file,
    });
  }
  const program = `docker-credential-${name}`;
  const { status, stdout } = await runHelper(program, server, file, env);
  if (status !== 0) {
    if (/credentials not found/i.test(stdout)) return undefined;
    throw new ComposefsError(
      "io",
      `${program} failed for ${server} with status ${status}: ${stdout.trim().slice(0, 300)}`,
      {
        path: file,
        hint: `try \`echo ${server} | ${program} get\`, or remove the helper from ${file}`,
      },
    );
  }
  const reply = helperReply(stdout, program);
  if (reply.Secret === "") return undefined;
  if (reply.Username === "<token>") return { kind: "identity", token: reply.Secret };
  return { kind: "basic", username: reply.Username, password: reply.Secret };
}

const helperDocument = v.object({ Username: v.string(), Secret: v.string() });

function helperReply(text: string, program: string): v.InferOutput<typeof helperDocument> {
  const what = `the answer of ${program}`;
  try {
    return checkDocument(helperDocument, parseJson(Buffer.from(text), what, new Set(["Username", "Secret"])), what);
  } catch {
    // As above: nothing of the answer is shown.
    throw new ComposefsError("invalid", `${what} is not JSON with Username and Secret`);
  }
}

async function runHelper(
  program: string,
  server: string,
  file: string,
  env: Readonly<Record<string, string | undefined>>,
): Promise<{ status: number | null; stdout: string }> {
  const { execFile } = await import("node:child_process");
  return new Promise((resolve, reject) => {
    const options = { timeout: HELPER_TIMEOUT_MS, maxBuffer: 1 << 20, encoding: "utf8", env: { ...env } } as const;
    const child = execFile(program, ["get"], options, (error, stdout) => {
      if (error === null) return resolve({ status: 0, stdout });
      if (typeof error.code === "number") return resolve({ status: error.code, stdout });
      const missing = error.code === "ENOENT";
      const hint = missing ? `install ${program}, or remove the helper from ${file}` : undefined;
      return reject(
        new ComposefsError(
          "io",
          `${file} names the credential helper ${program}, which ${missing ? "is not installed" : "did not answer"}`,
          {
            cause: error,
            path: file,
            ...(hint === undefined ? {} : { hint }),
          },
        ),
      );
    });
    // A helper that does not read must not break the program.
    child.stdin?.on("error", () => {});
    child.stdin?.end(`${server}\n`);
  });
}
