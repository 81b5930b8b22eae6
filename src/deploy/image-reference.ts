// References of the images that deployments follow (docs/spec/deployments.md, section 2.3.2): the value in an origin file, the target of
// a switch, and the forms in which status, transports and container storages want them.

import { ComposefsError } from "../error.ts";
import { canonicalImageName, imageNameWithTag, storageImageName } from "./image-name.ts";

/** How an image is checked when it is pulled; undefined where it is not. */
export type ImageSignature = "containerPolicy" | { readonly ostreeRemote: string };

const TRANSPORTS = [
  "registry",
  "oci",
  "oci-archive",
  "docker-archive",
  "containers-storage",
  "dir",
  "docker-daemon",
] as const;

/** Where images come from; a registry is `registry` here, whatever its spelling. */
export type ImageTransport = (typeof TRANSPORTS)[number];

/** A reference as status shows it. */
export interface HostImage {
  readonly image: string;
  readonly transport: ImageTransport;
  readonly signature?: ImageSignature | undefined;
}

/**
 * Parses the value `container-image-reference` of an origin file.
 *
 * @throws ComposefsError `invalid` with the reason `E_IMGREF_NO_COLON`, `E_IMGREF_SCHEME`, `E_IMGREF_DOCKER_SLASHES`,
 *   `E_IMGREF_TRANSPORT` or `E_IMGREF_EMPTY_NAME`
 * @example
 * ```ts
 * parseHostImage("ostree-unverified-image:docker://quay.io/os:1"); // { image: "quay.io/os:1", transport: "registry" }
 * ```
 */
export function parseHostImage(text: string): HostImage {
  const [scheme, rest] = atColon(text, text);
  switch (scheme) {
    case "ostree-unverified-image":
      return parseTransportReference(rest, text);
    case "ostree-unverified-registry":
      return named("registry", rest, text);
    case "ostree-image-signed":
      return { ...parseTransportReference(rest, text), signature: "containerPolicy" };
    case "ostree-remote-image": {
      const [remote, reference] = atColon(rest, text);
      return { ...parseTransportReference(reference, text), signature: { ostreeRemote: remote } };
    }
    case "ostree-remote-registry": {
      const [remote, name] = atColon(rest, text);
      return { ...named("registry", name, text), signature: { ostreeRemote: remote } };
    }
    default:
      throw failure(
        "E_IMGREF_SCHEME",
        text,
        `it begins with ${JSON.stringify(scheme)}`,
        "it must begin with ostree-unverified-image:, ostree-unverified-registry:, ostree-image-signed:, ostree-remote-image: or ostree-remote-registry:",
      );
  }
}

function parseTransportReference(reference: string, text: string): HostImage {
  const [prefix, name] = atColon(reference, text);
  if (prefix === "docker") {
    if (name.startsWith("//")) return named("registry", name.slice(2), text);
    throw failure("E_IMGREF_DOCKER_SLASHES", text, "after docker: there must be two slashes", `write docker://${name}`);
  }
  const transport = TRANSPORTS.find((one) => one === prefix);
  if (!transport) throw unknownTransport(prefix, text);
  return named(transport, name, text);
}

// Splits are at the first colon only: what follows may have any.
function atColon(part: string, text: string): [string, string] {
  const colon = part.indexOf(":");
  if (colon >= 0) return [part.slice(0, colon), part.slice(colon + 1)];
  throw failure(
    "E_IMGREF_NO_COLON",
    text,
    "signature and transport must stand before the name",
    `an example is ostree-unverified-image:docker://quay.io/project/os:1`,
  );
}

function named(transport: ImageTransport, image: string, text: string): HostImage {
  if (image !== "") return { image, transport };
  throw failure("E_IMGREF_EMPTY_NAME", text, "it names no image", "add the name of the image at its end");
}

function unknownTransport(prefix: string, text: string): ComposefsError {
  return failure(
    "E_IMGREF_TRANSPORT",
    text,
    `there is no transport ${JSON.stringify(prefix)}`,
    `the transports are ${TRANSPORTS.join(", ")}`,
  );
}

function failure(reason: string, text: string, message: string, hint: string): ComposefsError {
  return new ComposefsError("invalid", `image reference ${JSON.stringify(text)}: ${message}`, { reason, hint });
}

/**
 * The image that a switch is to go to, from the option for the transport and the name.
 *
 * @param transport as the user wrote it: a transport, a transport with a colon, or `docker://`
 * @throws ComposefsError `invalid` with the reason `E_IMGREF_TRANSPORT`, `E_IMGREF_EMPTY_NAME` or `E_IMGREF_NESTED_TRANSPORT`
 */
export function parseSwitchTarget(target: string, transport = "registry"): HostImage {
  const wanted = transport === "docker://" ? "registry" : transport.replace(/:$/, "");
  const known = TRANSPORTS.find((one) => one === wanted);
  if (!known) throw unknownTransport(transport, target);
  const nested = ["docker", ...TRANSPORTS].find((one) => target.startsWith(`${one}:`));
  if (nested !== undefined)
    throw failure(
      "E_IMGREF_NESTED_TRANSPORT",
      target,
      "the name itself begins with a transport",
      `give the transport as --transport ${nested === "docker" ? "registry" : nested}, and the name without it`,
    );
  return named(known, target, target);
}

/** The reference for a pull: `docker://NAME` for a registry, `TRANSPORT:NAME` otherwise. */
export function pullReference({ image, transport }: HostImage): string {
  return transport === "registry" ? `docker://${image}` : `${transport}:${image}`;
}

/** The value for an origin file. */
export function originReference(reference: HostImage): string {
  return `${signaturePrefix(reference)}:${pullReference(reference)}`;
}

/** The reference for people who want all of it. */
export function displayReference(reference: HostImage): string {
  return isPlainRegistry(reference) ? `ostree-unverified-registry:${reference.image}` : originReference(reference);
}

/** The reference for people: the name alone where it is an unverified one of a registry. */
export function shortReference(reference: HostImage): string {
  return isPlainRegistry(reference) ? reference.image : originReference(reference);
}

/** The name by which a container storage is asked for the image. */
export function storageReference({ image, transport }: HostImage): string {
  return transport === "registry" ? image : `${transport}:${image}`;
}

/** The name under which a container storage has the image. */
export function storageNameOf(reference: HostImage): string {
  return storageImageName(reference.transport === "containers-storage" ? reference.image : storageReference(reference));
}

/**
 * The name without what does not count: on a registry, a tag beside a digest.
 *
 * @throws ComposefsError `invalid` with the reason `E_REFERENCE_SYNTAX`
 */
export function canonicalReference({ image, transport }: HostImage): string {
  return transport === "registry" ? canonicalImageName(image) : image;
}

/** The reference with another tag; a digest goes. */
export function referenceWithTag(reference: HostImage, tag: string): HostImage {
  return { ...reference, image: imageNameWithTag(reference.image, tag) };
}

/** Whether two references are the same in name, transport and signature. */
export function sameReference(a: HostImage, b: HostImage): boolean {
  return a.image === b.image && a.transport === b.transport && signaturePrefix(a) === signaturePrefix(b);
}

function isPlainRegistry({ transport, signature }: HostImage): boolean {
  return transport === "registry" && signature === undefined;
}

function signaturePrefix({ signature }: HostImage): string {
  if (signature === undefined) return "ostree-unverified-image";
  if (signature === "containerPolicy") return "ostree-image-signed";
  return `ostree-remote-image:${signature.ostreeRemote}`;
}
