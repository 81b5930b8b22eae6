// Names of images on registries as they are written down in an origin file (docs/spec/deployments.md, section 2.3.2): taken apart without
// being completed, so that what is not changed stays as it is.

import type { Digest } from "../oci/digest.ts";
import { ComposefsError } from "../error.ts";

/** A name taken apart; joined again it is the same text. */
export interface ImageName {
  /** Domain, if any, and path. */
  readonly repository: string;
  readonly tag: string | undefined;
  readonly digest: string | undefined;
}

const DOMAIN = /^[A-Za-z0-9]+(?:-+[A-Za-z0-9]+)*(?:\.[A-Za-z0-9]+(?:-+[A-Za-z0-9]+)*)*(?::[0-9]+)?$/;
const COMPONENT = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const DIGEST = /^(?:sha256:[0-9a-fA-F]{64}|sha384:[0-9a-fA-F]{96}|sha512:[0-9a-fA-F]{128})$/;

/** Parses `[domain/]path[:tag][@digest]`; undefined when the text does not follow that. */
export function parseImageName(text: string): ImageName | undefined {
  const at = text.indexOf("@");
  const digest = at < 0 ? undefined : text.slice(at + 1);
  let repository = at < 0 ? text : text.slice(0, at);
  const colon = repository.lastIndexOf(":");
  let tag: string | undefined;
  if (colon > repository.lastIndexOf("/")) {
    tag = repository.slice(colon + 1);
    repository = repository.slice(0, colon);
  }
  const slash = repository.indexOf("/");
  const first = repository.slice(0, Math.max(slash, 0));
  const isDomain = /[.:]/.test(first) || first === "localhost";
  const path = isDomain ? repository.slice(slash + 1) : repository;
  if (isDomain && !DOMAIN.test(first)) return undefined;
  if (path.length > 255 || !path.split("/").every((component) => COMPONENT.test(component))) return undefined;
  if (tag !== undefined && !TAG.test(tag)) return undefined;
  if (digest !== undefined && !DIGEST.test(digest)) return undefined;
  return { repository, tag, digest };
}

/**
 * The name without its tag where it also has a digest, which then decides.
 *
 * @throws ComposefsError `invalid` with the reason `E_REFERENCE_SYNTAX`
 */
export function canonicalImageName(text: string): string {
  const name = parseImageName(text);
  if (!name)
    throw new ComposefsError("invalid", `${JSON.stringify(text)} is not the name of an image`, {
      reason: "E_REFERENCE_SYNTAX",
      hint: "a name looks like quay.io/project/image:tag or image@sha256:HEX, the path in lower case",
    });
  return name.digest === undefined ? text : `${name.repository}@${name.digest}`;
}

/** The name with another tag and without digest. What is no name is cut at its first `@` and last colon. */
export function imageNameWithTag(text: string, tag: string): string {
  const name = parseImageName(text);
  if (name) return `${name.repository}:${tag}`;
  const cut = text.split("@", 1)[0] ?? "";
  const colon = cut.lastIndexOf(":");
  return `${colon < 0 ? cut : cut.slice(0, colon)}:${tag}`;
}

/** The name as container storages have it: with a digest without tag, and with the tag `latest` where there is neither. */
export function storageImageName(text: string): string {
  const name = parseImageName(text);
  if (!name) return text;
  if (name.digest !== undefined) return `${name.repository}@${name.digest}`;
  return `${name.repository}:${name.tag ?? "latest"}`;
}

/**
 * A name of our own for the image of a deployment in a container storage: what came out of a file has none by which it could be known,
 * and must not be taken for an image that nobody needs.
 */
export function deploymentImageName(manifest: Digest): string {
  // A tag has up to 128 characters.
  return `localhost/bootc-deployment:${manifest.replace(":", "-").slice(0, 128)}`;
}
