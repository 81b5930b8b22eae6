// OCI manifests and indexes, and the Docker forms of both (docs/spec/oci.md, sections 4.1 and 4.3).
// Documents are read, never written back: digests are over the bytes as they came.

import * as v from "valibot";

import { ComposefsError } from "../error.ts";
import { isDigest, parseDigest, type Digest } from "./digest.ts";
import { parseJson } from "./json.ts";
import type { Platform } from "./platform.ts";

/** Media types by the names that the specifications give them. */
export const MEDIA_TYPE = {
  ociManifest: "application/vnd.oci.image.manifest.v1+json",
  ociIndex: "application/vnd.oci.image.index.v1+json",
  ociConfig: "application/vnd.oci.image.config.v1+json",
  ociLayer: "application/vnd.oci.image.layer.v1.tar",
  ociForeignLayer: "application/vnd.oci.image.layer.nondistributable.v1.tar",
  dockerManifest: "application/vnd.docker.distribution.manifest.v2+json",
  dockerList: "application/vnd.docker.distribution.manifest.list.v2+json",
  dockerManifest1: "application/vnd.docker.distribution.manifest.v1+json",
  dockerManifest1Signed: "application/vnd.docker.distribution.manifest.v1+prettyjws",
  dockerConfig: "application/vnd.docker.container.image.v1+json",
  dockerLayer: "application/vnd.docker.image.rootfs.diff.tar",
  dockerForeignLayer: "application/vnd.docker.image.rootfs.foreign.diff.tar",
} as const;

/** The largest manifest, index or config that is read, in bytes. */
export const MAX_DOCUMENT_SIZE = 4 * 1024 * 1024;

/** A reference to a blob: what it is, its digest and its exact size in bytes. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
  readonly platform?: Platform | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  /** Where a foreign layer may also be fetched. */
  readonly urls?: readonly string[] | undefined;
  readonly artifactType?: string | undefined;
}

/** An image manifest: the config and the layers, lowest first. */
export interface Manifest {
  readonly mediaType?: string | undefined;
  readonly artifactType?: string | undefined;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly subject?: Descriptor | undefined;
  readonly annotations: Readonly<Record<string, string>>;
}

/** An image index, or a layout's `index.json`. */
export interface Index {
  readonly mediaType?: string | undefined;
  readonly manifests: readonly Descriptor[];
}

const optionalText = v.pipe(
  v.nullish(v.string()),
  v.transform((text) => text ?? undefined),
);

const annotations = v.pipe(
  v.nullish(v.record(v.string(), v.string())),
  v.transform((map) => map ?? undefined),
);

const platform = v.pipe(
  v.nullish(v.object({ os: v.string(), architecture: v.string(), variant: optionalText })),
  v.transform((value): Platform | undefined => value ?? undefined),
);

const descriptor = v.object({
  mediaType: v.string(),
  digest: v.pipe(
    v.string(),
    v.check(isDigest, (issue) => `${JSON.stringify(issue.input)} is not a digest`),
  ),
  size: v.pipe(
    v.number(),
    v.check(
      (size) => Number.isSafeInteger(size) && size >= 0,
      (issue) => `${issue.input} is not a size`,
    ),
  ),
  platform,
  annotations,
  urls: v.pipe(
    v.nullish(v.array(v.string())),
    v.transform((urls) => urls ?? undefined),
  ),
  artifactType: optionalText,
});

const manifest = v.object({
  schemaVersion: v.number(),
  mediaType: optionalText,
  artifactType: optionalText,
  config: descriptor,
  layers: v.array(descriptor),
  subject: v.pipe(
    v.nullish(descriptor),
    v.transform((subject) => subject ?? undefined),
  ),
  annotations: v.nullish(v.record(v.string(), v.string()), {}),
});

const index = v.object({ schemaVersion: v.number(), mediaType: optionalText, manifests: v.array(descriptor) });

