// Image references: transport and name (docs/spec/oci.md, sections 2.1 and 2.2). Parsed once, passed on as a type.

import { ComposefsError } from "../error.ts";
import { isDigest, type Digest } from "./digest.ts";

/** A repository on a registry, with the version wanted. */
export interface RegistryName {
  /** The domain of the name, as in `quay.io` or `localhost:5000`. */
  readonly domain: string;
  /** The host that answers requests; differs from `domain` for docker.io only. */
  readonly host: string;
  /** The repository, as in `library/debian`. */
  readonly path: string;
  /** The tag; undefined when a digest is given, which then decides. */
  readonly tag: string | undefined;
  readonly digest: Digest | undefined;
}

/** A parsed reference; `text` is what the caller wrote. */
export type ImageReference =
  | { readonly transport: "oci" | "oci-archive"; readonly text: string; readonly name: string }
  | { readonly transport: "docker"; readonly text: string; readonly name: RegistryName }
  | { readonly transport: "dir"; readonly text: string; readonly path: string }
  | {
      readonly transport: "docker-archive" | "containers-storage" | "docker-daemon";
      readonly text: string;
      readonly name: string;
    };

const TRANSPORTS =
  "oci:DIR[:TAG], oci-archive:FILE[:TAG], docker://NAME[:TAG], dir:DIR, docker-archive:FILE[:NAME:TAG], docker-daemon:NAME[:TAG], containers-storage:NAME";

/** Every transport that {@link parseReference} knows. */
export type Transport = ImageReference["transport"];

/**
 * Parses `TRANSPORT:NAME`.
 *
 * @example
 * ```ts
 * parseReference("oci:./image:v1").transport; // "oci"
 * ```
 * @throws ComposefsError `invalid` when the transport is missing or unknown, or its name does not follow the rules
 */
export function parseReference(text: string): ImageReference {
  const fail = (reason: string, hint: string) =>
    new ComposefsError("invalid", `image reference ${JSON.stringify(text)}: ${reason}`, { hint });
  const colon = text.indexOf(":");
  if (colon < 0) {
    throw fail("it names no transport", `write the transport before a colon: ${TRANSPORTS}`);
  }
  const prefix = text.slice(0, colon);
  let name = text.slice(colon + 1);
  switch (prefix) {
    case "docker":
      if (!name.startsWith("//")) {
        throw fail("`docker:` needs `//` after it", `write docker://${name.replace(/^\/+/, "") || "NAME"}`);
      }
      name = name.slice(2);
      break;
    case "registry":
    case "oci":
    case "oci-archive":
    case "dir":
    case "docker-archive":
    case "containers-storage":
    case "docker-daemon":
      break;
    default: {
      const looksLikeName =
        /^[a-z0-9.-]+(?::\d+)?\/|^[a-z0-9._/-]+:[A-Za-z0-9._-]+$/.test(text) && !text.includes("//");
      const hint = looksLikeName
        ? `for an image on a registry write docker://${text}; all transports: ${TRANSPORTS}`
        : `the transports are ${TRANSPORTS}`;
      throw fail(`there is no transport ${JSON.stringify(prefix)}`, hint);
    }
  }
  if (name === "") throw fail("nothing follows the transport", `the transports are ${TRANSPORTS}`);
  if (name.includes("\0")) throw fail("it contains a NUL byte", "remove it");
  switch (prefix) {
    case "docker":
    case "registry":
      return { transport: "docker", text, name: parseRegistryName(name, text) };
    case "dir":
      return { transport: "dir", text, path: name };
    case "oci":
    case "oci-archive":
      return { transport: prefix, text, name };
    default:
      return { transport: prefix, text, name };
  }
}

/** A path, and the tag in the layout there; undefined when the reference has none. */
export interface LayoutName {
  readonly path: string;
  readonly tag: string | undefined;
}

/**
 * Splits the name of `oci:` and `oci-archive:` by its text alone: at the last colon, unless a `/` follows it.
 * An empty tag is a tag, which matches nothing.
 */
