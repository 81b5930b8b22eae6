// Which image a name means (docs/spec/containers-storage.md, section 2).

import { nearNames } from "../../near-names.ts";
import { storageError } from "./fault.ts";
import type { StoredImage } from "./image-index.ts";

/** An image, and the manifest that was asked for, if one was. */
export interface FoundImage {
  readonly image: StoredImage;
  /** The digest in the name, where it is that of one of the image's manifests. */
  readonly manifestDigest: string | undefined;
}

/**
 * Finds an image by name, digest, id, or the beginning of an id.
 *
 * @param images of all stores, in their order
 * @throws ComposefsError `not-found` (`no-image`) with names that are near, `invalid` (`ambiguous`) with all that match
 */
export function findImage(images: readonly StoredImage[], wanted: string): FoundImage {
  for (const step of [byDigest, byExactName, byNameAndDigest, byShortName, byIdPrefix]) {
    const matches = step(images, wanted);
    const [first] = matches;
    if (first === undefined) continue;
    const others = new Set(matches.map(({ image }) => image.id));
    if (others.size === 1) return first;
    const listed = matches.map(({ image }) => `${image.names[0] ?? "<none>"} (${image.id.slice(0, 12)})`);
    throw storageError(
      "ambiguous",
      `${JSON.stringify(wanted)} means several images: ${[...new Set(listed)].join(", ")}`,
      {
        hint: "write the whole name, or the id",
      },
    );
  }
  const stores = [...new Set(images.map(({ root }) => root))];
  const names = [...new Set(images.flatMap((image) => image.names))].toSorted();
  const near = nearNames(wanted, [...names, ...names.map(withoutHost)]).slice(0, 3);
  const hint =
    near.length > 0
      ? `did you mean ${near.join(", ")}?`
      : names.length > 0
        ? `there are ${names.slice(0, 10).join(", ")}${names.length > 10 ? ", ..." : ""}`
        : "it has no images with names";
  const where =
    stores.length === 0 ? "the container store, which is empty" : `the container store ${stores.join(", ")}`;
  throw storageError("no-image", `there is no image ${JSON.stringify(wanted)} in ${where}`, { hint });
}

type Step = (images: readonly StoredImage[], wanted: string) => FoundImage[];

/** `@HEX`, `HEX` or `sha256:HEX`: an id, else the digest of a manifest. */
const byDigest: Step = (images, wanted) => {
  const hex = /^(?:@|sha256:|@sha256:)?([0-9a-f]{64})$/.exec(wanted)?.[1];
  if (hex === undefined) return [];
  const ids = images.filter(({ id }) => id === hex);
  return ids.length > 0
    ? ids.map((image) => ({ image, manifestDigest: undefined }))
    : withManifest(images, `sha256:${hex}`);
};

function withManifest(images: readonly StoredImage[], digest: string): FoundImage[] {
  const isManifest = ([key, value]: [string, string]) => key.startsWith("manifest") && value === digest;
  return images
    .filter((image) => image.digest === digest || [...image.digests].some(isManifest))
    .map((image) => ({ image, manifestDigest: digest }));
}

const byExactName: Step = (images, wanted) => named(images, (name) => name === wanted);

/** `NAME@sha256:HEX`: by the digest, if the image has or had that name. */
const byNameAndDigest: Step = (images, wanted) => {
  const match = /^(.+)@(sha256:[0-9a-f]{64})$/.exec(wanted);
  if (match === null) return [];
  const repository = withoutTag(match[1] as string);
  const isOfName = (name: string) => endsWithPath(withoutTag(name), repository);
  return withManifest(images, match[2] as string).filter(({ image }) =>
    [...image.names, ...image.formerNames].some(isOfName),
  );
};

/** `demo` means `localhost/demo:latest` as well as `docker.io/library/demo:latest`. */
const byShortName: Step = (images, wanted) => {
  const full = hasTag(wanted) ? wanted : `${wanted}:latest`;
  return named(images, (name) => endsWithPath(name, full));
};

const byIdPrefix: Step = (images, wanted) =>
  /^[0-9a-f]{3,63}$/.test(wanted)
    ? images.filter(({ id }) => id.startsWith(wanted)).map((image) => ({ image, manifestDigest: undefined }))
    : [];

function named(images: readonly StoredImage[], matches: (name: string) => boolean): FoundImage[] {
  return images.filter(({ names }) => names.some(matches)).map((image) => ({ image, manifestDigest: undefined }));
}

function hasTag(name: string): boolean {
  return name.lastIndexOf(":") > name.lastIndexOf("/");
}

function withoutTag(name: string): string {
  const [plain = ""] = name.split("@", 1);
  return hasTag(plain) ? plain.slice(0, plain.lastIndexOf(":")) : plain;
}

function withoutHost(name: string): string {
  return name.slice(name.lastIndexOf("/") + 1);
}

function endsWithPath(name: string, end: string): boolean {
  return name === end || name.endsWith(`/${end}`);
}