const KEYS: ReadonlySet<string> = new Set([
  ...Object.keys(manifest.entries),
  ...Object.keys(index.entries),
  ...Object.keys(descriptor.entries),
  "os",
  "architecture",
  "variant",
  "fsLayers",
]);

/** Checks a parsed document against a schema; the error names the place in it. */
export function checkDocument<S extends v.GenericSchema>(schema: S, document: unknown, what: string): v.InferOutput<S> {
  // The first fault is enough: a document of a few megabytes can have a million.
  const result = v.safeParse(schema, document, { abortEarly: true });
  if (result.success) return result.output;
  const issue = result.issues[0];
  const place = v.getDotPath(issue);
  const reason = issue.received === "undefined" ? "is missing" : issue.message;
  throw new ComposefsError("invalid", `${what} is not acceptable: ${place === null ? "" : `${place}: `}${reason}`);
}

/**
 * Reads an image manifest, OCI or Docker schema 2.
 *
 * @param what names it in errors, as in "the manifest sha256:..."
 * @throws ComposefsError `invalid`, or `unsupported` for Docker schema 1
 */
export function parseManifest(bytes: Uint8Array, what = "the manifest"): Manifest {
  const document = parseJson(bytes, what, KEYS);
  if (isSchema1(document)) throw schema1Error(what);
  return checkDocument(manifest, document, what);
}

/**
 * Reads an image index or a Docker manifest list.
 *
 * @throws ComposefsError `invalid`
 */
export function parseIndex(bytes: Uint8Array, what = "the image index"): Index {
  return checkDocument(index, parseJson(bytes, what, KEYS), what);
}

/** What a document is: the media type that its source gives counts, then its own, then its keys. */
export type DocumentKind = "manifest" | "index" | "unknown";

/** The kind that a media type stands for. */
export function mediaTypeKind(mediaType: string | undefined): DocumentKind {
  switch (mediaType) {
    case MEDIA_TYPE.ociManifest:
    case MEDIA_TYPE.dockerManifest:
      return "manifest";
    case MEDIA_TYPE.ociIndex:
    case MEDIA_TYPE.dockerList:
      return "index";
    default:
      return "unknown";
  }
}

/** Whether the manifest is one of a container image; everything else is an artifact. */
export function isContainerManifest(value: Manifest): boolean {
  return value.config.mediaType === MEDIA_TYPE.ociConfig;
}

const TAR_LAYERS: ReadonlySet<string> = new Set([
  ...[MEDIA_TYPE.ociLayer, MEDIA_TYPE.ociForeignLayer].flatMap((type) => [type, `${type}+gzip`, `${type}+zstd`]),
  ...[MEDIA_TYPE.dockerLayer, MEDIA_TYPE.dockerForeignLayer].flatMap((type) => [type, `${type}.gzip`]),
]);

/** Whether the media type is a tar layer, of whatever compression. */
export function isTarLayer(mediaType: string): boolean {
  return TAR_LAYERS.has(mediaType);
}

/** Fails for manifests of Docker's first schema, which has no config and cannot be verified. */
function isSchema1(document: unknown): boolean {
  return typeof document === "object" && document !== null && "fsLayers" in document;
}

/** The refusal of Docker schema 1. */
export function schema1Error(what: string): ComposefsError {
  return new ComposefsError("unsupported", `${what} is in Docker's schema 1, which is not supported`, {
    hint: "push the image again with a current tool, which writes schema 2 or OCI",
  });
}

/** A descriptor's digest must be of an algorithm that can be verified; checks it before anything is fetched. */
export function checkVerifiable(value: Descriptor, what: string): void {
  const { algorithm } = parseDigest(value.digest, what);
  if (algorithm !== "sha256" && algorithm !== "sha512" && algorithm !== "sha384") {
    throw new ComposefsError("unsupported", `${what}: nothing can verify the digest ${value.digest}`, {
      digest: value.digest,
      hint: "sha256 and sha512 digests are supported",
    });
  }
}