export function splitLayoutName(name: string): LayoutName {
  const colon = name.lastIndexOf(":");
  if (colon < 0 || name.includes("/", colon)) return { path: name, tag: undefined };
  return { path: name.slice(0, colon), tag: name.slice(colon + 1) };
}

/**
 * Every way to split the name of `oci:` and `oci-archive:`, most likely first: the textual rule, then each other
 * colon from the left (tags may contain colons and slashes, as `localhost/os:1`), then no tag at all. Whoever opens
 * the reference takes the first path that is a layout.
 */
export function layoutNameSplits(name: string): LayoutName[] {
  const splits = [splitLayoutName(name)];
  for (let colon = name.indexOf(":"); colon >= 0; colon = name.indexOf(":", colon + 1)) {
    if (colon > 0) splits.push({ path: name.slice(0, colon), tag: name.slice(colon + 1) });
  }
  splits.push({ path: name, tag: undefined });
  return splits.filter((split, i) => splits.findIndex((s) => s.path === split.path && s.tag === split.tag) === i);
}

/**
 * Every way to split the name of `docker-archive:`, most likely first: at each colon from the left, since the name of
 * the image has colons itself; then no name at all.
 */
export function archiveNameSplits(name: string): LayoutName[] {
  const splits: LayoutName[] = [];
  for (let colon = name.indexOf(":"); colon >= 0; colon = name.indexOf(":", colon + 1)) {
    if (colon > 0) splits.push({ path: name.slice(0, colon), tag: name.slice(colon + 1) });
  }
  return [...splits, { path: name, tag: undefined }];
}

/** The host that answers requests about a domain. */
export function registryHost(domain: string): string {
  return domain === "docker.io" ? "registry-1.docker.io" : domain;
}

const COMPONENT = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const DOMAIN =
  /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*(?::[0-9]+)?$|^\[[0-9a-fA-F:]+\](?::[0-9]+)?$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;

/**
 * Parses `[domain/]path[:tag][@digest]` and completes it: docker.io, `library/` and `latest` where they are implied.
 *
 * @param text the whole reference, for messages
 * @throws ComposefsError `invalid`
 */
export function parseRegistryName(name: string, text = name): RegistryName {
  const fail = (reason: string, hint = "a name looks like quay.io/project/image:tag or image@sha256:HEX") =>
    new ComposefsError("invalid", `image reference ${JSON.stringify(text)}: ${reason}`, { hint });
  let rest = name;
  let digest: Digest | undefined;
  const at = rest.indexOf("@");
  if (at >= 0) {
    digest = rest.slice(at + 1);
    rest = rest.slice(0, at);
    if (!isDigest(digest)) throw fail(`${JSON.stringify(digest)} is not a digest`);
  }
  let tag: string | undefined;
  const colon = rest.lastIndexOf(":");
  if (colon > rest.lastIndexOf("/")) {
    tag = rest.slice(colon + 1);
    rest = rest.slice(0, colon);
    if (!TAG.test(tag)) {
      throw fail(`${JSON.stringify(tag)} is not a tag`, "tags are up to 128 letters, digits, `_`, `.` and `-`");
    }
  }
  const slash = rest.indexOf("/");
  const first = slash < 0 ? "" : rest.slice(0, slash);
  const hasDomain = first !== "" && (/[.:]/.test(first) || first === "localhost");
  let domain = hasDomain ? first : "docker.io";
  let path = hasDomain ? rest.slice(slash + 1) : rest;
  if (!DOMAIN.test(domain)) throw fail(`${JSON.stringify(domain)} is not a host name`);
  if (domain === "index.docker.io") domain = "docker.io";
  if (domain === "docker.io" && !path.includes("/")) path = `library/${path}`;
  for (const component of path.split("/")) {
    if (COMPONENT.test(component)) continue;
    if (COMPONENT.test(component.toLowerCase())) {
      throw fail("the repository name must be lower case", `write ${name.toLowerCase()}`);
    }
    throw fail(`${JSON.stringify(component)} is not a component of a repository name`);
  }
  if (`${domain}/${path}`.length > 255) throw fail("the name is longer than 255 characters");
  if (digest !== undefined) tag = undefined;
  else tag ??= "latest";
  return { domain, host: registryHost(domain), path, tag, digest };
}
